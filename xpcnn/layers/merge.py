"""Layers that join branches of a network."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.layers.arithmetic import broadcast_samples
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.ops import reference

__all__ = ["Add", "Concatenate"]


class Add(Layer):
    """The sum of two or more arrays of one shape, as at the end of a residual block (He et al. 2016).

    broadcast: whether axes of 1 may be repeated. By default they may not: in a residual block that is a mistake.
    """

    inputs = None

    def __init__(self, broadcast: bool = False) -> None:
        super().__init__()
        self.broadcast = broadcast

    def output_shape(self, *shapes: Shape) -> Shape:
        if self.broadcast:
            return broadcast_samples(*shapes)
        if any(shape != shapes[0] for shape in shapes):
            raise ShapeError(f"wanted inputs of one shape, got {', '.join(map(str, shapes))}")
        return shapes[0]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        get_array_module(*xs)
        if not self.broadcast:
            self.output_shape(*(x.shape for x in xs))
        ctx.save([x.shape for x in xs])
        total = xs[0]
        for x in xs[1:]:
            total = total + x
        return total

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, ...]:
        (shapes,) = ctx.load()
        return tuple(reference.unbroadcast(dout, shape) for shape in shapes)


class Concatenate(Layer):
    """Arrays side by side along an axis: (N, C1, H, W), (N, C2, H, W) to (N, C1 + C2, H, W) along the channels.

    axis counts axes of the whole array. Raises ShapeError for inputs that differ in another axis.
    """

    inputs = None

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    def output_shape(self, *shapes: Shape) -> Shape:
        wholes = [(1, *shape) for shape in shapes]
        if self._along(len(wholes[0])) == 0:
            raise ShapeError("axis 0 is the batch's; samples cannot be laid side by side along it")
        return self._joined(wholes)[1:]

    def _along(self, ndim: int) -> int:
        if not -ndim <= self.axis < ndim:
            raise ShapeError(f"axis {self.axis} of arrays of {ndim} axes")
        return self.axis % ndim

    def _joined(self, shapes: list[Shape]) -> Shape:
        axis = self._along(len(shapes[0]))
        rest = [(len(shape), shape[:axis], shape[axis + 1 :]) for shape in shapes]
        if any(r != rest[0] for r in rest):
            where = "their channels" if axis == 1 else f"axis {axis}"
            raise ShapeError(f"wanted inputs alike but for {where}, got {', '.join(str(s[1:]) for s in shapes)}")
        return *shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        self._joined([x.shape for x in xs])
        axis = self._along(xs[0].ndim)
        ctx.save(axis, [x.shape[axis] for x in xs])
        return get_array_module(*xs).concatenate(xs, axis=axis)

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, ...]:
        axis, widths = ctx.load()
        parts, start = [], 0
        for width in widths:
            parts.append(dout[(*(slice(None),) * axis, slice(start, start + width))])
            start += width
        return tuple(parts)
