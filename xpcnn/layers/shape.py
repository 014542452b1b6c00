"""Layers that only rearrange."""

from __future__ import annotations

import math

from xpcnn.device import Array
from xpcnn.layers.base import Context, Layer, Shape

__all__ = ["Flatten"]


class Flatten(Layer):
    """(N, C, H, W) to (N, C*H*W). Affine does this by itself; other layers may want it said."""

    def output_shape(self, *shapes: Shape) -> Shape:
        return (math.prod(shapes[0]),)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x.shape)
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        return dout.reshape(shape)
