"""Functions of one element at a time, and dropout; each backward takes what its forward can cheaply give."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module

__all__ = [
    "dropout",
    "elu_backward",
    "elu_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "tanh_backward",
    "tanh_forward",
]


def relu_forward(x: Array) -> Array:
    """max(x, 0); NaN stays NaN (book, section 5.5.1)."""
    return get_array_module(x).maximum(x, 0.0)


def relu_backward(dout: Array, y: Array) -> Array:
    """Gradient of `relu_forward` from its output y; dout itself is left alone (the book's version overwrites it)."""
    return dout * (y > 0.0)


def leaky_relu_forward(x: Array, slope: float = 0.01) -> Array:
    """x where x > 0, slope*x elsewhere (Maas et al. 2013)."""
    return get_array_module(x).where(x > 0.0, x, x * slope)


def leaky_relu_backward(dout: Array, x: Array, slope: float = 0.01) -> Array:
    """Gradient of `leaky_relu_forward` from its input x."""
    return get_array_module(dout, x).where(x > 0.0, dout, dout * slope)


def elu_forward(x: Array, alpha: float = 1.0) -> Array:
    """x where x > 0, alpha*(exp(x) - 1) elsewhere (Clevert et al. 2016)."""
    xp = get_array_module(x)
    return xp.where(x > 0.0, x, alpha * xp.expm1(xp.minimum(x, 0.0)))


def elu_backward(dout: Array, x: Array, alpha: float = 1.0) -> Array:
    """Gradient of `elu_forward` from its input x."""
    xp = get_array_module(dout, x)
    return xp.where(x > 0.0, dout, dout * (alpha * xp.exp(xp.minimum(x, 0.0))))


def sigmoid_forward(x: Array) -> Array:
    """1 / (1 + exp(-x)), by way of tanh, which overflows nowhere (book, section 5.5.2)."""
    return get_array_module(x).tanh(x * 0.5) * 0.5 + 0.5


def sigmoid_backward(dout: Array, y: Array) -> Array:
    """Gradient of `sigmoid_forward` from its output y."""
    return dout * (y * (1.0 - y))


def tanh_forward(x: Array) -> Array:
    """The hyperbolic tangent."""
    return get_array_module(x).tanh(x)


def tanh_backward(dout: Array, y: Array) -> Array:
    """Gradient of `tanh_forward` from its output y."""
    return dout * (1.0 - y * y)


def dropout(x: Array, mask: Array, scale: float) -> Array:
    """x * mask * scale, its own gradient too (Srivastava et al. 2014).

    mask: boolean, x's shape. scale: 1/(1 - ratio) for inverted dropout, which leaves test time alone; 1 for the
    book's rule (section 6.4.3), which multiplies by 1 - ratio at test time instead.
    """
    y = x * mask
    if scale != 1.0:
        y *= scale
    return y
