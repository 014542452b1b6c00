"""What poolings over any number of axes must compute: plain loops over windows, sharing no code with xpcnn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xpcnn.ops.reference.pooling_nd import Windows


@dataclass(frozen=True)
class Seen:
    """One window of one channel: the places inside the input that it sees, and how many it sees with the pads."""

    at: tuple[int, ...]
    places: list[tuple[int, ...]]
    with_pads: int


def along(size: int, window: int, stride: int, begin: int, end: int, dilation: int, ceil: bool) -> list[list[int]]:
    """What each window sees along one axis (negative: pad), found by moving on until there is no next window."""
    found, first, spread = [], -begin, dilation * (window - 1) + 1
    while True:
        fits = first + spread <= size + end
        previous_left_some = first - stride + spread < size + end
        if not (fits or (ceil and previous_left_some and first < size)):
            return found
        found.append([first + k * dilation for k in range(window)])
        first += stride


def seen_by(shape: Sequence[int], windows: Windows) -> tuple[tuple[int, ...], Iterator[Seen]]:
    """The output's shape, and what each of its elements sees."""
    sizes, n = shape[2:], len(shape) - 2
    ends = [(windows.pads[i], windows.pads[n + i]) for i in range(n)]
    axes = [
        along(sizes[i], windows.window[i], windows.stride[i], *ends[i], windows.dilation[i], windows.ceil)
        for i in range(n)
    ]
    out = (shape[0], shape[1], *map(len, axes))

    def each() -> Iterator[Seen]:
        for at in np.ndindex(*out):
            every = list(itertools.product(*(axes[i][at[2 + i]] for i in range(n))))
            inside = [place for place in every if all(0 <= p < s for p, s in zip(place, sizes, strict=True))]
            padded = [place for place in every if all(p < sizes[i] + ends[i][1] for i, p in enumerate(place))]
            yield Seen(at, inside, len(padded))

    return out, each()


def max_pool(
    x: np.ndarray, windows: Windows, dout: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output, the winners' places in their channels (C order), dx. The first of the largest wins; NaN beats all."""
    out, every = seen_by(x.shape, windows)
    y, winners, dx = np.empty(out, x.dtype), np.empty(out, np.int64), np.zeros(x.shape)
    for seen in every:
        values = [x[(*seen.at[:2], *place)] for place in seen.places]
        nans = [k for k, value in enumerate(values) if value != value]
        best = nans[0] if nans else values.index(max(values))
        y[seen.at] = values[best]
        winners[seen.at] = np.ravel_multi_index(seen.places[best], x.shape[2:])
        if dout is not None:
            dx[(*seen.at[:2], *seen.places[best])] += dout[seen.at]
    return y, winners, dx


def average_pool(
    x: np.ndarray, windows: Windows, count_pad: bool, dout: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Output, dx."""
    out, every = seen_by(x.shape, windows)
    y, dx = np.empty(out), np.zeros(x.shape)
    for seen in every:
        count = seen.with_pads if count_pad else max(len(seen.places), 1)
        y[seen.at] = math.fsum(float(x[(*seen.at[:2], *place)]) for place in seen.places) / count
        for place in seen.places if dout is not None else ():
            dx[(*seen.at[:2], *place)] += dout[seen.at] / count
    return y, dx


def lp_pool(x: np.ndarray, windows: Windows, p: float) -> np.ndarray:
    out, every = seen_by(x.shape, windows)
    y = np.empty(out)
    for seen in every:
        y[seen.at] = math.fsum(abs(float(x[(*seen.at[:2], *place)])) ** p for place in seen.places) ** (1 / p)
    return y
