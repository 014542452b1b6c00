"""Convolutions of other kinds than `conv`, before their input's shape is known."""

from __future__ import annotations

import math

from xpcnn.errors import ShapeError
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.convolution_nd import Convolution1D, Convolution3D, ConvolutionND
from xpcnn.layers.spec import How, Maker, Spec, check_groups, remembered
from xpcnn.layers.transposed import TransposedConvolution
from xpcnn.ops.geometry import whole
from xpcnn.ops.windows import Ints, as_tuple

__all__ = ["conv1d", "conv3d", "conv_transpose", "depthwise_conv"]

_AXES = {1: "sequences (C, L)", 2: "pictures (C, H, W)", 3: "volumes (C, D, H, W)"}
_LAYERS: dict[int, type[Convolution] | type[ConvolutionND]] = {1: Convolution1D, 2: Convolution, 3: Convolution3D}


def _conv(
    n: int, filters: int, size: Ints, stride: Ints, pad: Ints, dilation: Ints, groups: int, bias: bool, init: How
) -> Spec:
    window = as_tuple(size, n, "the filter size")
    filters = whole(filters, "the number of filters")

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        if len(shapes[0]) != n + 1:
            raise ShapeError(f"wanted {_AXES[n]}, got {shapes[0]}")
        C = shapes[0][0]
        check_groups(groups, C, filters)
        places = math.prod(window)
        W = make.weight((filters, C // groups, *window), C // groups * places, filters // groups * places, init)
        return _LAYERS[n](W, make.constant((filters,), 0.0) if bias else None, stride, pad, dilation, groups)

    return Spec("conv", build)


@remembered
def conv1d(
    filters: int,
    size: Ints,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    bias: bool = True,
    init: How = "auto",
) -> Spec:
    """A Convolution1D of `filters` filters of `size`, over sequences (C, L); pad: int or (begin, end)."""
    return _conv(1, filters, size, stride, pad, dilation, groups, bias, init)


@remembered
def conv3d(
    filters: int,
    size: Ints,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    bias: bool = True,
    init: How = "auto",
) -> Spec:
    """A Convolution3D of `filters` filters of `size` (int or (d, h, w)), over volumes (C, D, H, W)."""
    return _conv(3, filters, size, stride, pad, dilation, groups, bias, init)


@remembered
def depthwise_conv(
    size: Ints,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    multiplier: int = 1,
    bias: bool = True,
    init: How = "auto",
) -> Spec:
    """A convolution of each channel by itself, with `multiplier` filters a channel (Chollet 2017; Howard et al. 2017).

    Over sequences, pictures or volumes, whichever arrive: groups is the number of channels.
    """
    multiplier = whole(multiplier, "the number of filters a channel")

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        n = len(shapes[0]) - 1
        if n not in _AXES:
            raise ShapeError(f"wanted {', '.join(_AXES.values())}, got {shapes[0]}")
        C = shapes[0][0]
        spec = _conv(n, C * multiplier, size, stride, pad, dilation, C, bias, init)
        return spec.build(shapes, make)

    return Spec("conv", build)


@remembered
def conv_transpose(
    filters: int,
    size: Ints,
    stride: Ints = 1,
    pad: Ints = 0,
    output_pad: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    bias: bool = True,
    init: How = "auto",
) -> Spec:
    """A TransposedConvolution of `filters` filters of `size`, over as many spatial axes as arrive."""
    filters = whole(filters, "the number of filters")

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        n = len(shapes[0]) - 1
        if n < 1:
            raise ShapeError(f"wanted channels and at least one spatial axis (C, ...), got {shapes[0]}")
        C = shapes[0][0]
        check_groups(groups, C, filters)
        window, steps = as_tuple(size, n, "the filter size"), as_tuple(stride, n, "stride")
        places = math.prod(window)
        # Windows lie a stride apart: an output lies in so many of them, and sums over their channels.
        fan_in = max(C // groups * places // math.prod(steps), 1)
        W = make.weight((C, filters // groups, *window), fan_in, filters // groups * places, init)
        b = make.constant((filters,), 0.0) if bias else None
        return TransposedConvolution(W, b, steps, pad, output_pad, dilation, groups)

    return Spec("deconv", build)
