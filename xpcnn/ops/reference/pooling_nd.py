"""Max, average and Lp pooling over any number of spatial axes, with dilation and with windows that hang over the end.

The pictures' version in `pooling.py` reads like the book; this one adds what other frameworks' models need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.windows import grown_pads, inside, output_sizes, padded_nd, window_slices_nd

__all__ = [
    "Windows",
    "average_pool_nd_backward",
    "average_pool_nd_forward",
    "lp_pool_nd_backward",
    "lp_pool_nd_forward",
    "max_pool_nd_backward",
    "max_pool_nd_forward",
    "max_pool_places",
]

_ALL = slice(None)


@dataclass(frozen=True)
class Windows:
    """Windows over n spatial axes: each of `window`, `stride`, `dilation` n numbers, `pads` (begin..., end...).

    ceil: whether a last window may hang over the end, as long as it begins inside the input or the pad before it.
    """

    window: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil: bool = False

    def out(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Number of windows along each axis. Raises ShapeError where none fits."""
        return output_sizes(sizes, self.window, self.stride, self.pads, self.dilation, self.ceil)

    def grown(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The pads with what windows that hang over the end see beyond them."""
        return grown_pads(self.pads, sizes, self.window, self.out(sizes), self.stride, self.dilation)


def _check(x: Array, windows: Windows) -> None:
    n = len(windows.window)
    if x.ndim != n + 2:
        raise ShapeError(f"a window over {n} axes needs an array (N, C, and {n} axes), got one of shape {x.shape}")


def _folded(
    parts: Iterable[tuple[tuple[slice, ...], Array]], like: Array, shape: tuple[int, ...], windows: Windows
) -> Array:
    """Zeros of `shape`, as `like`, to which each part is added at its slices of the padded input."""
    sizes, n = shape[2:], len(windows.window)
    pads = windows.grown(sizes)
    padded = (size + pads[i] + pads[n + i] for i, size in enumerate(sizes))
    image = get_array_module(like).zeros((*shape[:2], *padded), dtype=like.dtype)
    for slices, part in parts:
        image[(_ALL, _ALL, *slices)] += part
    return image[(_ALL, _ALL, *inside(pads, sizes))]


# ---------------------------------------------------------------------------------------------------------- max
def max_pool_nd_forward(x: Array, windows: Windows) -> tuple[Array, Array]:
    """The largest element of each window, of whole numbers too.

    x: (N, C, sizes...). Returns y (N, C, out...) and the winner's place in its window, counted in C order (uint8 where
    that fits). The first of equals wins; a NaN wins over everything; a pad is the lowest number there is.
    """
    _check(x, windows)
    xp, sizes = get_array_module(x), x.shape[2:]
    lowest = float("-inf") if x.dtype.kind == "f" else int(np.iinfo(x.dtype).min)
    image, out = padded_nd(x, windows.grown(sizes), lowest), windows.out(sizes)
    y = xp.full((*x.shape[:2], *out), lowest, dtype=x.dtype)
    winner = xp.zeros(y.shape, dtype="uint8" if math.prod(windows.window) <= 256 else "int32")
    for place, slices in window_slices_nd(windows.window, out, windows.stride, windows.dilation):
        seen = image[(_ALL, _ALL, *slices)]
        better = (seen > y) | ((seen != seen) & (y == y))
        y = xp.where(better, seen, y)
        winner = xp.where(better, winner.dtype.type(place), winner)
    return y, winner


def max_pool_nd_backward(dout: Array, winner: Array, input_shape: tuple[int, ...], windows: Windows) -> Array:
    """Gradient of `max_pool_nd_forward`: each element of dout goes to its window's winner. Returns `input_shape`."""
    slices = window_slices_nd(windows.window, dout.shape[2:], windows.stride, windows.dilation)
    return _folded(((where, dout * (winner == place)) for place, where in slices), dout, input_shape, windows)


def max_pool_places(winner: Array, sizes: tuple[int, ...], windows: Windows, column_major: bool = False) -> Array:
    """Where each window's winner lies in its channel of `sizes`, as one number (int64): the last axis counts fastest.

    column_major: the first axis counts fastest.
    """
    xp, n = get_array_module(winner), len(sizes)
    places, left = xp.zeros(winner.shape, dtype="int64"), winner.astype("int64")
    for i in reversed(range(n)):
        place, left = left % windows.window[i], left // windows.window[i]
        starts = xp.arange(winner.shape[2 + i]) * windows.stride[i] - windows.pads[i]
        along = starts.reshape((-1,) + (1,) * (n - 1 - i)) + place * windows.dilation[i]
        places += along * (math.prod(sizes[:i]) if column_major else math.prod(sizes[i + 1 :]))
    return places


# ------------------------------------------------------------------------------------------------------ average
def _window_counts(x: Array, sizes: tuple[int, ...], windows: Windows, count_pad: bool) -> Array | float:
    """How many elements each window's average is over: a number, or an array (out...).

    What a window sees beyond the end pad never counts; count_pad: whether the pads do.
    """
    pads, n = windows.grown(sizes), len(sizes)
    if (pads == windows.pads) if count_pad else not any(pads):
        return float(math.prod(windows.window))
    xp = get_array_module(x)
    counts = xp.ones((1,) * n, dtype=x.dtype)
    for i, out in enumerate(windows.out(sizes)):
        first, last = (-pads[i], sizes[i] + windows.pads[n + i]) if count_pad else (0, sizes[i])
        starts = xp.arange(out) * windows.stride[i] - pads[i]
        seen = starts[:, None] + xp.arange(windows.window[i]) * windows.dilation[i]
        along = ((seen >= first) & (seen < last)).sum(axis=1).astype(x.dtype)
        counts = counts * along.reshape((-1,) + (1,) * (n - 1 - i))
    return xp.maximum(counts, 1.0)  # a window of nothing but pad averages to 0, not to NaN


def average_pool_nd_forward(x: Array, windows: Windows, count_pad: bool = True) -> Array:
    """The mean of each window: x (N, C, sizes...) to (N, C, out...). count_pad: whether the pads' zeros count.

    What a window sees beyond the end pad (ceil) never counts.
    """
    total = _window_sums(x, windows)
    total /= _window_counts(x, x.shape[2:], windows, count_pad)
    return total


def average_pool_nd_backward(
    dout: Array, input_shape: tuple[int, ...], windows: Windows, count_pad: bool = True
) -> Array:
    """Gradient of `average_pool_nd_forward`: each element of dout is shared out evenly over its window."""
    return _shared_out(dout / _window_counts(dout, input_shape[2:], windows, count_pad), input_shape, windows)


def _window_sums(x: Array, windows: Windows) -> Array:
    _check(x, windows)
    sizes = x.shape[2:]
    image, out = padded_nd(x, windows.grown(sizes)), windows.out(sizes)
    total = get_array_module(x).zeros((*x.shape[:2], *out), dtype=x.dtype)
    for _, slices in window_slices_nd(windows.window, out, windows.stride, windows.dilation):
        total += image[(_ALL, _ALL, *slices)]
    return total


def _shared_out(share: Array, input_shape: tuple[int, ...], windows: Windows) -> Array:
    slices = window_slices_nd(windows.window, share.shape[2:], windows.stride, windows.dilation)
    return _folded(((where, share) for _, where in slices), share, input_shape, windows)


# ----------------------------------------------------------------------------------------------------------- Lp
def lp_pool_nd_forward(x: Array, windows: Windows, p: float = 2.0) -> Array:
    """The Lp norm of each window, (sum of |x|^p)^(1/p): x (N, C, sizes...) to (N, C, out...)."""
    p = float(p)
    return _window_sums(abs(x) ** p, windows) ** (1.0 / p)


def lp_pool_nd_backward(dout: Array, x: Array, y: Array, windows: Windows, p: float = 2.0) -> Array:
    """Gradient of `lp_pool_nd_forward`, dy/dx = sign(x) (|x| / y)^(p - 1); 0 where a whole window is 0."""
    xp, p = get_array_module(dout, x, y), float(p)
    share = dout * xp.where(y == 0.0, 1.0, y) ** (1.0 - p)  # sign(0) = 0 leaves nothing of the 1
    return xp.sign(x) * abs(x) ** (p - 1.0) * _shared_out(share, x.shape, windows)
