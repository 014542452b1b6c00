"""The fully connected layer (book, section 5.6.2)."""

from __future__ import annotations

import math

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.base import Context, GradientAttribute, Layer, ParameterAttribute, Shape
from xpcnn.ops import reference

__all__ = ["Affine"]


class Affine(Layer):
    """x @ W + b: (N, D) to (N, M). Pictures (N, C, H, W) are flattened going in and restored in the gradient.

    W: (D, M); b: (M,) or None for no bias. Raises ShapeError where they do not fit together.
    """

    W = ParameterAttribute["Affine"]("W")
    b = ParameterAttribute["Affine"]("b")
    dW = GradientAttribute["Affine"]("W")
    db = GradientAttribute["Affine"]("b")

    def __init__(self, W: Array, b: Array | None = None) -> None:
        super().__init__()
        if W.ndim != 2:
            raise ShapeError(f"an affine layer's W has shape (D, M), got {W.shape}")
        if b is not None and b.shape != (W.shape[1],):
            raise ShapeError(f"an affine layer with W {W.shape} has b of shape ({W.shape[1]},), got {b.shape}")
        self.params["W"] = W
        if b is not None:
            self.params["b"] = b

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        D, M = self.params["W"].shape
        if math.prod(shape) != D:
            raise ShapeError(f"wanted {D} inputs, got {math.prod(shape)} (shape {shape})")
        return (M,)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x)
        return reference.affine_forward(x, self.params["W"], self.params.get("b"))

    def backward_in(self, ctx: Context, dout: Array) -> Array | None:
        (x,) = ctx.load()
        dx, dW, db = reference.affine_backward(dout, x, self.params["W"], ctx.need_dx)
        ctx.grads["W"] = dW
        if "b" in self.params:
            ctx.grads["b"] = db
        return dx
