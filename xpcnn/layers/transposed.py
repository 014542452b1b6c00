"""The transposed convolution layer, which makes its input larger (Zeiler et al. 2010; Dumoulin and Visin 2016)."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.base import Context, GradientAttribute, Layer, ParameterAttribute, Shape
from xpcnn.ops import reference
from xpcnn.ops.windows import Ints, as_tuple, pads_of

__all__ = ["TransposedConvolution"]


class TransposedConvolution(Layer):
    """(N, C, *sizes) to (N, FN, *out) over any number of spatial axes: the gradient of a convolution, as a layer.

    Each element of x adds itself times a filter to a window of y; windows lie `stride` apart. So along each axis
    out = stride * (size - 1) + dilation * (window - 1) + 1 + output_pad - both pads. (It is also called
    deconvolution, but does not undo a convolution: it has its shapes, the other way round.)

    W: (C, FN/groups, *window), the W of the convolution that leads from y to x; b: (FN,) or None for no bias.
    stride, dilation, output_pad: int or one per axis; pad, cut off y's sides: int, one per axis, or begin of each axis
    and then end of each. output_pad: more elements at the end of each axis, for sizes that a convolution of that
    stride rounds off. groups: how many parts channels and filters are cut into, each part to itself.
    Raises ShapeError where W, b, groups and the options do not fit together.
    """

    W = ParameterAttribute["TransposedConvolution"]("W")
    b = ParameterAttribute["TransposedConvolution"]("b")
    dW = GradientAttribute["TransposedConvolution"]("W")
    db = GradientAttribute["TransposedConvolution"]("b")

    def __init__(
        self,
        W: Array,
        b: Array | None = None,
        stride: Ints = 1,
        pad: Ints = 0,
        output_pad: Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        n = W.ndim - 2
        if n < 1:
            raise ShapeError(f"a transposed convolution's W has shape (C, FN/groups, F1, ..., Fn), got {W.shape}")
        if groups < 1 or W.shape[0] % groups:
            raise ShapeError(f"groups={groups} does not divide the {W.shape[0]} channels of W {W.shape}")
        FN = W.shape[1] * groups
        if b is not None and b.shape != (FN,):
            raise ShapeError(
                f"a transposed convolution with W {W.shape} and groups={groups} has b of shape ({FN},), got {b.shape}"
            )
        self.params["W"] = W
        if b is not None:
            self.params["b"] = b
        self.stride, self.dilation = as_tuple(stride, n, "stride"), as_tuple(dilation, n, "dilation")
        self.pad, self.output_pad = pads_of(pad, n), as_tuple(output_pad, n, "output_pad", 0)
        self.groups = groups

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        C, filters, *window = self.params["W"].shape
        if len(shape) != len(window) + 1 or shape[0] != C:
            raise ShapeError(f"wanted an input of {C} channels and {len(window)} spatial axes, got {shape}")
        return filters * self.groups, *reference.conv_transpose_sizes(
            shape[1:], window, self.stride, self.pad, self.output_pad, self.dilation
        )

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x)
        return reference.conv_transpose_forward(
            x,
            self.params["W"],
            self.params.get("b"),
            self.stride,
            self.pad,
            self.output_pad,
            self.dilation,
            self.groups,
        )

    def backward_in(self, ctx: Context, dout: Array) -> Array | None:
        (x,) = ctx.load()
        dx, dW, db = reference.conv_transpose_backward(
            dout, x, self.params["W"], self.stride, self.pad, self.dilation, self.groups, ctx.need_dx
        )
        ctx.grads["W"] = dW
        if "b" in self.params:
            ctx.grads["b"] = db
        return dx
