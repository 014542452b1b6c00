"""Convolution over any number of spatial axes: sequences, pictures, volumes."""

from __future__ import annotations

from typing import ClassVar

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.base import Context, GradientAttribute, Layer, ParameterAttribute, Shape
from xpcnn.ops import reference
from xpcnn.ops.windows import Ints, as_tuple, output_sizes, pads_of

__all__ = ["Convolution1D", "Convolution3D", "ConvolutionND"]


class ConvolutionND(Layer):
    """Convolution of (N, C, *sizes) with FN filters over all n spatial axes, giving (N, FN, *out).

    W: (FN, C/groups, *window); b: (FN,) or None for no bias. stride, dilation: int or one per axis; pad: int, one per
    axis, or begin of each axis and then end of each. groups: how many parts channels and filters are cut into, each
    part to itself (groups = C is a depthwise convolution). Pictures have `Convolution`, for which the executors have
    faster ways. Raises ShapeError where W, b, groups and the options do not fit together.
    """

    axes: ClassVar[int | None] = None  # spatial axes that a subclass insists on

    W = ParameterAttribute["ConvolutionND"]("W")
    b = ParameterAttribute["ConvolutionND"]("b")
    dW = GradientAttribute["ConvolutionND"]("W")
    db = GradientAttribute["ConvolutionND"]("b")

    def __init__(
        self,
        W: Array,
        b: Array | None = None,
        stride: Ints = 1,
        pad: Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        n = W.ndim - 2
        if n < 1 or self.axes not in (None, n):
            wanted = "F1, ..., Fn" if self.axes is None else ", ".join(f"F{i + 1}" for i in range(self.axes))
            raise ShapeError(f"the W of a {type(self).__name__} has shape (FN, C/groups, {wanted}), got {W.shape}")
        if groups < 1 or W.shape[0] % groups:
            raise ShapeError(f"groups={groups} does not divide the {W.shape[0]} filters of W {W.shape}")
        if b is not None and b.shape != (W.shape[0],):
            raise ShapeError(f"a convolution with W {W.shape} has b of shape ({W.shape[0]},), got {b.shape}")
        self.params["W"] = W
        if b is not None:
            self.params["b"] = b
        self.stride, self.dilation = as_tuple(stride, n, "stride"), as_tuple(dilation, n, "dilation")
        self.pad = pads_of(pad, n)
        self.groups = groups

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        FN, channels, *window = self.params["W"].shape
        if len(shape) != len(window) + 1 or shape[0] != channels * self.groups:
            raise ShapeError(
                f"wanted an input of {channels * self.groups} channels and {len(window)} spatial axes, got {shape}"
            )
        return FN, *output_sizes(shape[1:], window, self.stride, self.pad, self.dilation)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        y, col = reference.conv_nd_forward(
            x, self.params["W"], self.params.get("b"), self.stride, self.pad, self.dilation, self.groups
        )
        ctx.save(x.shape[2:], col)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array | None:
        sizes, col = ctx.load()
        dx, dW, db = reference.conv_nd_backward(
            dout, col, self.params["W"], sizes, self.stride, self.pad, self.dilation, self.groups, ctx.need_dx
        )
        ctx.grads["W"] = dW
        if "b" in self.params:
            ctx.grads["b"] = db
        return dx


class Convolution1D(ConvolutionND):
    """Convolution of sequences (N, C, L) with W (FN, C/groups, FL), giving (N, FN, OL): see ConvolutionND."""

    axes = 1


class Convolution3D(ConvolutionND):
    """Convolution of volumes (N, C, D, H, W) with W (FN, C/groups, FD, FH, FW), giving (N, FN, OD, OH, OW)."""

    axes = 3
