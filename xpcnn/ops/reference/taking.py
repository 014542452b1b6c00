"""Taking elements along one axis by places known beforehand, and padding, which for most modes is the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.ops.geometry import check_size

__all__ = ["PAD_MODES", "pad", "pad_backward", "padded_places", "take", "take_backward"]

PAD_MODES = ("constant", "edge", "reflect", "wrap")


def _as_slice(places: np.ndarray) -> slice | None:
    """The slice that stands for these places, where their distances are equal and upward."""
    if places.size == 0:
        return slice(0, 0)
    steps = np.diff(places)
    step = int(steps[0]) if steps.size else 1
    if step < 1 or (steps != step).any():
        return None
    return slice(int(places[0]), int(places[-1]) + 1, step)


def _key(xp: Any, places: np.ndarray, axis: int) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, _as_slice(places) or xp.asarray(places))


def take(x: Array, places: np.ndarray, axis: int) -> Array:
    """x's elements at `places` along `axis`. places: (n,) whole numbers from 0 on, on the host."""
    return x[_key(get_array_module(x), places, axis)]


def _rounds(places: np.ndarray) -> Iterator[np.ndarray]:
    """Which of `places` to add up in one go: each place at most once a round, the first of equals first."""
    order = np.argsort(places, kind="stable")
    ranked = places[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if places.size else np.zeros(0, dtype=np.int64)
    rank = np.empty(places.size, dtype=np.int64)
    rank[order] = np.arange(places.size) - np.repeat(starts, np.diff(np.r_[starts, places.size]))
    for k in range(int(rank.max(initial=-1)) + 1):
        yield np.flatnonzero(rank == k)


def take_backward(dout: Array, places: np.ndarray, axis: int, size: int) -> Array:
    """Gradient of `take` from an axis of `size` elements: each of dout's is added to the one it was taken from."""
    xp = get_array_module(dout)
    dx = xp.zeros((*dout.shape[:axis], size, *dout.shape[axis + 1 :]), dtype=dout.dtype)
    for chosen in _rounds(places):
        dx[_key(xp, places[chosen], axis)] += dout[_key(xp, chosen, axis)]
    return dx


def padded_places(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """For each element of a padded axis the place that it is copied from. Negative pads cut off.

    mode "edge", "reflect" (the edge not repeated) or "wrap". Raises ShapeError for an axis without elements.
    """
    if size == 0 and before + after > 0:
        raise ShapeError(f"an axis of no elements cannot be padded by {before} and {after} in mode {mode!r}")
    places = np.arange(-before, size + after)
    if mode == "edge":
        return places.clip(0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(1, 2 * (size - 1))
    places = places % period
    return np.where(places < size, places, period - places)


def _inner(shape: tuple[int, ...], pads: Sequence[tuple[int, int]]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where x lies in what it is padded to, and which part of x that is."""
    there, here = [], []
    for size, (before, after) in zip(shape, pads, strict=True):
        here.append(slice(max(0, -before), max(max(0, -before), size - max(0, -after))))
        there.append(slice(max(0, before), max(0, before) + here[-1].stop - here[-1].start))
    return tuple(there), tuple(here)


def padded_shape(shape: tuple[int, ...], pads: Sequence[tuple[int, int]], itemsize: int) -> tuple[int, ...]:
    """The shape after padding. Raises ShapeError where pads cut off more than there is or the memory cannot hold it."""
    if len(pads) != len(shape) or any(size + sum(both) < 0 for size, both in zip(shape, pads, strict=True)):
        raise ShapeError(f"pads {tuple(pads)} do not fit an array of shape {shape}")
    padded = tuple(size + before + after for size, (before, after) in zip(shape, pads, strict=True))
    check_size(padded, itemsize, "a padded array")
    return padded


def pad(x: Array, pads: Sequence[tuple[int, int]], mode: str = "constant", value: float = 0.0) -> Array:
    """x with more elements, or where a pad is negative fewer, before and after its own along each axis.

    pads: (before, after) for each axis. mode: "constant" (of `value`), "edge", "reflect" or "wrap". Raises
    ConfigError for another mode, ShapeError for pads that do not fit.
    """
    if mode not in PAD_MODES:
        raise ConfigError(f"the mode of a pad is one of {', '.join(PAD_MODES)}, got {mode!r}")
    shape = padded_shape(x.shape, pads, x.dtype.itemsize)
    if mode != "constant":
        for axis, (before, after) in enumerate(pads):
            if before or after:
                x = take(x, padded_places(x.shape[axis], before, after, mode), axis)
        return x
    there, here = _inner(x.shape, pads)
    y = get_array_module(x).full(shape, value, dtype=x.dtype)
    y[there] = x[here]
    return y


def pad_backward(dout: Array, shape: tuple[int, ...], pads: Sequence[tuple[int, int]], mode: str = "constant") -> Array:
    """Gradient of `pad` for an x of `shape`."""
    if mode == "constant":
        there, here = _inner(shape, pads)
        dx = get_array_module(dout).zeros(shape, dtype=dout.dtype)
        dx[here] = dout[there]
        return dx
    for axis, (before, after) in enumerate(pads):
        if before or after:
            dout = take_backward(dout, padded_places(shape[axis], before, after, mode), axis, shape[axis])
    return dout
