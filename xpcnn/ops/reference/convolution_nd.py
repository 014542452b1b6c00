"""Convolution over any number of spatial axes: windows, one matrix product a sample, and windows put back.

The same steps as `convolution.py` takes on pictures (book, section 7.4). Sizes come as tuples, one number for each
of the n spatial axes, and pads as (begin..., end...): see `xpcnn.ops.windows`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.geometry import check_size
from xpcnn.ops.windows import inside, output_sizes, padded_nd, window_slices_nd

__all__ = ["conv_nd_backward", "conv_nd_forward", "conv_nd_input_gradient", "fold_nd", "unfold_nd"]

Ints = Sequence[int]


def unfold_nd(
    x: Array, window: Ints, stride: Ints, pads: Ints, dilation: Ints, out: tuple[int, ...] | None = None
) -> Array:
    """Every window of every sample: x (N, C, *sizes) to (N, C, *window, *out), same dtype.

    out: how many positions of the window, where not as many as fit. Raises ShapeError where none fits.
    """
    xp = get_array_module(x)
    if out is None:
        out = output_sizes(x.shape[2:], window, stride, pads, dilation)
    shape = (*x.shape[:2], *window, *out)
    check_size(shape, x.itemsize, "windows (N, C, *window, *out)", host=xp is np)
    image = padded_nd(x, pads)
    windows = xp.empty((*x.shape[:2], math.prod(window), *out), dtype=x.dtype)
    for place, slices in window_slices_nd(window, out, stride, dilation):
        windows[:, :, place] = image[(slice(None), slice(None), *slices)]
    return windows.reshape(shape)


def fold_nd(windows: Array, sizes: Ints, stride: Ints, pads: Ints, dilation: Ints) -> Array:
    """The transpose of `unfold_nd`: (N, C, *window, *out) to (N, C, *sizes), adding where windows overlap."""
    xp = get_array_module(windows)
    n = len(sizes)
    N, C = windows.shape[:2]
    window, out = windows.shape[2 : 2 + n], windows.shape[2 + n :]
    shape = (N, C, *(size + pads[i] + pads[n + i] for i, size in enumerate(sizes)))
    check_size(shape, windows.itemsize, "padded input", host=xp is np)
    image = xp.zeros(shape, dtype=windows.dtype)
    places = windows.reshape(N, C, math.prod(window), *out)
    for place, slices in window_slices_nd(window, out, stride, dilation):
        image[(slice(None), slice(None), *slices)] += places[:, :, place]
    return image[(slice(None), slice(None), *inside(pads, sizes))]


def conv_nd_forward(
    x: Array, W: Array, b: Array | None, stride: Ints, pads: Ints, dilation: Ints, groups: int = 1
) -> tuple[Array, Array]:
    """Convolution as one matrix product a sample and group.

    x: (N, C, *sizes); W: (FN, C/groups, *window); b: (FN,) or None.
    Returns y (N, FN, *out) and the unfolded windows (N, groups, C/groups * places, positions), which backward needs.
    Raises ShapeError where the shapes do not fit.
    """
    xp = get_array_module(x, W, b)
    FN, channels, *window = W.shape
    if x.ndim != W.ndim or x.shape[1] != channels * groups or FN % groups:
        raise ShapeError(
            f"W of shape {W.shape} with groups={groups} needs an input (N, {channels * groups}, ...) of {len(window)} "
            f"spatial axes and a number of filters that {groups} divides; got an input of shape {x.shape}"
        )
    N = x.shape[0]
    windows = unfold_nd(x, window, stride, pads, dilation)
    out = windows.shape[W.ndim :]
    col = windows.reshape(N, groups, channels * math.prod(window), math.prod(out))
    y = xp.matmul(W.reshape(groups, FN // groups, -1), col).reshape(N, FN, *out)
    if b is not None:
        y += b.reshape(FN, *(1,) * len(window))
    return y, col


def conv_nd_backward(
    dout: Array,
    col: Array,
    W: Array,
    sizes: Ints,
    stride: Ints,
    pads: Ints,
    dilation: Ints,
    groups: int = 1,
    need_dx: bool = True,
) -> tuple[Array | None, Array, Array]:
    """Gradients of `conv_nd_forward`.

    dout: (N, FN, *out); col: what forward returned; sizes: the input's spatial sizes.
    Returns dx (N, C, *sizes) (None where not needed), dW, db (FN,).
    """
    xp = get_array_module(dout, col, W)
    N, FN = dout.shape[:2]
    rows = dout.reshape(N, groups, FN // groups, math.prod(dout.shape[2:]))
    dW = xp.matmul(rows, col.swapaxes(-1, -2)).sum(axis=0).reshape(W.shape)
    db = dout.sum(axis=(0, *range(2, dout.ndim)))
    if not need_dx:
        return None, dW, db
    return conv_nd_input_gradient(dout, W, sizes, stride, pads, dilation, groups), dW, db


def conv_nd_input_gradient(
    dout: Array, W: Array, sizes: Ints, stride: Ints, pads: Ints, dilation: Ints, groups: int = 1
) -> Array:
    """What a convolution with W hands back to its input: dout (N, FN, *out) to (N, C, *sizes)."""
    xp = get_array_module(dout, W)
    FN, channels, *window = W.shape
    N, _, *out = dout.shape
    rows = dout.reshape(N, groups, FN // groups, math.prod(out))
    dcol = xp.matmul(W.reshape(groups, FN // groups, -1).swapaxes(-1, -2), rows)
    return fold_nd(dcol.reshape(N, groups * channels, *window, *out), sizes, stride, pads, dilation)
