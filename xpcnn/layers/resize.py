"""The layer that makes pictures larger or smaller."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.layers.shape import axes_of
from xpcnn.ops import reference
from xpcnn.ops.geometry import check_size

__all__ = ["Resize", "ResizeWay"]

POLICIES = ("stretch", "not_larger", "not_smaller")
_REMEMBERED = 2**20  # elements of a table that is kept for the next pass
_LEAST_ITEM = 2  # bytes of float16, the smallest number that layers work with


@dataclass(frozen=True)
class ResizeWay:
    """How elements between pixels are found; the names are ONNX's.

    mode: "nearest", "linear" or "cubic". coordinates: how places in the new picture are places in the old. rounding:
    for "nearest". cubic_a, exclude_outside, antialias: see `ops.reference.resize_matrix`. extrapolation: what
    "tf_crop_and_resize" finds outside of the picture. Raises ConfigError for what is none of ONNX's.
    """

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    extrapolation: float = 0.0
    antialias: bool = False

    def __post_init__(self) -> None:
        for what, value, known in (
            ("mode", self.mode, reference.RESIZE_MODES),
            ("coordinates", self.coordinates, reference.COORDINATES),
            ("rounding", self.rounding, reference.ROUNDINGS),
        ):
            if value not in known:
                raise ConfigError(f"a resize's {what}: one of {', '.join(known)}, got {value!r}")


@dataclass(frozen=True)
class _Line:
    """One axis that changes: from `size` elements to `new_size`."""

    axis: int
    size: int
    new_size: int
    scale: float
    roi: tuple[float, float]


def new_length(size: int, scale: float) -> int:
    """floor(size * scale), where 100 * 0.29 is 29: what lacks to a whole number by rounding alone is none less."""
    return math.floor(size * scale * (1.0 + 1e-12))


def _table(line: _Line, way: ResizeWay, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """`_made`, which remembers small tables."""
    small = line.new_size * (1 if way.mode == "nearest" else line.size) <= _REMEMBERED
    return _made(line, way, dtype) if small else _made.__wrapped__(line, way, dtype)


@functools.lru_cache(maxsize=64)
def _made(line: _Line, way: ResizeWay, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """(nearest places or matrix, places outside of the picture) of one axis; the host's, not to be changed."""
    x = reference.resize_coordinates(line.size, line.new_size, line.scale, way.coordinates, line.roi)
    outside = np.flatnonzero((x < 0.0) | (x > line.size - 1)) if way.coordinates == "tf_crop_and_resize" else x[:0]
    if way.mode == "nearest":
        return reference.nearest_places(x, line.size, way.rounding), outside.astype(np.int64)
    matrix = reference.resize_matrix(
        x, line.size, line.scale, way.mode, way.cubic_a, way.antialias, way.exclude_outside
    )
    return matrix.astype(dtype), outside.astype(np.int64)


class Resize(Layer):
    """Arrays resized along `axes` (of the whole array; None: the last ones), by `scales` or to `sizes`, one for each.

    A scale gives floor(size * scale) elements. policy, with sizes: "stretch", or one scale for all axes so that none
    is larger ("not_larger") or smaller ("not_smaller") than its size. roi: (start, end) for each axis, for
    "tf_crop_and_resize". In a network N does not change. Raises ConfigError for scales and sizes that are none.
    """

    def __init__(
        self,
        scales: Sequence[float] | None = None,
        sizes: Sequence[int] | None = None,
        way: ResizeWay | None = None,
        axes: Sequence[int] | None = None,
        policy: str = "stretch",
        roi: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        super().__init__()
        given = scales if sizes is None else sizes
        if given is None or (scales is not None and sizes is not None):
            raise ConfigError("a resize has either scales or sizes")
        if policy not in POLICIES:
            raise ConfigError(f"a resize's policy is one of {', '.join(POLICIES)}, got {policy!r}")
        if not all(n > 0 and math.isfinite(n) for n in given):
            raise ConfigError(f"scales and sizes of a resize are above 0, got {tuple(given)}")
        self.scales = None if scales is None else tuple(float(s) for s in scales)
        self.sizes = None if sizes is None else tuple(int(n) for n in sizes)
        self.axes = tuple(range(-len(given), 0) if axes is None else axes)
        self.roi = ((0.0, 1.0),) * len(given) if roi is None else tuple((float(a), float(b)) for a, b in roi)
        if not len(given) == len(self.axes) == len(self.roi):
            raise ConfigError(f"{len(given)} scales or sizes and {len(self.roi)} regions for {len(self.axes)} axes")
        self.way, self.policy = way or ResizeWay(), policy

    def _lines(self, shape: Shape) -> list[_Line]:
        """The axes that change, of a whole array of `shape`."""
        axes = axes_of(self.axes, len(shape))
        olds = [shape[axis] for axis in axes]
        if self.scales is not None:
            scales = list(self.scales)
            sizes = [new_length(n, s) for n, s in zip(olds, scales, strict=True)]
        else:
            assert self.sizes is not None
            sizes = list(self.sizes)
            if not all(olds):
                raise ShapeError(f"an array without elements, of shape {shape}, cannot be resized to {self.sizes}")
            scales = [new / old for new, old in zip(sizes, olds, strict=True)]
            if self.policy != "stretch":
                scales = [min(scales) if self.policy == "not_larger" else max(scales)] * len(scales)
                sizes = [math.floor(n * s + 0.5) for n, s in zip(olds, scales, strict=True)]
        lines = [_Line(*parts) for parts in zip(axes, olds, sizes, scales, self.roi, strict=True)]
        for line in lines:
            if line.new_size < 1 <= line.size:
                raise ShapeError(f"axis {line.axis} of shape {shape} would be left without elements")
        same = self.way.coordinates != "tf_half_pixel_for_nn"
        return [line for line in lines if not (same and line.scale == 1.0 and line.roi == (0.0, 1.0))]

    def _resized(self, shape: Shape, lines: list[_Line], itemsize: int) -> Shape:
        sizes = list(shape)
        for line in lines:
            sizes[line.axis] = line.new_size
            check_size(sizes, itemsize, "a resized array")
        return tuple(sizes)

    def resized(self, shape: Shape) -> Shape:
        """The shape that a whole array of `shape` gets."""
        return self._resized(shape, self._lines(shape), _LEAST_ITEM)

    def output_shape(self, *shapes: Shape) -> Shape:
        whole = (1, *shapes[0])
        if self.sizes is not None and 0 in axes_of(self.axes, len(whole)):
            raise ShapeError("axis 0 is the batch's; it has no size of its own in a network")
        lines = self._lines(whole)
        if any(line.axis == 0 for line in lines):
            raise ShapeError("axis 0 is the batch's; samples cannot be resized to more or fewer samples")
        return self._resized(whole, lines, _LEAST_ITEM)[1:]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        xp = get_array_module(x)
        lines = self._lines(x.shape)
        self._resized(x.shape, lines, x.dtype.itemsize)
        ctx.save(lines)
        dtype = x.dtype.name if x.dtype.kind == "f" else "float64"
        y = x
        for line in lines:
            table, _ = _table(line, self.way, dtype)
            if self.way.mode == "nearest":
                y = reference.take(y, table, line.axis)
            else:
                y = reference.along_axis(y.astype(dtype, copy=False), xp.asarray(table), line.axis)
        y = y.astype(x.dtype, copy=False)
        return self._outside(y, lines, self.way.extrapolation)

    def _outside(self, y: Array, lines: list[_Line], value: float) -> Array:
        """y with `value` where it lies outside of the picture."""
        xp = get_array_module(y)
        masks = [(line, _table(line, self.way, "float64")[1]) for line in lines]
        if any(places.size for _, places in masks):
            y = y.copy()
            for line, places in masks:
                if places.size:
                    y[(*(slice(None),) * line.axis, xp.asarray(places))] = value
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (lines,) = ctx.load()
        xp = get_array_module(dout)
        dx = self._outside(dout, lines, 0.0)
        for line in reversed(lines):
            table, _ = _table(line, self.way, dout.dtype.name)
            if self.way.mode == "nearest":
                dx = reference.take_backward(dx, table, line.axis, line.size)
            else:
                dx = reference.along_axis(dx, xp.asarray(table).T, line.axis)
        return dx

    def __repr__(self) -> str:
        how = f"sizes={self.sizes}" if self.scales is None else f"scales={self.scales}"
        return f"{type(self).__name__}({how}, {self.way.mode})"
