"""Activations, mathematics of one element and functions that broadcast, with their gradients, against PyTorch's.

float64: a relative 1e-12 of each number covers a few dozen roundings of 2.2e-16, and an absolute 1e-14 what is left of
differences with 1. float32: PyTorch's own are off by a few units of 1.2e-7, and by some ten units of 1 times x where it
takes differences with 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xpcnn import layers
from xpcnn.layers import Layer

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.parity

TOLERANCES = {"float64": {"rtol": 1e-12, "atol": 1e-14}, "float32": {"rtol": 5e-6, "atol": 3e-6}}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCES)


def _compare(layer: Layer, theirs: Callable[..., Any], xs: list[np.ndarray], dtype: str) -> None:
    """Outputs, gradients of all inputs and of parameters (PyTorch's come behind the inputs)."""
    xs = [np.asarray(x, dtype=dtype) for x in xs]
    leaves = [torch.tensor(x, requires_grad=True) for x in (*xs, *layer.params.values())]
    want = theirs(*leaves)
    y = layer.forward(*xs)
    dout = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    want.backward(torch.tensor(dout))
    dx = layer.backward(dout)
    found = [y, *(dx if isinstance(dx, tuple) else (dx,)), *(layer.grads[name] for name in layer.params)]
    for got, expected in zip(found, [want.detach(), *(leaf.grad for leaf in leaves)], strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected.numpy(), **TOLERANCES[dtype])


ACTIVATIONS: list[tuple[Callable[[], Layer], Callable[..., Any]]] = [
    (layers.Celu, F.celu),
    (lambda: layers.Celu(2.5), lambda x: F.celu(x, 2.5)),
    (layers.Elu, F.elu),
    (lambda: layers.Elu(0.5), lambda x: F.elu(x, 0.5)),
    (layers.Gelu, F.gelu),
    (lambda: layers.Gelu(approximate=True), lambda x: F.gelu(x, approximate="tanh")),
    (layers.Selu, F.selu),
    (layers.Silu, F.silu),
    (layers.Mish, F.mish),
    (layers.Softplus, F.softplus),
    (layers.Softsign, F.softsign),
    # F.hardsigmoid's own gradient takes 1/6 in float32, in float64 too.
    (lambda: layers.HardSigmoid(1.0 / 6.0), lambda x: F.relu6(x + 3.0) / 6.0),
    (layers.HardSwish, F.hardswish),
    (lambda: layers.Clip(0.0, 6.0), F.relu6),
    (lambda: layers.Clip(-1.0, 1.0), F.hardtanh),
    (lambda: layers.Clip(-0.5, None), lambda x: torch.clamp(x, min=-0.5)),
    (lambda: layers.Shrink(0.0, 0.75), lambda x: F.hardshrink(x, 0.75)),
    (lambda: layers.Shrink(0.75, 0.75), lambda x: F.softshrink(x, 0.75)),
    (lambda: layers.ThresholdedRelu(0.75), lambda x: F.threshold(x, 0.75, 0.0)),
    (layers.LeakyRelu, F.leaky_relu),
    (layers.Relu, F.relu),
    (layers.Sigmoid, torch.sigmoid),
    (layers.Tanh, torch.tanh),
]


@each_dtype
@pytest.mark.parametrize(("build", "theirs"), ACTIVATIONS)
def test_activations(build: Callable[[], Layer], theirs: Callable[..., Any], dtype: str) -> None:
    x = np.random.default_rng(0).uniform(-7.0, 7.0, (4, 3, 9))
    x[0, 0, :] = [-100.0, -40.0, -20.0, -1e-5, 0.0, 1e-5, 18.0, 40.0, 100.0]
    if theirs is F.softplus:
        # Beyond 20 PyTorch takes x itself, which is 2e-9 off.
        x = np.minimum(x, 20.0)
    _compare(build(), theirs, [x], dtype)


@each_dtype
@pytest.mark.parametrize(("shape", "C"), [((4, 3, 5, 5), 3), ((4, 3, 5, 5), 1), ((6, 7), 7), ((6, 7), 1)])
def test_prelu(shape: tuple[int, ...], C: int, dtype: str) -> None:
    random = np.random.default_rng(2)
    slope = random.uniform(0.1, 0.5, (C, *(1 for _ in shape[2:]))).astype(dtype)
    _compare(layers.PRelu(slope), lambda x, a: F.prelu(x, a.reshape(-1)), [random.standard_normal(shape)], dtype)


@each_dtype
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Abs", -3.0, 3.0),
        ("Acos", -0.99, 0.99),
        ("Acosh", 1.1, 50.0),
        ("Asin", -0.99, 0.99),
        ("Asinh", -50.0, 50.0),
        ("Atan", -50.0, 50.0),
        ("Atanh", -0.99, 0.99),
        ("Ceil", -5.0, 5.0),
        ("Cos", -9.0, 9.0),
        ("Cosh", -5.0, 5.0),
        ("Erf", -5.0, 5.0),
        ("Exp", -9.0, 5.0),
        ("Floor", -5.0, 5.0),
        ("Log", 0.01, 50.0),
        ("Neg", -5.0, 5.0),
        ("Reciprocal", 0.05, 50.0),
        ("Round", -5.0, 5.0),
        ("Sign", -5.0, 5.0),
        ("Sin", -9.0, 9.0),
        ("Sinh", -5.0, 5.0),
        ("Sqrt", 0.01, 50.0),
        ("Tan", -1.4, 1.4),
    ],
)
def test_mathematics(name: str, low: float, high: float, dtype: str) -> None:
    x = np.random.default_rng(3).uniform(low, high, (7, 11))
    if name in ("Round", "Abs", "Sign"):
        x[0, :7] = [-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5]
    _compare(getattr(layers, name)(), getattr(torch, name.lower()), [x], dtype)


@each_dtype
def test_power(dtype: str) -> None:
    random = np.random.default_rng(4)
    x, p = random.uniform(0.1, 3.0, (2, 3, 4)), random.uniform(-2.0, 3.0, (2, 1, 4))
    _compare(layers.Power(), torch.pow, [x, p], dtype)
    x[0, 0, :2] = 0.0
    _compare(layers.Power(), torch.pow, [x, np.abs(p) + 1.0], dtype)
    square = layers.Beside(layers.Power((True, False)), {1: np.asarray(2.0, dtype=dtype)})
    _compare(square, lambda x: x**2, [x - 1.0], dtype)


@each_dtype
@pytest.mark.parametrize(
    ("build", "theirs"),
    [
        (layers.Maximum, lambda a, b, c: torch.maximum(torch.maximum(a, b), c)),
        (layers.Minimum, lambda a, b, c: torch.minimum(torch.minimum(a, b), c)),
        (layers.Average, lambda a, b, c: (a + b + c) / 3.0),
    ],
)
def test_several(build: Callable[[], Layer], theirs: Callable[..., Any], dtype: str) -> None:
    random = np.random.default_rng(5)
    xs = [random.standard_normal(shape) for shape in ((2, 3, 4), (2, 1, 4), (2, 3, 1))]
    _compare(build(), theirs, xs, dtype)  # without ties, whose gradient PyTorch halves


def test_huge_numbers() -> None:
    """Where PyTorch gives finite numbers, so do we, and the same ones."""
    x = np.array([[-1e30, -1e4, 1e4, 1e30]], dtype=np.float32)
    for build, theirs in ACTIVATIONS:
        layer, leaf = build(), torch.tensor(x, requires_grad=True)
        want = theirs(leaf)
        want.sum().backward()
        with np.errstate(over="ignore"):  # of squares whose inverses are 0
            y = layer.forward(x)
            dx = layer.backward(np.ones_like(x))
        finite = torch.isfinite(leaf.grad).numpy()
        np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-6, err_msg=repr(layer))
        np.testing.assert_allclose(dx[finite], leaf.grad.numpy()[finite], rtol=1e-6, atol=1e-9, err_msg=repr(layer))
        assert np.isfinite(dx).all()
        assert math.isfinite(float(y[0, 1]))
