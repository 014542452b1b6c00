"""Specs of layers that rearrange, resize, reduce and calculate, before their input's shape is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.arithmetic import Divide, Multiply, Subtract
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.rearrange import ChannelShuffle, PixelShuffle
from xpcnn.layers.reduction import Reduce
from xpcnn.layers.resize import Resize, ResizeWay, new_length
from xpcnn.layers.shape import Reshape, Transpose
from xpcnn.layers.slicing import Pad
from xpcnn.layers.spec import WORDS, Spec, remembered
from xpcnn.ops.geometry import PadLike, quad

__all__ = ["channel_shuffle", "pad", "pixel_shuffle", "reduce", "reshape", "transpose", "upsample"]


@remembered
def channel_shuffle(groups: int) -> Spec:
    """A ChannelShuffle: channels dealt out over `groups` groups, as between ShuffleNet's convolutions."""
    return _ready("shuffle", lambda: ChannelShuffle(groups))


@remembered
def pixel_shuffle(r: int) -> Spec:
    """A PixelShuffle: r*r channels become a block of r by r pixels."""
    return _ready("shuffle", lambda: PixelShuffle(r))


@remembered
def pad(pad: PadLike, mode: str = "constant", value: float = 0.0) -> Spec:
    """A Pad of pictures: int, (h, w) or (top, left, bottom, right). mode: "constant", "edge", "reflect" or "wrap"."""
    top, left, bottom, right = quad(pad)
    return _ready("pad", lambda: Pad([(top, bottom), (left, right)], mode, value))


@remembered
def reshape(*shape: int) -> Spec:
    """A Reshape of every sample to `shape`; one -1 stands for what is left, 0 for the size that is there."""
    return _ready("reshape", lambda: Reshape(shape))


@remembered
def transpose(*perm: int) -> Spec:
    """A Transpose to the order `perm` of all axes, of which 0 (the batch's) stays first: transpose(0, 2, 3, 1)."""
    return _ready("transpose", lambda: Transpose(perm))


@remembered
def reduce(kind: str, axes: Sequence[int] = (2, 3), keepdims: bool = True) -> Spec:
    """A Reduce ("sum", "mean", "max", ...) along `axes` of the whole array."""
    return _ready("reduce", lambda: Reduce(kind, axes, keepdims))


@remembered
def upsample(scale: float | tuple[float, float], mode: str = "nearest", align_corners: bool = False) -> Spec:
    """A Resize of pictures by `scale` (a number or (h, w)), as PyTorch's Upsample.

    mode: "nearest", "bilinear" or "bicubic". align_corners: whether the outermost pixels' centres stay outermost, or
    (False) their outer edges.
    """
    modes = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}
    if mode not in modes:
        raise ConfigError(f"the mode of an upsample is one of {', '.join(modes)}, got {mode!r}")
    scales = scale if isinstance(scale, tuple) else (scale, scale)
    if len(scales) != 2:
        raise ConfigError(f"the scale of pictures is a number or a pair (h, w), got {scale!r}")
    if align_corners and mode != "nearest":
        return Spec("upsample", lambda shapes, make: _aligned(shapes[0], scales, modes[mode]))
    way = ResizeWay("nearest", "asymmetric", "floor") if mode == "nearest" else ResizeWay(modes[mode], "half_pixel")
    return _ready("upsample", lambda: Resize(scales, way=way))


def _aligned(shape: Shape, scales: tuple[float, float], mode: str) -> Layer:
    """A Resize that keeps corners where they are: what counts is the size, which the scale has been rounded to."""
    if len(shape) != 3:
        raise ShapeError(f"wanted pictures (C, H, W), got {shape}")
    sizes = [new_length(n, s) for n, s in zip(shape[1:], scales, strict=True)]
    return Resize(sizes=sizes, way=ResizeWay(mode, "align_corners"))


def _ready(kind: str, make_layer: Callable[[], Layer]) -> Spec:
    """A spec of a layer that needs to know nothing of its input; each network gets its own. Faults raise here."""
    make_layer()
    return Spec(kind, lambda shapes, make: make_layer())


def _word(kind: str, layer: type[Layer]) -> Callable[[], Spec]:
    return lambda: Spec(kind, lambda shapes, make: layer())


WORDS.update(
    {
        "divide": _word("divide", Divide),
        "multiply": _word("multiply", Multiply),
        "subtract": _word("subtract", Subtract),
    }
)
