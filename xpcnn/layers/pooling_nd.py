"""Pooling over any number of spatial axes, with dilation, Lp norms and windows that hang over the end."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.layers.pooling import Pooling, check_mode
from xpcnn.ops import reference
from xpcnn.ops.geometry import whole
from xpcnn.ops.reference.pooling_nd import Windows
from xpcnn.ops.windows import as_tuple, pads_of

__all__ = ["AdaptiveAveragePooling", "Ints", "PoolingND", "fitted_pooling"]

Ints = int | Sequence[int]


def _windows(size: Ints, stride: Ints, pad: Ints, dilation: Ints, ceil: bool, n: int) -> Windows:
    """Windows over n axes. Raises ShapeError for numbers that do not fit them, and for a pad as large as the window."""
    windows = Windows(
        as_tuple(size, n, "the pooling window"),
        as_tuple(stride, n, "stride"),
        pads_of(pad, n),
        as_tuple(dilation, n, "dilation"),
        bool(ceil),
    )
    spread = tuple(d * (w - 1) + 1 for w, d in zip(windows.window, windows.dilation, strict=True))
    if any(pad >= s for pad, s in zip(windows.pads, spread * 2, strict=True)):
        raise ShapeError(
            f"a pooling window of {'x'.join(map(str, spread))} needs pads smaller than itself, got pad={pad!r}"
        )
    return windows


class AdaptiveAveragePooling(Layer):
    """The mean of each of so many bins along each axis: (N, C, and n sizes) to (N, C, *size), whatever n sizes come.

    size: an int or one for each axis; None leaves an axis as it is. Bins are PyTorch's: bin i of `count` along an axis
    of `length` goes from floor(i length / count) to ceil((i + 1) length / count).
    """

    def __init__(self, size: int | Sequence[int | None]) -> None:
        super().__init__()
        for value in size if isinstance(size, Sequence) else (size,):
            if value is not None:
                whole(value, "an output size")
        self.size = size

    def sizes(self, arriving: Sequence[int]) -> tuple[int, ...]:
        """The output's sizes for an input's. Raises ShapeError where there are more or fewer."""
        if not isinstance(self.size, Sequence):
            return (self.size,) * len(arriving)
        if len(self.size) != len(arriving):
            raise ShapeError(f"{len(self.size)} output sizes {tuple(self.size)} cannot be those of {tuple(arriving)}")
        return tuple(size if new is None else new for new, size in zip(self.size, arriving, strict=True))

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) < 2:
            raise ShapeError(f"wanted pictures (C, H, W), or C and any other number of sizes, got {shape}")
        return shape[0], *self.sizes(shape[1:])

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x.shape)
        return reference.adaptive_average_pool_forward(x, self.sizes(x.shape[2:]))

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        return reference.adaptive_average_pool_backward(dout, shape)


class PoolingND(Layer):
    """The largest element, mean or Lp norm of each window: (N, C, sizes...) to (N, C, out...), any number of sizes.

    `Pooling` does pictures without dilation, and faster. size, stride, dilation: an int or one for each spatial axis;
    pad: also (begin..., end...). mode: "max", "average" (count_pad: whether the pads' zeros count) or "lp" (the norm
    p, at least 1). ceil: a last window may hang over the end if it begins inside the input or the pad before it; what
    it sees there never counts.
    """

    def __init__(
        self,
        size: Ints,
        stride: Ints = 1,
        pad: Ints = 0,
        dilation: Ints = 1,
        mode: str = "max",
        count_pad: bool = True,
        ceil: bool = False,
        p: float = 2.0,
    ) -> None:
        super().__init__()
        check_mode(mode, p, "max", "average", "lp")
        self.size, self.stride, self.pad, self.dilation, self.ceil = size, stride, pad, dilation, bool(ceil)
        self.mode, self.count_pad, self.p = mode, count_pad, float(p)
        told = [len(v) for v in (size, stride, dilation, pad) if isinstance(v, Sequence) and not isinstance(v, str)]
        self.windows(told[0] if told else 1)  # numbers that make no sense are told here, not when data arrives

    def windows(self, n: int) -> Windows:
        """The windows over n spatial axes. Raises ShapeError where this layer's are over another number of them."""
        return _windows(self.size, self.stride, self.pad, self.dilation, self.ceil, n)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) < 2:
            raise ShapeError(f"wanted pictures (C, H, W), or C and any other number of sizes, got {shape}")
        return shape[0], *self.windows(len(shape) - 1).out(shape[1:])

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        windows = self.windows(x.ndim - 2)
        if self.mode == "average":
            ctx.save(x.shape)
            return reference.average_pool_nd_forward(x, windows, self.count_pad)
        if self.mode == "lp":
            y = reference.lp_pool_nd_forward(x, windows, self.p)
            ctx.save(x, y)
            return y
        y, winner = reference.max_pool_nd_forward(x, windows)
        ctx.save(x.shape, winner)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array | None:
        if not ctx.need_dx:
            return None
        saved, windows = ctx.load(), self.windows(dout.ndim - 2)
        if self.mode == "average":
            return reference.average_pool_nd_backward(dout, saved[0], windows, self.count_pad)
        if self.mode == "lp":
            x, y = saved
            return reference.lp_pool_nd_backward(dout, x, y, windows, self.p)
        shape, winner = saved
        return reference.max_pool_nd_backward(dout, winner, shape, windows)


def fitted_pooling(
    shape: Shape,
    size: Ints,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    mode: str = "max",
    count_pad: bool = True,
    ceil: bool = False,
    p: float = 2.0,
) -> Layer:
    """The pooling layer for inputs of `shape` (C, sizes...): a plain `Pooling`, the faster one, where it does the same.

    Arguments as of `PoolingND`. Over pictures, `ceil` is nothing but more pad at the end, unless that pad would count.
    """
    general = PoolingND(size, stride, pad, dilation, mode, count_pad, ceil, p)
    if len(shape) != 3 or mode == "lp" or general.windows(2).dilation != (1, 1):
        return general
    windows, (pool_h, pool_w) = general.windows(2), general.windows(2).window
    pads = windows.grown(shape[1:]) if ceil else windows.pads
    if mode == "average" and pads != windows.pads:
        if count_pad and any(windows.pads):
            return general
        count_pad = False  # all the pad that there is hangs over the end, where it never counts
    return Pooling(pool_h, pool_w, windows.stride, pads, mode, count_pad)
