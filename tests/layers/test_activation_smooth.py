"""Smooth activation layers: their functions, gradients in one piece with the rest, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError
from xpcnn.layers import Celu, Gelu, Layer, Mish, Selu, Silu, Softplus, Softsign
from xpcnn.ops.gradcheck import check_layer


def _softplus(v: float) -> float:
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))


LAYERS: list[tuple[Callable[[], Layer], Callable[[float], float]]] = [
    (Celu, lambda v: v if v > 0 else math.expm1(v)),
    (lambda: Celu(0.5), lambda v: v if v > 0 else 0.5 * math.expm1(v / 0.5)),
    (Gelu, lambda v: 0.5 * v * math.erfc(-v / math.sqrt(2.0))),
    (
        lambda: Gelu(approximate=True),
        lambda v: 0.5 * v * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (v + 0.044715 * v**3))),
    ),
    (Mish, lambda v: v * math.tanh(_softplus(v))),
    (Selu, lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v))),
    (lambda: Selu(2.0, 0.5), lambda v: 0.5 * v if v > 0 else math.expm1(v)),
    (Silu, lambda v: v * math.exp(-_softplus(-v))),
    (lambda: Silu(2.0), lambda v: v * math.exp(-_softplus(-2.0 * v))),
    (Softplus, _softplus),
    (Softsign, lambda v: v / (1.0 + abs(v))),
]
each_layer = pytest.mark.parametrize(("build", "function"), LAYERS)


@each_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(device: Device, build: Callable[[], Layer], function: Callable[[float], float], dtype: str) -> None:
    points = np.array([[-800.0, -20.0, -1.5, -1e-8, 0.0, 1e-8, 0.7, 20.0, 800.0]], dtype=dtype)
    y = build().forward(device.asarray(points))
    assert y.dtype == dtype
    want = [[function(v) for v in points[0].tolist()]]
    # A handful of roundings, of numbers no larger than 1 or the result; times x where a share of x is taken.
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(asnumpy(y), want, rtol=8 * eps, atol=20 * eps)


@each_layer
def test_gradient(device: Device, build: Callable[[], Layer], function: Callable[[float], float]) -> None:
    x = np.random.default_rng(0).uniform(-4.0, 4.0, (3, 2, 4))
    errors = check_layer(build(), device.asarray(x))
    assert errors.keys() == {"x"}
    assert max(errors.values()) < 1e-6


def test_options_are_kept_as_floats() -> None:
    assert isinstance(Celu(np.float64(0.5)).alpha, float)
    assert isinstance(Silu(2).alpha, float)
    assert isinstance(Selu(np.float64(1.0), np.float64(1.0)).gamma, float)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan])
def test_celu_of_no_use(alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha is greater than 0, got"):
        Celu(alpha)
