"""Pooling over whole channels, into a given number of bins, and the way back from a max pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError

__all__ = [
    "adaptive_average_pool_backward",
    "adaptive_average_pool_forward",
    "channel_starts",
    "global_average_pool_backward",
    "global_average_pool_forward",
    "global_lp_pool_backward",
    "global_lp_pool_forward",
    "global_max_pool_backward",
    "global_max_pool_forward",
    "max_unpool_backward",
    "max_unpool_forward",
]


def _check(x: Array) -> tuple[int, ...]:
    """x's axes behind (N, C)."""
    if x.ndim < 3:
        raise ShapeError(f"expected an array (N, C, and one or more sizes), got one of shape {x.shape}")
    return tuple(range(2, x.ndim))


# -------------------------------------------------------------------------------------------------------- global
def global_average_pool_forward(x: Array) -> Array:
    """The mean of each whole channel: x (N, C, sizes...) to (N, C, 1...)."""
    return x.mean(axis=_check(x), keepdims=True)


def global_average_pool_backward(dout: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient of `global_average_pool_forward`: shared out evenly. Returns `input_shape`."""
    dx = get_array_module(dout).empty(input_shape, dtype=dout.dtype)
    dx[...] = dout / float(math.prod(input_shape[2:]))
    return dx


def global_max_pool_forward(x: Array) -> tuple[Array, Array]:
    """The largest element of each channel: x (N, C, sizes...) to y (N, C, 1...), and where it lies, of that shape.

    Places count the last axis fastest. The first of equals wins; a NaN wins over everything.
    """
    axes = _check(x)
    N, C, *sizes = x.shape
    winner = x.reshape(N, C, math.prod(sizes)).argmax(axis=2)
    return x.max(axis=axes, keepdims=True), winner.reshape((N, C) + (1,) * len(sizes))


def global_max_pool_backward(dout: Array, winner: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient of `global_max_pool_forward`: all goes to the winner. Returns `input_shape`."""
    xp, sizes = get_array_module(dout, winner), input_shape[2:]
    return dout * (xp.arange(math.prod(sizes)).reshape(sizes) == winner)


def global_lp_pool_forward(x: Array, p: float = 2.0) -> Array:
    """The Lp norm of each channel, (sum of |x|^p)^(1/p): x (N, C, sizes...) to (N, C, 1...)."""
    p = float(p)
    return (abs(x) ** p).sum(axis=_check(x), keepdims=True) ** (1.0 / p)


def global_lp_pool_backward(dout: Array, x: Array, y: Array, p: float = 2.0) -> Array:
    """Gradient of `global_lp_pool_forward`, dy/dx = sign(x) (|x| / y)^(p - 1); 0 where a whole channel is 0."""
    xp, p = get_array_module(dout, x, y), float(p)
    share = dout * xp.where(y == 0.0, 1.0, y) ** (1.0 - p)  # sign(0) = 0 leaves nothing of the 1
    return xp.sign(x) * abs(x) ** (p - 1.0) * share


# ------------------------------------------------------------------------------------------------------ adaptive
def _bins(size: int, count: int) -> list[slice]:
    """`count` bins that cover `size` places, of lengths as equal as can be; they overlap where count does not divide.

    Bin i goes from floor(i size / count) to ceil((i + 1) size / count), as in PyTorch.
    """
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def adaptive_average_pool_forward(x: Array, sizes: Sequence[int]) -> Array:
    """The mean of each bin: x (N, C, and n sizes) to (N, C, *sizes). One axis after the other."""
    if len(sizes) != len(_check(x)):
        raise ShapeError(f"{len(sizes)} output sizes {tuple(sizes)} are given for an array of shape {x.shape}")
    xp, y = get_array_module(x), x
    for axis, count in enumerate(sizes, 2):
        before = (slice(None),) * axis
        means = [y[(*before, bin_)].mean(axis=axis, keepdims=True) for bin_ in _bins(y.shape[axis], count)]
        y = xp.concatenate(means, axis=axis)
    return y


def adaptive_average_pool_backward(dout: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient of `adaptive_average_pool_forward`: each element is shared out over its bin. Returns `input_shape`."""
    xp, dx = get_array_module(dout), dout
    for axis in range(2, len(input_shape)):
        before, size = (slice(None),) * axis, input_shape[axis]
        wider = xp.zeros((*dx.shape[:axis], size, *dx.shape[axis + 1 :]), dtype=dx.dtype)
        for i, bin_ in enumerate(_bins(size, dx.shape[axis])):
            wider[(*before, bin_)] += dx[(*before, slice(i, i + 1))] / float(bin_.stop - bin_.start)
        dx = wider
    return dx


# ----------------------------------------------------------------------------------------------------- unpooling
def _flat(indices: Array, shape: Sequence[int], whole: bool) -> Array:
    """Indices into the flattened array of `shape` (N, C, sizes...) from those into each channel, or as they are."""
    xp, plane = get_array_module(indices), math.prod(shape[2:])
    if (
        xp is np
        and indices.size
        and not 0 <= int(indices.min()) <= int(indices.max()) < (math.prod(shape) if whole else plane)
    ):
        raise ShapeError(
            f"indices from {int(indices.min())} to {int(indices.max())} do not fit an output of shape {tuple(shape)}"
        )
    if not whole:
        indices = indices + channel_starts(indices, shape)
    return indices.reshape(-1)


def channel_starts(a: Array, shape: Sequence[int]) -> Array:
    """Where each channel begins in the flattened array of `shape` (N, C, sizes...): (N, C, 1...), on a's device."""
    starts = get_array_module(a).arange(math.prod(shape[:2])) * math.prod(shape[2:])
    return starts.reshape((*shape[:2], *(1,) * (len(shape) - 2)))


def max_unpool_forward(x: Array, indices: Array, sizes: Sequence[int], whole: bool = False) -> Array:
    """Each element of x (N, C, ...) put where `indices` (x's shape) says, in (N, C, *sizes) of zeros.

    indices: into each channel, the last axis counting fastest; whole: into the whole output. Raises ShapeError for
    one that lies outside (on the CPU; a GPU is not asked).
    """
    xp = get_array_module(x, indices)
    if indices.shape != x.shape:
        raise ShapeError(f"wanted as many indices as values, of shape {x.shape}, got {indices.shape}")
    shape = (*x.shape[:2], *sizes)
    y = xp.zeros(math.prod(shape), dtype=x.dtype)
    y[_flat(indices, shape, whole)] = x.reshape(-1)
    return y.reshape(shape)


def max_unpool_backward(dout: Array, indices: Array, whole: bool = False) -> Array:
    """Gradient of `max_unpool_forward` for x, where no two indices are the same. Returns indices' shape."""
    return dout.reshape(-1)[_flat(indices, dout.shape, whole)].reshape(indices.shape)
