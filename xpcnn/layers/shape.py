"""Layers that only rearrange."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from xpcnn.device import Array
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, Layer, Shape

__all__ = ["Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "axes_of", "sample_axes_of"]


_MOST_AXES = 64  # of NumPy's arrays


def axes_of(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Axes counted from 0, of an array of `ndim` axes. Raises ShapeError for one it does not have, or one twice."""
    if len(axes) > max(ndim, _MOST_AXES):
        raise ShapeError(f"{len(axes):,} axes, of an array of {ndim}")
    if ndim > _MOST_AXES:
        raise ShapeError(f"an array has at most {_MOST_AXES} axes, got one of {ndim:,}")
    counted = tuple(axis + ndim if axis < 0 else axis for axis in axes)
    if any(not 0 <= axis < ndim for axis in counted) or len(set(counted)) < len(counted):
        raise ShapeError(f"wanted different axes of an array of {ndim} axes, got {', '.join(map(str, axes))}")
    return counted


def sample_axes_of(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """`axes_of`, of which none may be the batch's."""
    counted = axes_of(axes, ndim)
    if 0 in counted:
        raise ShapeError("axis 0 is the batch's; in a network, samples stay apart")
    return counted


class Flatten(Layer):
    """(N, C, H, W) to (N, C*H*W). Affine does this by itself; other layers may want it said.

    axis: those before it become the first axis of two, those from it on the second; in a network it is 1.
    """

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    def _sides(self, shape: Shape) -> Shape:
        if not -len(shape) <= self.axis <= len(shape):
            raise ShapeError(f"an array of {len(shape)} axes cannot be flattened from axis {self.axis} on")
        axis = self.axis + len(shape) if self.axis < 0 else self.axis
        return math.prod(shape[:axis]), math.prod(shape[axis:])

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if self.axis != 1 and (not shape or self.axis != -len(shape)):
            raise ShapeError(f"in a network samples are flattened from axis 1 on, got axis {self.axis} for {shape}")
        return (math.prod(shape),)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x.shape)
        return x.reshape(self._sides(x.shape))

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        return dout.reshape(shape)


class Reshape(Layer):
    """(N, ...) to (N, *shape), or with `whole` to `shape`, N and all.

    In shape, 0 stands for the input's size at that place (where `zero_copies`) and one -1 for what is left. Raises
    ShapeError where the numbers of elements differ.
    """

    def __init__(self, shape: Sequence[int], whole: bool = False, zero_copies: bool = True) -> None:
        super().__init__()
        self.shape, self.whole, self.zero_copies = tuple(int(n) for n in shape), whole, zero_copies
        if any(n < -1 for n in self.shape) or self.shape.count(-1) > 1:
            raise ConfigError(f"a shape has sizes from 0 on and at most one -1, got {self.shape}")

    def _reshaped(self, shape: Shape) -> Shape:
        fault = ShapeError(f"an input of shape {shape} cannot be reshaped to {self.shape}")
        sizes = list(self.shape)
        for i, n in enumerate(sizes):
            if n == 0 and self.zero_copies:
                if i >= len(shape):
                    raise fault
                sizes[i] = shape[i]
        total, told = math.prod(shape), math.prod(n for n in sizes if n != -1)
        if -1 in sizes:
            if told == 0 or total % told:
                raise fault
            sizes[sizes.index(-1)] = total // told
        elif told != total:
            raise fault
        return tuple(sizes)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if self.whole:
            raise ShapeError("a reshape of the whole array cannot be part of a network, whose samples stay apart")
        return self._reshaped(shape)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x.shape)
        return x.reshape(self._reshaped(x.shape) if self.whole else (x.shape[0], *self._reshaped(x.shape[1:])))

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        return dout.reshape(shape)


class Transpose(Layer):
    """The axes in another order. perm counts axes of the whole array; None: in reverse. In a network, perm[0] is 0."""

    def __init__(self, perm: Sequence[int] | None = None) -> None:
        super().__init__()
        self.perm = None if perm is None else tuple(perm)

    def _order(self, ndim: int) -> tuple[int, ...]:
        order = tuple(range(ndim))[::-1] if self.perm is None else axes_of(self.perm, ndim)
        if len(order) != ndim:
            raise ShapeError(f"an order of {len(order)} axes for an array of {ndim}: {self.perm}")
        return order

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        order = self._order(len(shape) + 1)
        if order[0] != 0:
            raise ShapeError(f"axis 0 is the batch's and stays first in a network, got the order {order}")
        return tuple(shape[axis - 1] for axis in order[1:])

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        order = self._order(xs[0].ndim)
        ctx.save(order)
        return xs[0].transpose(order)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (order,) = ctx.load()
        return dout.transpose(tuple(int(axis) for axis in np.argsort(order)))


class Squeeze(Layer):
    """Without these axes of size 1. axes count those of the whole array."""

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.axes = tuple(axes)

    def _squeezed(self, shape: Shape) -> Shape:
        axes = axes_of(self.axes, len(shape))
        if any(shape[axis] != 1 for axis in axes):
            raise ShapeError(f"only axes of size 1 can be left out, got axes {self.axes} of shape {shape}")
        return tuple(n for axis, n in enumerate(shape) if axis not in axes)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        sample_axes_of(self.axes, len(shape) + 1)
        return self._squeezed((1, *shape))[1:]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save(xs[0].shape)
        return xs[0].reshape(self._squeezed(xs[0].shape))

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        return dout.reshape(shape)


class Unsqueeze(Layer):
    """With new axes of size 1. axes count those of the whole array that comes out."""

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.axes = tuple(axes)

    def _unsqueezed(self, shape: Shape) -> Shape:
        ndim = len(shape) + len(self.axes)
        new, sizes = axes_of(self.axes, ndim), iter(shape)
        return tuple(1 if axis in new else next(sizes) for axis in range(ndim))

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        sample_axes_of(self.axes, len(shape) + 1 + len(self.axes))
        return self._unsqueezed((1, *shape))[1:]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save(xs[0].shape)
        return xs[0].reshape(self._unsqueezed(xs[0].shape))

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        return dout.reshape(shape)
