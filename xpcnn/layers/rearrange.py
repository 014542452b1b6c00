"""Layers that move channels: among themselves, to pixels and back."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.ops import reference
from xpcnn.ops.geometry import whole

__all__ = ["ChannelShuffle", "PixelShuffle", "SpaceToDepth"]


def _order(mode: str) -> str:
    if mode not in ("CRD", "DCR"):
        raise ConfigError(f"the order of channels is one of CRD, DCR, got {mode!r}")
    return mode


class ChannelShuffle(Layer):
    """(N, C, ...) with its channels dealt out over `groups` groups (Zhang et al. 2018, ShuffleNet)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = whole(groups, "groups")

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or shape[0] % self.groups:
            raise ShapeError(f"wanted a number of channels divisible by groups={self.groups}, got {shape}")
        return shape

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save()
        return reference.channel_shuffle(xs[0], self.groups)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        ctx.load()
        return reference.channel_shuffle(dout, dout.shape[1] // self.groups)


class PixelShuffle(Layer):
    """(N, C*r*r, H, W) to (N, C, H*r, W*r): channels become blocks of pixels (Shi et al. 2016).

    mode "CRD": a block's channels lie side by side; "DCR": C apart. Raises ShapeError where r*r does not divide the
    channels.
    """

    def __init__(self, r: int, mode: str = "CRD") -> None:
        super().__init__()
        self.r, self.mode = whole(r, "the side of a block of pixels"), _order(mode)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != 3 or shape[0] % self.r**2:
            raise ShapeError(f"wanted pictures (C, H, W) whose C is divisible by {self.r**2}, got {shape}")
        return shape[0] // self.r**2, shape[1] * self.r, shape[2] * self.r

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save()
        return reference.depth_to_space(xs[0], self.r, self.mode)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        ctx.load()
        return reference.space_to_depth(dout, self.r, self.mode)


class SpaceToDepth(Layer):
    """(N, C, H, W) to (N, C*r*r, H/r, W/r): blocks of pixels become channels; the inverse of PixelShuffle.

    mode "DCR": the channels of one pixel of the block lie side by side; "CRD": those of one channel. Raises
    ShapeError where r does not divide H and W.
    """

    def __init__(self, r: int, mode: str = "DCR") -> None:
        super().__init__()
        self.r, self.mode = whole(r, "the side of a block of pixels"), _order(mode)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != 3 or shape[1] % self.r or shape[2] % self.r:
            raise ShapeError(f"wanted pictures (C, H, W) whose H and W are divisible by {self.r}, got {shape}")
        return shape[0] * self.r**2, shape[1] // self.r, shape[2] // self.r

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save()
        return reference.space_to_depth(xs[0], self.r, self.mode)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        ctx.load()
        return reference.depth_to_space(dout, self.r, self.mode)
