"""Layers that give a part of an array, or repeat parts of it: slices, pads, tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.arithmetic import broadcast_samples
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.layers.shape import axes_of, sample_axes_of
from xpcnn.ops import reference
from xpcnn.ops.geometry import check_size
from xpcnn.ops.reference.taking import padded_shape

__all__ = ["Expand", "Pad", "Slice", "Take", "Tile"]

_LEAST_ITEM = 2  # bytes of float16, the smallest number that layers work with


class Slice(Layer):
    """The part from `starts` to before `ends` along `axes` (of the whole array; None: the first ones), every `steps`.

    Starts, ends and steps as in Python's slices: negative ones count from the end, those too large are cut.
    """

    def __init__(
        self,
        starts: Sequence[int],
        ends: Sequence[int],
        axes: Sequence[int] | None = None,
        steps: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.starts, self.ends = tuple(starts), tuple(ends)
        self.axes = tuple(range(len(self.starts)) if axes is None else axes)
        self.steps = tuple([1] * len(self.starts) if steps is None else steps)
        if not len(self.starts) == len(self.ends) == len(self.axes) == len(self.steps) or 0 in self.steps:
            raise ConfigError(
                "a slice has a start, an end, an axis and a step other than 0 for each axis that it cuts, got "
                f"starts={self.starts}, ends={self.ends}, axes={self.axes}, steps={self.steps}"
            )

    def _ranges(self, shape: Shape, axes: Sequence[int]) -> list[range]:
        """The places that are taken along each axis."""
        ranges = [range(n) for n in shape]
        for axis, start, end, step in zip(axes, self.starts, self.ends, self.steps, strict=True):
            ranges[axis] = range(*slice(start, end, step).indices(shape[axis]))
        return ranges

    def output_shape(self, *shapes: Shape) -> Shape:
        whole = (1, *shapes[0])
        return tuple(map(len, self._ranges(whole, sample_axes_of(self.axes, len(whole)))[1:]))

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        # A slice that goes down to the first element has no end: -1 would mean the last.
        key = tuple(
            slice(r.start, None if r.stop < 0 else r.stop, r.step) if len(r) else slice(0, 0)
            for r in self._ranges(x.shape, axes_of(self.axes, x.ndim))
        )
        ctx.save(x.shape, key)
        return x[key]

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        shape, key = ctx.load()
        dx = get_array_module(dout).zeros(shape, dtype=dout.dtype)
        dx[key] = dout
        return dx


class Take(Layer):
    """The elements at `indices` along `axis` (of the whole array): indices' own axes stand where that axis was.

    indices: whole numbers known beforehand, of any shape; negative ones count from the end. Raises ShapeError for
    one that the axis does not have.
    """

    def __init__(self, indices: Any, axis: int = 1) -> None:
        super().__init__()
        self.indices, self.axis = np.asarray(indices), axis
        if self.indices.dtype.kind not in "iu":
            raise ConfigError(f"indices are whole numbers, got an array of {self.indices.dtype}")

    def _places(self, size: int) -> np.ndarray:
        if self.indices.size and not -size <= int(self.indices.min()) <= int(self.indices.max()) < size:
            raise ShapeError(
                f"indices {int(self.indices.min())} to {int(self.indices.max())} for an axis of {size} elements"
            )
        return (self.indices.ravel().astype(np.int64) + size) % max(1, size)

    def output_shape(self, *shapes: Shape) -> Shape:
        whole = (1, *shapes[0])
        (axis,) = sample_axes_of([self.axis], len(whole))
        self._places(whole[axis])
        return (*whole[:axis], *self.indices.shape, *whole[axis + 1 :])[1:]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        (axis,) = axes_of([self.axis], x.ndim)
        places = self._places(x.shape[axis])
        ctx.save(x.shape, axis, places)
        shape = (*x.shape[:axis], *self.indices.shape, *x.shape[axis + 1 :])
        check_size(shape, x.dtype.itemsize, "what is taken")
        return reference.take(x, places, axis).reshape(shape)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        shape, axis, places = ctx.load()
        flat = dout.reshape(*shape[:axis], places.size, *shape[axis + 1 :])
        return reference.take_backward(flat, places, axis, shape[axis])


class Pad(Layer):
    """More elements before and after an array's own; where a pad is negative, fewer.

    pads: (before, after) for each of `axes` (of the whole array; None: the last ones). mode: "constant" (of `value`),
    "edge", "reflect" or "wrap".
    """

    def __init__(
        self,
        pads: Sequence[tuple[int, int]],
        mode: str = "constant",
        value: float = 0.0,
        axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if mode not in reference.PAD_MODES:
            raise ConfigError(f"the mode of a pad is one of {', '.join(reference.PAD_MODES)}, got {mode!r}")
        self.pads = tuple((int(before), int(after)) for before, after in pads)
        self.mode, self.value = mode, value
        self.axes = tuple(range(-len(self.pads), 0) if axes is None else axes)
        if len(self.axes) != len(self.pads):
            raise ConfigError(f"{len(self.pads)} pairs of pads for {len(self.axes)} axes")

    def _all_pads(self, ndim: int) -> list[tuple[int, int]]:
        pads = [(0, 0)] * ndim
        for axis, both in zip(axes_of(self.axes, ndim), self.pads, strict=True):
            pads[axis] = both
        return pads

    def output_shape(self, *shapes: Shape) -> Shape:
        whole = (1, *shapes[0])
        pads = self._all_pads(len(whole))
        if pads[0] != (0, 0):
            raise ShapeError("axis 0 is the batch's; samples cannot be padded with more samples")
        if self.mode != "constant":
            for size, (before, after) in zip(whole, pads, strict=True):
                reference.padded_places(size, before, after, self.mode)
        return padded_shape(whole, pads, _LEAST_ITEM)[1:]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        pads = self._all_pads(x.ndim)
        ctx.save(x.shape, pads)
        return reference.pad(x, pads, self.mode, self.value)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        shape, pads = ctx.load()
        return reference.pad_backward(dout, shape, pads, self.mode)


class Expand(Layer):
    """Repeats axes of size 1 until the input has the shape that it and `shape` broadcast to.

    shape counts from the last axis on; in a network it says nothing of N, or 1.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(int(n) for n in shape)
        if any(n < 0 for n in self.shape):
            raise ConfigError(f"sizes are whole numbers from 0 on, got {self.shape}")

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        extra = len(self.shape) - len(shape)
        if extra > 1 or (extra == 1 and self.shape[0] != 1):
            raise ShapeError(f"axis 0 is the batch's; {shape} cannot be expanded to {self.shape} in a network")
        inner = self.shape[max(0, extra) :]
        return broadcast_samples((1,) * (len(shape) - len(inner)) + inner, shape)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x.shape)
        try:
            shape = np.broadcast_shapes(x.shape, self.shape)
        except ValueError:
            raise ShapeError(f"an array of shape {x.shape} cannot be expanded to {self.shape}") from None
        check_size(shape, x.dtype.itemsize, "an expanded array")
        return get_array_module(x).broadcast_to(x, shape).copy()

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        return reference.unbroadcast(dout, shape)


class Tile(Layer):
    """The array side by side with itself, `repeats` times along each axis of the whole array; in a network repeats[0]
    is 1."""

    def __init__(self, repeats: Sequence[int]) -> None:
        super().__init__()
        self.repeats = tuple(int(n) for n in repeats)
        if any(n < 0 for n in self.repeats):
            raise ConfigError(f"an array is repeated 0 times or more often, got {self.repeats}")

    def _tiled(self, shape: Shape) -> Shape:
        if len(shape) != len(self.repeats):
            raise ShapeError(f"wanted an array of {len(self.repeats)} axes, N among them, got shape {shape}")
        return tuple(n * times for n, times in zip(shape, self.repeats, strict=True))

    def output_shape(self, *shapes: Shape) -> Shape:
        tiled = self._tiled((1, *shapes[0]))
        if tiled[0] != 1:
            raise ShapeError(f"axis 0 is the batch's; samples cannot be repeated, got repeats {self.repeats}")
        return tiled[1:]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x.shape)
        check_size(self._tiled(x.shape), x.dtype.itemsize, "a tiled array")
        return get_array_module(x).tile(x, self.repeats)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        sides = [n for pair in zip(self.repeats, shape, strict=True) for n in pair]
        return dout.reshape(sides).sum(axis=tuple(range(0, len(sides), 2)))
