"""Pooling and convolutions of single channels on channels-last arrays, a whole picture for each place in the window.

x is (n, H, W, C), y (n, OH, OW, C). Pixels outside the picture are never looked at: each place in the window has the
outputs for which it lies inside.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xpcnn.device import Array

__all__ = ["average_pool", "depthwise", "max_pool"]

_Pair = tuple[int, int]


def _places(
    size: int, stride: int, pad: int, length: int, outputs: int, dilation: int = 1
) -> Iterator[tuple[int, slice, slice]]:
    """For each place in a window along one axis: the outputs for which it lies inside, and what they see there."""
    for place in range(size):
        shift = place * dilation - pad
        first = max(0, -(shift // stride))  # the least output with output * stride + shift >= 0
        last = min(outputs, (length - 1 - shift) // stride + 1)
        if first < last:
            start = first * stride + shift
            yield place, slice(first, last), slice(start, start + (last - first - 1) * stride + 1, stride)


def max_pool(x: Array, size: _Pair, stride: _Pair, pad: _Pair, rows: Array, y: Array) -> None:
    """The largest of each window; a NaN is larger than all. rows: scratch (n, H, OW, C)."""
    _reduce(np.maximum, -np.inf, x, size, stride, pad, rows, y)


def average_pool(x: Array, size: _Pair, stride: _Pair, pad: _Pair, rows: Array, y: Array, count_pad: bool) -> None:
    """The mean of each window, over its pixels inside the picture or (count_pad) over all. rows: as in max_pool."""
    _reduce(np.add, 0.0, x, size, stride, pad, rows, y)
    if count_pad:
        y /= float(size[0] * size[1])
        return
    counts = []
    for axis in (0, 1):
        count = np.zeros(y.shape[1 + axis], x.dtype)
        for _, outputs, _ in _places(size[axis], stride[axis], pad[axis], x.shape[1 + axis], len(count)):
            count[outputs] += 1.0
        counts.append(count)
    y /= np.outer(*counts)[:, :, None]


def _reduce(
    combine: np.ufunc, start: float, x: Array, size: _Pair, stride: _Pair, pad: _Pair, rows: Array, y: Array
) -> None:
    """First along the rows, then down the columns: size[0] + size[1] passes instead of their product."""
    rows.fill(start)
    for _, outputs, seen in _places(size[1], stride[1], pad[1], x.shape[2], y.shape[2]):
        part = rows[:, :, outputs]
        combine(part, x[:, :, seen], out=part)
    y.fill(start)
    for _, outputs, seen in _places(size[0], stride[0], pad[0], x.shape[1], y.shape[1]):
        part = y[:, outputs]
        combine(part, rows[:, seen], out=part)


def depthwise(x: Array, w: Array, stride: _Pair, pad: _Pair, dilation: _Pair, room: Array, y: Array) -> None:
    """Each channel with a filter of its own. w: (FH, FW, C); room: scratch of y's shape."""
    y.fill(0.0)
    (FH, FW, _), (_, H, W, _), (_, OH, OW, _) = w.shape, x.shape, y.shape
    for fh, down, seen_down in _places(FH, stride[0], pad[0], H, OH, dilation[0]):
        for fw, across, seen_across in _places(FW, stride[1], pad[1], W, OW, dilation[1]):
            part = y[:, down, across]
            part += np.multiply(x[:, seen_down, seen_across], w[fh, fw], out=room[:, down, across])
