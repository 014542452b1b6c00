"""Where a max pooling found what it kept, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.layers.pooling_nd import Ints, PoolingND
from xpcnn.ops import reference
from xpcnn.ops.windows import as_tuple, pads_of

__all__ = ["MaxPoolIndices", "MaxUnpool"]


class MaxPoolIndices(PoolingND):
    """Where a max `PoolingND` of the same arguments finds its elements: (N, C, sizes...) to int64 (N, C, out...).

    An index counts through its own channel, the last axis fastest (PyTorch's); column_major: the first axis fastest.
    whole: through the whole array, N and C too (ONNX's); no part of a network then, for samples would not stand alone.
    """

    def __init__(
        self,
        size: Ints,
        stride: Ints = 1,
        pad: Ints = 0,
        dilation: Ints = 1,
        ceil: bool = False,
        column_major: bool = False,
        whole: bool = False,
    ) -> None:
        super().__init__(size, stride, pad, dilation, ceil=ceil)
        self.column_major, self.whole = column_major, whole

    def output_shape(self, *shapes: Shape) -> Shape:
        if self.whole:
            raise ShapeError("indices into a whole batch cannot be part of a network; those into a channel can")
        return super().output_shape(*shapes)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        windows, sizes = self.windows(x.ndim - 2), x.shape[2:]
        _, winner = reference.max_pool_nd_forward(x, windows)
        ctx.save(x.shape, x.dtype)
        places = reference.max_pool_places(winner, sizes, windows, self.column_major)
        if self.whole:
            places += reference.channel_starts(places, x.shape)
        return places

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        """Zeros: indices jump, and do not move in between."""
        shape, dtype = ctx.load()
        return get_array_module(dout).zeros(shape, dtype=dtype)


class MaxUnpool(Layer):
    """Puts pooled values back where they were, among zeros (Zeiler & Fergus 2014).

    x and indices (N, C, ...) become (N, C, sizes...).

    size, stride, pad: those of the max pooling, from which the sizes follow: (in - 1) stride + size - pads. `sizes`
    says them instead, where the pooling left something out. indices: as of `MaxPoolIndices`; whole: into the whole
    array. The indices' gradient is zeros: they jump, and do not move in between.
    """

    inputs = 2

    def __init__(
        self, size: Ints, stride: Ints = 1, pad: Ints = 0, sizes: Sequence[int] | None = None, whole: bool = False
    ) -> None:
        super().__init__()
        self.size, self.stride, self.pad, self.whole = size, stride, pad, whole
        self.sizes = None if sizes is None else as_tuple(sizes, len(sizes), "sizes")

    def unpooled(self, pooled: Sequence[int]) -> tuple[int, ...]:
        """The output's sizes for the input's. Raises ShapeError where they cannot be."""
        n = len(pooled)
        if self.sizes is not None:
            if len(self.sizes) != n:
                raise ShapeError(f"sizes {self.sizes} cannot be those of an output with {n} spatial axes")
            return self.sizes
        size, stride = as_tuple(self.size, n, "the pooling window"), as_tuple(self.stride, n, "stride")
        pads = pads_of(self.pad, n)
        sizes = tuple((pooled[i] - 1) * stride[i] + size[i] - pads[i] - pads[n + i] for i in range(n))
        if min(sizes) < 1:
            raise ShapeError(f"pads {pads} leave nothing of an output unpooled from {tuple(pooled)}")
        return sizes

    def output_shape(self, *shapes: Shape) -> Shape:
        shape, places = shapes
        if self.whole:
            raise ShapeError("indices into a whole batch cannot be part of a network; those into a channel can")
        if len(shape) < 2 or shape != places:
            raise ShapeError(f"wanted (C, sizes...) and as many indices, got {shape} and {places}")
        return shape[0], *self.unpooled(shape[1:])

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        x, indices = xs
        ctx.save(indices)
        return reference.max_unpool_forward(x, indices, self.unpooled(x.shape[2:]), self.whole)

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, Array]:
        (indices,) = ctx.load()
        dx = reference.max_unpool_backward(dout, indices, self.whole)
        return dx, get_array_module(dx).zeros_like(dx)
