"""The convolution layer (book, section 7.4.3)."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.base import Context, GradientAttribute, Layer, ParameterAttribute, Shape
from xpcnn.ops import reference
from xpcnn.ops.geometry import IntPair, PadLike, pair, quad, window_output

__all__ = ["Convolution"]


class Convolution(Layer):
    """2-D convolution of (N, C, H, W) with FN filters, giving (N, FN, OH, OW).

    W: (FN, C/groups, FH, FW); b: (FN,) or None for no bias. stride, pad, dilation: int or (h, w); pad also
    (top, left, bottom, right). groups: how many parts channels and filters are cut into, each part to itself
    (groups = C is a depthwise convolution). Raises ShapeError where W, b and groups do not fit together.
    """

    W = ParameterAttribute["Convolution"]("W")
    b = ParameterAttribute["Convolution"]("b")
    dW = GradientAttribute["Convolution"]("W")
    db = GradientAttribute["Convolution"]("b")

    def __init__(
        self,
        W: Array,
        b: Array | None = None,
        stride: IntPair = 1,
        pad: PadLike = 0,
        dilation: IntPair = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        if W.ndim != 4:
            raise ShapeError(f"a convolution's W has shape (FN, C/groups, FH, FW), got {W.shape}")
        if groups < 1 or W.shape[0] % groups:
            raise ShapeError(f"groups={groups} does not divide the {W.shape[0]} filters of W {W.shape}")
        if b is not None and b.shape != (W.shape[0],):
            raise ShapeError(f"a convolution with W {W.shape} has b of shape ({W.shape[0]},), got {b.shape}")
        self.params["W"] = W
        if b is not None:
            self.params["b"] = b
        self.stride, self.pad, self.dilation = pair(stride, "stride"), quad(pad), pair(dilation, "dilation")
        self.groups = groups

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        FN, channels, FH, FW = self.params["W"].shape
        if len(shape) != 3 or shape[0] != channels * self.groups:
            raise ShapeError(f"wanted pictures of {channels * self.groups} channels (C, H, W), got {shape}")
        return FN, *window_output((shape[1], shape[2]), (FH, FW), self.stride, self.pad, self.dilation)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        y, col = reference.conv2d_forward(
            x, self.params["W"], self.params.get("b"), self.stride, self.pad, self.dilation, self.groups
        )
        ctx.save(x.shape, col)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array | None:
        shape, col = ctx.load()
        dx, dW, db = reference.conv2d_backward(
            dout, col, self.params["W"], shape, self.stride, self.pad, self.dilation, self.groups, ctx.need_dx
        )
        ctx.grads["W"] = dW
        if "b" in self.params:
            ctx.grads["b"] = db
        return dx
