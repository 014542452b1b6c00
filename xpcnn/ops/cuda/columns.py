"""Columns of pictures and back, without atomics: equal calls give equal bits."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.ops.cuda.module import launch, output
from xpcnn.ops.geometry import IntPair, PadLike, pair, quad, window_output

__all__ = ["col2im_nchw", "col2im_nhwc", "im2col_nchw", "im2col_nhwc"]

_Shape4 = tuple[int, int, int, int]


def _geometry(
    C: int, size: tuple[int, int], window: tuple[int, int], stride: IntPair, pad: PadLike, dilation: IntPair
) -> tuple[tuple[int, ...], int, int]:
    """The kernels' integers, C to DW, and (OH, OW)."""
    out = window_output(size, window, stride, pad, dilation)
    top, left, _, _ = quad(pad)
    steps = (*pair(stride, "stride"), top, left, *pair(dilation, "dilation"))
    return (C, *size, *window, *out, *steps), *out


def _layout(N: int, K: int, P: int, pictures_inside: bool) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """The columns' shape, and how far apart pictures and rows of theirs lie."""
    return ((K, N, P), (P, N * P)) if pictures_inside else ((N, K, P), (K * P, P))


def im2col_nchw(
    x: Array,
    filter_h: int,
    filter_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
    *,
    pictures_inside: bool = False,
    out: Array | None = None,
) -> Array:
    """x (N, C, H, W) to columns (N, C*FH*FW, OH*OW), x's dtype; pictures_inside: to (C*FH*FW, N, OH*OW) instead, on
    which one matrix product does the whole batch. Source: book, section 7.4.3. Raises ShapeError where no window fits.
    """
    N, C, H, W = x.shape
    geometry, OH, OW = _geometry(C, (H, W), (filter_h, filter_w), stride, pad, dilation)
    K, P = C * filter_h * filter_w, OH * OW
    shape, by = _layout(N, K, P, pictures_inside)
    out = output(get_array_module(x), out, shape, x.dtype)
    pixels = N * C * P
    launch("columns", "im2col_nchw", x.dtype, (x, out, pixels, *geometry, *by), threads_wanted=pixels)
    return out


def col2im_nchw(
    col: Array,
    input_shape: _Shape4,
    filter_h: int,
    filter_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
    *,
    pictures_inside: bool = False,
    out: Array | None = None,
) -> Array:
    """The transpose of `im2col_nchw`: col (N, C*FH*FW, OH*OW), or (C*FH*FW, N, OH*OW), to `input_shape`, each pixel
    summing the columns that saw it."""
    N, C, H, W = input_shape
    geometry, OH, OW = _geometry(C, (H, W), (filter_h, filter_w), stride, pad, dilation)
    K, P = C * filter_h * filter_w, OH * OW
    shape, by = _layout(N, K, P, pictures_inside)
    xp = get_array_module(col)
    output(xp, col, shape, col.dtype, "col")
    out = output(xp, out, input_shape, col.dtype)
    launch("columns", "col2im_nchw", col.dtype, (col, out, out.size, *geometry, *by), threads_wanted=out.size)
    return out


def im2col_nhwc(
    x: Array,
    filter_h: int,
    filter_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
    *,
    out: Array | None = None,
) -> Array:
    """Channels-last x (N, H, W, C) to columns (N*OH*OW, FH*FW*C), x's dtype."""
    N, H, W, C = x.shape
    geometry, OH, OW = _geometry(C, (H, W), (filter_h, filter_w), stride, pad, dilation)
    out = output(get_array_module(x), out, (N * OH * OW, filter_h * filter_w * C), x.dtype)
    launch("columns", "im2col_nhwc", x.dtype, (x, out, out.size, *geometry), threads_wanted=out.size)
    return out


def col2im_nhwc(
    col: Array,
    input_shape: _Shape4,
    filter_h: int,
    filter_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
    *,
    out: Array | None = None,
) -> Array:
    """The transpose of `im2col_nhwc`: col (N*OH*OW, FH*FW*C) to `input_shape` (N, H, W, C)."""
    N, H, W, C = input_shape
    geometry, OH, OW = _geometry(C, (H, W), (filter_h, filter_w), stride, pad, dilation)
    xp = get_array_module(col)
    output(xp, col, (N * OH * OW, filter_h * filter_w * C), col.dtype, "col")
    out = output(xp, out, input_shape, col.dtype)
    launch("columns", "col2im_nhwc", col.dtype, (col, out, out.size, *geometry), threads_wanted=out.size)
    return out
