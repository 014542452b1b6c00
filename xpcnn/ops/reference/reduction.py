"""Many elements to one: sums, means, extremes, products and norms over any axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError

__all__ = ["REDUCTIONS", "reduce", "reduce_backward"]

Axes = tuple[int, ...]

REDUCTIONS = ("l1", "l2", "log_sum", "log_sum_exp", "max", "mean", "min", "prod", "sum", "sum_square")


def _lowest(dtype: Any, sign: int) -> Any:
    """What max (sign -1) or min (sign 1) is over no elements: the number that loses against every other."""
    if dtype.kind == "f":
        return sign * math.inf
    if dtype.kind == "b":
        return sign > 0
    return np.iinfo(dtype).min if sign < 0 else np.iinfo(dtype).max


def _extreme(x: Array, axes: Axes, sign: int) -> Array:
    xp = get_array_module(x)
    if not axes:
        return x
    if any(x.shape[axis] == 0 for axis in axes):
        shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
        return xp.full(shape, _lowest(x.dtype, sign), dtype=x.dtype)
    return xp.max(x, axis=axes, keepdims=True) if sign < 0 else xp.min(x, axis=axes, keepdims=True)


def _log_sum_exp(x: Array, axes: Axes) -> Array:
    """log(sum(exp(x))), less and plus the largest element, so that no power overflows."""
    xp = get_array_module(x)
    largest = _extreme(x, axes, -1)
    largest = xp.where(xp.isfinite(largest), largest, largest.dtype.type(0))
    return xp.log(xp.exp(x - largest).sum(axis=axes, keepdims=True)) + largest


def reduce(x: Array, kind: str, axes: Axes) -> Array:
    """x with the elements along `axes` (from 0 on) brought to one; those axes stay, with size 1.

    kind: "sum", "mean", "max", "min", "prod", "l1" (sum of magnitudes), "l2" (root of the sum of squares),
    "sum_square", "log_sum" or "log_sum_exp". Raises ConfigError for another. The dtype stays; whole numbers go
    through float64 where the kind makes fractions.
    """
    xp = get_array_module(x)
    if kind == "sum":
        y = xp.sum(x, axis=axes, keepdims=True, dtype=x.dtype)
    elif kind == "mean":
        y = xp.mean(x, axis=axes, keepdims=True)
    elif kind in ("max", "min"):
        y = _extreme(x, axes, -1 if kind == "max" else 1)
    elif kind == "prod":
        y = xp.prod(x, axis=axes, keepdims=True, dtype=x.dtype)
    elif kind == "l1":
        y = xp.sum(xp.abs(x), axis=axes, keepdims=True, dtype=x.dtype)
    elif kind == "l2":
        y = xp.sqrt(xp.sum(x * x, axis=axes, keepdims=True, dtype=x.dtype))
    elif kind == "sum_square":
        y = xp.sum(x * x, axis=axes, keepdims=True, dtype=x.dtype)
    elif kind == "log_sum":
        y = xp.log(xp.sum(x, axis=axes, keepdims=True, dtype=x.dtype))
    elif kind == "log_sum_exp":
        y = _log_sum_exp(x if x.dtype.kind == "f" else x.astype("float64"), axes)
    else:
        raise ConfigError(f"a reduction is one of {', '.join(REDUCTIONS)}, got {kind!r}")
    return y.astype(x.dtype, copy=False)


def _product_of_others(x: Array, axes: Axes) -> Array:
    """For each element the product of the others along `axes`: of those before it and those after, so 0 is no harm."""
    xp = get_array_module(x)
    rest = tuple(axis for axis in range(x.ndim) if axis not in axes)
    order = (*rest, *axes)
    moved = x.transpose(order)
    rows = moved.reshape(math.prod(moved.shape[: len(rest)]), math.prod(moved.shape[len(rest) :]))
    before, after = xp.ones_like(rows), xp.ones_like(rows)
    before[:, 1:] = xp.cumprod(rows[:, :-1], axis=1)
    after[:, :-1] = xp.cumprod(rows[:, :0:-1], axis=1)[:, ::-1]
    return (before * after).reshape(moved.shape).transpose(tuple(int(axis) for axis in np.argsort(order)))


def reduce_backward(dout: Array, x: Array, y: Array, kind: str, axes: Axes) -> Array:
    """Gradient of `reduce`. y: what it gave. dout: of y's shape.

    The extremes' gradient is shared out evenly among equals; a norm of zeros has the gradient 0.
    """
    xp = get_array_module(dout, x, y)
    if kind == "sum":
        return xp.broadcast_to(dout, x.shape).copy()
    if kind == "mean":
        return xp.broadcast_to(dout / float(max(1, math.prod(x.shape[axis] for axis in axes))), x.shape).copy()
    if kind in ("max", "min"):
        winners = (x == y).astype(x.dtype)
        # Where NaN is the extreme nothing equals it, and there is no element to blame.
        return winners * (dout / xp.maximum(winners.sum(axis=axes, keepdims=True), 1.0))
    if kind == "prod":
        return dout * _product_of_others(x, axes)
    if kind == "l1":
        return dout * xp.sign(x)
    if kind == "l2":
        return x * (dout / xp.where(y == 0.0, y.dtype.type(1), y))
    if kind == "sum_square":
        return x * (dout * 2.0)
    if kind == "log_sum":
        return xp.broadcast_to(dout / x.sum(axis=axes, keepdims=True), x.shape).copy()
    return dout * xp.exp(x - y)
