"""Layers that join branches of a network."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.layers.base import Context, Layer, Shape

__all__ = ["Add", "Concatenate"]


class Add(Layer):
    """The sum of two or more arrays of one shape, as at the end of a residual block (He et al. 2016)."""

    inputs = None

    def output_shape(self, *shapes: Shape) -> Shape:
        if any(shape != shapes[0] for shape in shapes):
            raise ShapeError(f"wanted inputs of one shape, got {', '.join(map(str, shapes))}")
        return shapes[0]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        get_array_module(*xs)
        self.output_shape(*(x.shape for x in xs))
        ctx.save(len(xs))
        total = xs[0]
        for x in xs[1:]:
            total = total + x
        return total

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, ...]:
        (count,) = ctx.load()
        return tuple(dout for _ in range(count))


class Concatenate(Layer):
    """Arrays side by side along the channels: (N, C1, H, W), (N, C2, H, W) to (N, C1 + C2, H, W)."""

    inputs = None

    def output_shape(self, *shapes: Shape) -> Shape:
        if any(shape[1:] != shapes[0][1:] for shape in shapes):
            raise ShapeError(f"wanted inputs alike but for their channels, got {', '.join(map(str, shapes))}")
        return sum(shape[0] for shape in shapes), *shapes[0][1:]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        self.output_shape(*(x.shape[1:] for x in xs))
        ctx.save([x.shape[1] for x in xs])
        return get_array_module(*xs).concatenate(xs, axis=1)

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, ...]:
        (widths,) = ctx.load()
        parts, start = [], 0
        for width in widths:
            parts.append(dout[:, start : start + width])
            start += width
        return tuple(parts)
