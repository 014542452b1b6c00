"""Pooling layers (book, section 7.4.4)."""

from __future__ import annotations

import math

from xpcnn.device import Array
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.ops import reference
from xpcnn.ops.geometry import IntPair, PadLike, check_pool_pad, pair, quad, window_output

__all__ = ["GlobalAveragePooling", "GlobalPooling", "Pooling", "check_mode"]


def check_mode(mode: str, p: float, *modes: str) -> None:
    """Raises ConfigError for a mode that is none of `modes`, or a p that is the norm of nothing."""
    if mode not in modes:
        *first, last = (f'"{m}"' for m in modes)
        raise ConfigError(f"a pooling mode is {', '.join(first)} or {last}, got {mode!r}")
    if not (1.0 <= p < math.inf):
        raise ConfigError(f"Lp pooling takes a finite p of at least 1, got {p!r}")


class Pooling(Layer):
    """The largest element or the mean of each window: (N, C, H, W) to (N, C, OH, OW) (book, section 7.4.4).

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
        check_mode(mode, 2.0, "max", "average")
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
    """The mean of each whole channel: (N, C, H, W) to (N, C) (Lin et al. 2014, section 3.2); any number of sizes."""

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) < 2:
            raise ShapeError(f"wanted pictures (C, H, W), got {shape}")
        return shape[:1]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x.shape)
        return reference.global_average_pool_forward(x).reshape(x.shape[:2])

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (shape,) = ctx.load()
        return reference.global_average_pool_backward(dout.reshape(dout.shape + (1,) * (len(shape) - 2)), shape)


class GlobalPooling(Layer):
    """The largest element, mean or Lp norm of each whole channel: (N, C, sizes...) to (N, C, 1...), or to (N, C).

    mode: "max", "average" or "lp" (the norm p, at least 1). keep: whether axes of length 1 stay where the sizes were.
    """

    def __init__(self, mode: str = "max", p: float = 2.0, keep: bool = True) -> None:
        super().__init__()
        check_mode(mode, p, "max", "average", "lp")
        self.mode, self.p, self.keep = mode, float(p), keep

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) < 2:
            raise ShapeError(f"wanted pictures (C, H, W), or C and any other number of sizes, got {shape}")
        return (shape[0],) + (1,) * (len(shape) - 1) if self.keep else shape[:1]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        if self.mode == "average":
            y = reference.global_average_pool_forward(x)
            ctx.save(x.shape)
        elif self.mode == "lp":
            y = reference.global_lp_pool_forward(x, self.p)
            ctx.save(x, y)
        else:
            y, winner = reference.global_max_pool_forward(x)
            ctx.save(x.shape, winner)
        return y if self.keep else y.reshape(x.shape[:2])

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        saved = ctx.load()
        if self.mode == "lp":
            x, y = saved
            return reference.global_lp_pool_backward(dout.reshape(y.shape), x, y, self.p)
        shape = saved[0]
        dout = dout.reshape(shape[:2] + (1,) * (len(shape) - 2))
        if self.mode == "average":
            return reference.global_average_pool_backward(dout, shape)
        return reference.global_max_pool_backward(dout, saved[1], shape)
