"""Pooling layers (book, section 7.4.4)."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.ops import reference
from xpcnn.ops.geometry import IntPair, PadLike, check_pool_pad, pair, quad, window_output

__all__ = ["GlobalAveragePooling", "Pooling"]


class Pooling(Layer):
    """The largest element or the mean of each window: (N, C, H, W) to (N, C, OH, OW).

    mode: "max" (pads with -inf, so a pad never wins) or "average" (count_pad: whether the pad's zeros count).
    stride, pad: int or (h, w); pad also (top, left, bottom, right).
    """

    def __init__(
        self,
        pool_h: int,
        pool_w: int,
        stride: IntPair = 1,
        pad: PadLike = 0,
        mode: str = "max",
        count_pad: bool = True,
    ) -> None:
        super().__init__()
        if mode not in ("max", "average"):
            raise ConfigError(f'a pooling mode is "max" or "average", got {mode!r}')
        self.pool_h, self.pool_w = pair((pool_h, pool_w), "the pooling window")
        self.stride, self.pad = pair(stride, "stride"), quad(pad)
        check_pool_pad((self.pool_h, self.pool_w), pad)
        self.mode, self.count_pad = mode, count_pad

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != 3:
            raise ShapeError(f"wanted pictures (C, H, W), got {shape}")
        return shape[0], *window_output((shape[1], shape[2]), (self.pool_h, self.pool_w), self.stride, self.pad)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        if self.mode == "average":
            ctx.save(x.shape)
            return reference.average_pool2d_forward(x, self.pool_h, self.pool_w, self.stride, self.pad, self.count_pad)
        y, winner = reference.max_pool2d_forward(x, self.pool_h, self.pool_w, self.stride, self.pad)
        ctx.save(x.shape, winner)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array | None:
        if not ctx.need_dx:
            return None
        shape, *winner = ctx.load()
        if self.mode == "average":
            return reference.average_pool2d_backward(
                dout, shape, self.pool_h, self.pool_w, self.stride, self.pad, self.count_pad
            )
        return reference.max_pool2d_backward(dout, winner[0], shape, self.pool_h, self.pool_w, self.stride, self.pad)


class GlobalAveragePooling(Layer):
    """The mean of each whole channel: (N, C, H, W) to (N, C) (Lin et al. 2014, section 3.2)."""

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != 3:
            raise ShapeError(f"wanted pictures (C, H, W), got {shape}")
        return shape[:1]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        y = reference.average_pool2d_forward(x, x.shape[2], x.shape[3])
        ctx.save(x.shape)
        return y.reshape(x.shape[:2])

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        return reference.average_pool2d_backward(dout[:, :, None, None], shape, shape[2], shape[3])
