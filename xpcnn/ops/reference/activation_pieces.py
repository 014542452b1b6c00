"""Activations made of straight (or parabolic) pieces; where two meet, the gradient is said in the docstring."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.ops.reference.broadcasting import unbroadcast

__all__ = [
    "clip_backward",
    "clip_forward",
    "hard_sigmoid_backward",
    "hard_sigmoid_forward",
    "hard_swish_backward",
    "hard_swish_forward",
    "prelu_backward",
    "prelu_forward",
    "shrink_backward",
    "shrink_forward",
    "thresholded_relu_backward",
    "thresholded_relu_forward",
]


def clip_forward(x: Array, low: float | None = None, high: float | None = None) -> Array:
    """x kept within low..high (None: no bound); high where low > high. NaN stays NaN."""
    xp = get_array_module(x)
    if low is not None:
        x = xp.maximum(x, low)
    return x if high is None else xp.minimum(x, high)


def clip_backward(dout: Array, x: Array, low: float | None = None, high: float | None = None) -> Array:
    """Gradient of `clip_forward` from its input x: 0 at the bounds, as `relu_backward` has it at 0."""
    if low is not None:
        dout = dout * (x > low)
    return dout if high is None else dout * (x < high)


def hard_sigmoid_forward(x: Array, alpha: float = 0.2, beta: float = 0.5) -> Array:
    """alpha*x + beta kept within 0..1 (Courbariaux et al. 2015)."""
    return clip_forward(x * alpha + beta, 0.0, 1.0)


def hard_sigmoid_backward(dout: Array, x: Array, alpha: float = 0.2, beta: float = 0.5) -> Array:
    """Gradient of `hard_sigmoid_forward` from its input x: 0 at 0 and 1."""
    return clip_backward(dout * alpha, x * alpha + beta, 0.0, 1.0)


def hard_swish_forward(x: Array) -> Array:
    """x times (x + 3)/6 kept within 0..1 (Howard et al. 2019, section 5.2)."""
    return x * clip_forward(x * (1.0 / 6.0) + 0.5, 0.0, 1.0)


def hard_swish_backward(dout: Array, x: Array) -> Array:
    """Gradient of `hard_swish_forward` from its input x: at -3 and 3 that of the straight pieces."""
    xp = get_array_module(dout, x)
    return dout * xp.where(x <= -3.0, 0.0, xp.where(x >= 3.0, 1.0, x * (1.0 / 3.0) + 0.5))


def prelu_forward(x: Array, slope: Array) -> Array:
    """x where x > 0, slope*x elsewhere; slope broadcasts to x's shape (He et al. 2015)."""
    return get_array_module(x, slope).where(x > 0, x, x * slope)


def prelu_backward(dout: Array, x: Array, slope: Array) -> tuple[Array, Array]:
    """Gradients of `prelu_forward` (of x, of slope) from its inputs."""
    xp = get_array_module(dout, x, slope)
    return xp.where(x > 0, dout, dout * slope), unbroadcast(xp.where(x > 0, 0.0, dout * x), slope.shape)


def shrink_forward(x: Array, bias: float = 0.0, lambd: float = 0.5) -> Array:
    """x - bias above lambd, x + bias below -lambd, 0 between and at both (soft and hard shrinkage)."""
    xp = get_array_module(x)
    return xp.where(x > lambd, x - bias, xp.where(x < -lambd, x + bias, x * 0))


def shrink_backward(dout: Array, x: Array, lambd: float = 0.5) -> Array:
    """Gradient of `shrink_forward` from its input x: 0 at the jumps."""
    return dout * (get_array_module(dout, x).abs(x) > lambd)


def thresholded_relu_forward(x: Array, alpha: float = 1.0) -> Array:
    """x where x > alpha, 0 elsewhere (Konda et al. 2014)."""
    return get_array_module(x).where(x > alpha, x, x * 0.0)


def thresholded_relu_backward(dout: Array, x: Array, alpha: float = 1.0) -> Array:
    """Gradient of `thresholded_relu_forward` from its input x: 0 at the jump."""
    return dout * (x > alpha)
