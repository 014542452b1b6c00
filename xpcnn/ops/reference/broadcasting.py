"""What broadcasting does to gradients, and arithmetic on arrays that broadcast."""

from __future__ import annotations

from typing import Any

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError

__all__ = ["divide", "divide_backward", "multiply_backward", "subtract_backward", "unbroadcast"]


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an array of `shape` from the gradient of what it was broadcast to: sums over what was repeated.

    gradient: of a shape that `shape` broadcasts to. Returns an array of `shape`. Raises ShapeError where `shape`
    does not broadcast to gradient's.
    """
    if gradient.shape == tuple(shape):
        return gradient
    extra = gradient.ndim - len(shape)
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, gradient.shape[extra:], strict=True)):
        raise ShapeError(f"an array of shape {tuple(shape)} does not broadcast to {gradient.shape}")
    stretched = tuple(i + extra for i, n in enumerate(shape) if n == 1 and gradient.shape[i + extra] != 1)
    return gradient.sum(axis=(*range(extra), *stretched), keepdims=True).reshape(shape)


def subtract_backward(dout: Array, a: Array, b: Array, wanted: tuple[bool, bool] = (True, True)) -> tuple[Any, Any]:
    """Gradients of a - b, of the shapes of a and b; None for the one that is not wanted."""
    get_array_module(dout, a, b)
    da = unbroadcast(dout, a.shape) if wanted[0] else None
    return da, -unbroadcast(dout, b.shape) if wanted[1] else None


def multiply_backward(dout: Array, a: Array, b: Array, wanted: tuple[bool, bool] = (True, True)) -> tuple[Any, Any]:
    """Gradients of a * b, of the shapes of a and b; None for the one that is not wanted."""
    get_array_module(dout, a, b)
    da = unbroadcast(dout * b, a.shape) if wanted[0] else None
    return da, unbroadcast(dout * a, b.shape) if wanted[1] else None


def divide(a: Array, b: Array) -> Array:
    """a / b; whole numbers stay whole, and are rounded towards zero as in C, not down as by NumPy's //."""
    get_array_module(a, b)
    if a.dtype.kind not in "iu":
        return a / b
    quotient = a // b
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(quotient.dtype)


def divide_backward(dout: Array, a: Array, b: Array, wanted: tuple[bool, bool] = (True, True)) -> tuple[Any, Any]:
    """Gradients of a / b, of the shapes of a and b; None for the one that is not wanted."""
    get_array_module(dout, a, b)
    share = dout / b
    da = unbroadcast(share, a.shape) if wanted[0] else None
    return da, -unbroadcast(share * (a / b), b.shape) if wanted[1] else None
