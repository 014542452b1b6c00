"""Activations (of all three files) against Python's math, their gradients against central differences; and dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.ops import reference
from xpcnn.ops.reference import dropout


def _sigmoid(v: float) -> float:
    return 1.0 / (1.0 + math.exp(-v)) if v >= 0 else math.exp(v) / (1.0 + math.exp(v))


def _softplus(v: float) -> float:
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))


def _gelu(v: float) -> float:
    return 0.5 * v * math.erfc(-v / math.sqrt(2.0))


def _gelu_by_tanh(v: float) -> float:
    return 0.5 * v * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (v + 0.044715 * v**3)))


def _selu(v: float) -> float:
    return 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v))


def _shrunk(v: float, bias: float, lambd: float) -> float:
    return v - bias if v > lambd else v + bias if v < -lambd else 0.0


@dataclass(frozen=True)
class Function:
    name: str
    formula: Callable[[float], float]
    options: dict[str, float]
    backward_takes: str  # what backward wants beside dout: the input "x" or the output "y"

    def forward(self, x: Any) -> Any:
        return getattr(reference, f"{self.name}_forward")(x, **self.options)

    def backward(self, dout: Any, x: Any, y: Any) -> Any:
        return getattr(reference, f"{self.name}_backward")(dout, x if self.backward_takes == "x" else y, **self.options)


FUNCTIONS = [
    Function("relu", lambda v: max(v, 0.0), {}, "y"),
    Function("leaky_relu", lambda v: v if v > 0 else 0.01 * v, {}, "x"),
    Function("leaky_relu", lambda v: v if v > 0 else 0.3 * v, {"slope": 0.3}, "x"),
    Function("elu", lambda v: v if v > 0 else math.expm1(v), {}, "x"),
    Function("elu", lambda v: v if v > 0 else 0.5 * math.expm1(v), {"alpha": 0.5}, "x"),
    Function("sigmoid", _sigmoid, {}, "y"),
    Function("tanh", math.tanh, {}, "y"),
    Function("celu", lambda v: v if v > 0 else math.expm1(v), {}, "x"),
    Function("celu", lambda v: v if v > 0 else 2.0 * math.expm1(v / 2.0), {"alpha": 2.0}, "x"),
    Function("gelu", _gelu, {}, "x"),
    Function("gelu", _gelu_by_tanh, {"approximate": True}, "x"),
    Function("mish", lambda v: v * math.tanh(_softplus(v)), {}, "x"),
    Function("selu", _selu, {}, "x"),
    Function("selu", lambda v: 1.5 * v if v > 0 else 0.75 * math.expm1(v), {"alpha": 0.5, "gamma": 1.5}, "x"),
    Function("silu", lambda v: v * _sigmoid(v), {}, "x"),
    Function("silu", lambda v: v * _sigmoid(1.5 * v), {"alpha": 1.5}, "x"),
    Function("softplus", _softplus, {}, "x"),
    Function("clip", lambda v: v, {}, "x"),
    Function("clip", lambda v: min(max(v, 0.0), 6.0), {"low": 0.0, "high": 6.0}, "x"),
    Function("clip", lambda v: max(v, -1.5), {"low": -1.5}, "x"),
    Function("clip", lambda v: min(v, 2.5), {"high": 2.5}, "x"),
    Function("hard_sigmoid", lambda v: min(max(0.2 * v + 0.5, 0.0), 1.0), {}, "x"),
    Function("hard_sigmoid", lambda v: min(max(0.5 * v + 0.25, 0.0), 1.0), {"alpha": 0.5, "beta": 0.25}, "x"),
    Function("hard_swish", lambda v: v * min(max(v / 6.0 + 0.5, 0.0), 1.0), {}, "x"),
    Function("thresholded_relu", lambda v: v if v > 1.0 else 0.0, {}, "x"),
    Function("thresholded_relu", lambda v: v if v > -2.0 else 0.0, {"alpha": -2.0}, "x"),
]
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f"{f.name}{list(f.options.values())}")
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_shape = pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4, 5), (0, 3)])


def _values(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).uniform(-6.0, 6.0, shape).astype(dtype)


@each_function
@each_dtype
@each_shape
def test_forward(device: Device, function: Function, dtype: str, shape: tuple[int, ...]) -> None:
    x = _values(shape, dtype)
    given = device.asarray(x.copy())
    y = function.forward(given)
    assert y.dtype == dtype
    want = np.array([function.formula(v) for v in x.ravel().tolist()], dtype=np.float64).reshape(shape)
    # A handful of roundings of numbers no larger than 6.
    oracles.assert_close(asnumpy(y), want, 4, 6.0)
    np.testing.assert_array_equal(asnumpy(given), x)


@each_function
@each_dtype
def test_large_values_overflow_nowhere(device: Device, function: Function, dtype: str) -> None:
    # A RuntimeWarning would fail this test; 1e4 is far beyond exp's range in both dtypes.
    x = np.array([-1e4, -800.0, -100.0, 100.0, 800.0, 1e4], dtype=dtype)
    given = device.asarray(x)
    y = function.forward(given)
    want = np.array([function.formula(v) for v in x.tolist()])
    oracles.assert_close(asnumpy(y), want, 4, 1e4)
    dx = function.backward(device.xp.ones_like(given), given, y)
    assert dx.dtype == dtype
    low, high = function.formula(-1e4 + 1) - function.formula(-1e4), function.formula(1e4) - function.formula(1e4 - 1)
    # Out there every one of these functions is a straight line.
    np.testing.assert_allclose(asnumpy(dx)[[0, 1, 4, 5]], [low, low, high, high], rtol=1e-6, atol=1e-9)


@each_function
@each_dtype
@each_shape
def test_backward(device: Device, function: Function, dtype: str, shape: tuple[int, ...]) -> None:
    x = _values(shape, dtype)
    x[abs(x) < 1e-3] = 0.5  # the kinks at 0 have a test of their own
    dout = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    given = [device.asarray(a.copy()) for a in (dout, x)]
    y = function.forward(given[1])
    kept = asnumpy(y).copy()
    dx = function.backward(*given, y)
    assert dx.dtype == dtype
    exact, weights = x.astype(np.float64), dout.astype(np.float64)
    slope = oracles.central_difference(
        lambda: math.fsum(w * function.formula(v) for w, v in zip(weights.ravel(), exact.ravel(), strict=True)), exact
    )
    # h**2 f''' / 6 and eps |f| / h, some 1e-9 for sums of hundreds; float32 adds a few roundings of |dout| <= 4.
    np.testing.assert_allclose(asnumpy(dx), slope, rtol=0.0, atol=1e-8 + 16.0 * float(np.finfo(dtype).eps))
    for before, after in zip((dout, x, kept), (*given, y), strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


@pytest.mark.parametrize(
    ("function", "at_zero"),
    [(FUNCTIONS[0], 0.0), (FUNCTIONS[2], 0.3), (FUNCTIONS[4], 0.5)],
    ids=["relu", "leaky", "elu"],
)
def test_the_kink_belongs_to_the_left(device: Device, function: Function, at_zero: float) -> None:
    x = device.asarray(np.zeros(3))
    y = function.forward(x)
    assert asnumpy(y).tolist() == [0.0] * 3
    assert asnumpy(function.backward(device.asarray(np.array([1.0, 2.0, -1.0])), x, y)).tolist() == [
        at_zero,
        2 * at_zero,
        -at_zero,
    ]


@each_function
def test_nan_stays_nan(device: Device, function: Function) -> None:
    y = asnumpy(function.forward(device.asarray(np.array([np.nan, 1.0], dtype=np.float32))))
    assert np.isnan(y).tolist() == [True, False]


# ------------------------------------------------------------------------------------------------------ dropout
@each_dtype
@pytest.mark.parametrize("scale", [1.0, 1.0 / (1.0 - 0.3)])
def test_dropout(device: Device, dtype: str, scale: float) -> None:
    random = np.random.default_rng(2)
    x, mask = random.standard_normal((4, 3, 2, 2)).astype(dtype), random.random((4, 3, 2, 2)) < 0.7
    given = [device.asarray(x.copy()), device.asarray(mask.copy())]
    y = dropout(*given, scale)
    assert y.dtype == dtype
    # One rounding of the scale and one of the product.
    np.testing.assert_allclose(asnumpy(y), np.where(mask, x * scale, 0.0), rtol=2 * float(np.finfo(dtype).eps))
    assert (asnumpy(y) == 0.0).tolist() == (~mask).tolist()
    for before, after in zip((x, mask), given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


def test_dropout_is_its_own_gradient() -> None:
    random = np.random.default_rng(3)
    x, dout, mask = random.standard_normal((3, 4)), random.standard_normal((3, 4)), random.random((3, 4)) < 0.5
    slope = oracles.central_difference(lambda: float((dropout(x, mask, 2.0) * dout).sum()), x)
    np.testing.assert_allclose(dropout(dout, mask, 2.0), slope, rtol=0.0, atol=1e-9)  # linear: eps * 10 / 1e-5
