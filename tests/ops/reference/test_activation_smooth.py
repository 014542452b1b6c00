"""What smooth activations promise beyond `test_activation.py`: exact tails, softsign, and SELU's two numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.ops import reference
from xpcnn.ops.reference.activation_smooth import SELU_ALPHA, SELU_GAMMA

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _sigmoid(v: float) -> float:
    return math.exp(v) / (1.0 + math.exp(v))


# what they are at negative v: small numbers, of which sums with 1 would leave no digit
TAILS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "silu": (lambda v: v * _sigmoid(v), lambda v: _sigmoid(v) * (1.0 + v * _sigmoid(-v))),
    "softplus": (lambda v: math.log1p(math.exp(v)), _sigmoid),
    "mish": (
        lambda v: v * math.tanh(math.log1p(math.exp(v))),
        lambda v: (
            math.tanh(math.log1p(math.exp(v))) + v * _sigmoid(v) * (1.0 - math.tanh(math.log1p(math.exp(v))) ** 2)
        ),
    ),
}


@each_dtype
@pytest.mark.parametrize("name", TAILS)
def test_negative_tails_keep_their_digits(device: Device, name: str, dtype: str) -> None:
    function, derivative = TAILS[name]
    points = np.array([-80.0, -40.0, -20.0, -5.0], dtype=dtype)
    x = device.asarray(points)
    y = asnumpy(getattr(reference, f"{name}_forward")(x))
    dx = asnumpy(getattr(reference, f"{name}_backward")(device.xp.ones_like(x), x))
    # A dozen roundings, none of them of a number larger than the result.
    eps = 12.0 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(y, [function(v) for v in points.tolist()], rtol=eps, atol=0.0)
    np.testing.assert_allclose(dx, [derivative(v) for v in points.tolist()], rtol=eps, atol=0.0)


@each_dtype
def test_softsign(device: Device, dtype: str) -> None:
    points = np.array([-1e30, -800.0, -2.0, -0.5, 0.0, 0.25, 3.0, 1e4, 1e30], dtype=dtype)
    x = device.asarray(points)
    y, dx = reference.softsign_forward(x), reference.softsign_backward(device.xp.full_like(x, 2.0), x)
    assert y.dtype == dx.dtype == dtype
    eps = 4.0 * float(np.finfo(dtype).eps)  # two or three roundings
    np.testing.assert_allclose(asnumpy(y), [v / (1.0 + abs(v)) for v in points.tolist()], rtol=eps)
    # In float32 the slope at 1e30 is below the least number.
    want = [2.0 / (1.0 + abs(v)) ** 2 for v in points.tolist()]
    np.testing.assert_allclose(asnumpy(dx), want, rtol=eps, atol=1e-45)


@each_dtype
def test_huge_gradients_of_gelu(device: Device, dtype: str) -> None:
    # A cube or square of these would be beyond float32; nothing may warn on the way, and nothing become NaN.
    x = device.asarray(np.array([-1e12, 1e12], dtype=dtype))
    for approximate in (False, True):
        dx = reference.gelu_backward(device.xp.ones_like(x), x, approximate)
        assert asnumpy(dx).tolist() == [0.0, 1.0]
        assert asnumpy(reference.gelu_forward(x, approximate)).tolist() == [0.0, float(asnumpy(x)[1])]


def test_selu_keeps_mean_and_variance() -> None:
    """The paper's two conditions on alpha and gamma: a standard normal x comes out with mean 0 and variance 1."""
    x = np.linspace(-12.0, 12.0, 48_001)  # beyond, the density is below 1e-31
    density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi) * (x[1] - x[0])
    y = reference.selu_forward(x, SELU_ALPHA, SELU_GAMMA)
    # Sums over points 0.0005 apart, with a kink at one of them: off by some 0.0005**2 / 12.
    assert abs(float((y * density).sum())) < 1e-7
    assert abs(float((y * y * density).sum()) - 1.0) < 1e-7
