"""im2col, col2im and the convolution made of them (book, sections 7.2 and 7.4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.geometry import IntPair, PadLike, check_size, pair, quad, window_output

__all__ = ["col2im", "conv2d_backward", "conv2d_forward", "fold", "im2col", "unfold", "window_slices"]


def window_slices(
    window: tuple[int, int], out: tuple[int, int], stride: IntPair, dilation: IntPair = 1
) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
    """For each place (fh, fw) in the window, the slices of H and W that it sees over all positions of the window."""
    stride_h, stride_w = pair(stride, "stride")
    dilation_h, dilation_w = pair(dilation, "dilation")
    for fh in range(window[0]):
        top = fh * dilation_h
        for fw in range(window[1]):
            left = fw * dilation_w
            yield (
                fh,
                fw,
                (
                    slice(top, top + stride_h * (out[0] - 1) + 1, stride_h),
                    slice(left, left + stride_w * (out[1] - 1) + 1, stride_w),
                ),
            )


def padded(x: Array, pad: PadLike, value: float = 0.0) -> Array:
    """x (N, C, H, W) with `value` around its pictures; x itself where there is nothing to add."""
    top, left, bottom, right = quad(pad)
    if not (top or left or bottom or right):
        return x
    N, C, H, W = x.shape
    xp, shape = get_array_module(x), (N, C, H + top + bottom, W + left + right)
    check_size(shape, x.itemsize, "padded pictures", host=xp is np)
    y = xp.full(shape, value, dtype=x.dtype)
    y[:, :, top : top + H, left : left + W] = x
    return y


def _check_pictures(x: Array) -> None:
    if x.ndim != 4:
        raise ShapeError(f"expected pictures of shape (N, C, H, W), got an array of shape {x.shape}")


def unfold(
    x: Array, filter_h: int, filter_w: int, stride: IntPair = 1, pad: PadLike = 0, dilation: IntPair = 1
) -> Array:
    """Every window of every picture: x (N, C, H, W) to (N, C, FH, FW, OH, OW), same dtype."""
    _check_pictures(x)
    xp = get_array_module(x)
    N, C, H, W = x.shape
    out_h, out_w = window_output((H, W), (filter_h, filter_w), stride, pad, dilation)
    shape = (N, C, filter_h, filter_w, out_h, out_w)
    check_size(shape, x.itemsize, "windows (N, C, FH, FW, OH, OW)", host=xp is np)
    image = padded(x, pad)
    windows = xp.empty(shape, dtype=x.dtype)
    for fh, fw, (rows, columns) in window_slices((filter_h, filter_w), (out_h, out_w), stride, dilation):
        windows[:, :, fh, fw] = image[:, :, rows, columns]
    return windows


def fold(
    windows: Array, input_shape: tuple[int, int, int, int], stride: IntPair = 1, pad: PadLike = 0, dilation: IntPair = 1
) -> Array:
    """The transpose of `unfold`: (N, C, FH, FW, OH, OW) to (N, C, H, W), adding where windows overlap."""
    xp = get_array_module(windows)
    N, C, H, W = input_shape
    _, _, filter_h, filter_w, out_h, out_w = windows.shape
    top, left, bottom, right = quad(pad)
    shape = (N, C, H + top + bottom, W + left + right)
    check_size(shape, windows.itemsize, "padded pictures", host=xp is np)
    image = xp.zeros(shape, dtype=windows.dtype)
    for fh, fw, (rows, columns) in window_slices((filter_h, filter_w), (out_h, out_w), stride, dilation):
        image[:, :, rows, columns] += windows[:, :, fh, fw]
    return image[:, :, top : top + H, left : left + W]


def im2col(
    input_data: Array, filter_h: int, filter_w: int, stride: IntPair = 1, pad: PadLike = 0, dilation: IntPair = 1
) -> Array:
    """Spreads pictures so that each row holds one window (book, section 7.4.3, `im2col`).

    input_data: (N, C, H, W), any dtype, kept (the book's always makes float64).
    Returns (N*OH*OW, C*FH*FW). Raises ShapeError where no window fits.
    """
    windows = unfold(input_data, filter_h, filter_w, stride, pad, dilation)
    N, C, _, _, out_h, out_w = windows.shape
    return windows.transpose(0, 4, 5, 1, 2, 3).reshape(N * out_h * out_w, C * filter_h * filter_w)


def col2im(
    col: Array,
    input_shape: tuple[int, int, int, int],
    filter_h: int,
    filter_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
) -> Array:
    """The transpose of `im2col`: col (N*OH*OW, C*FH*FW) to (N, C, H, W), adding where windows overlap."""
    N, C, H, W = input_shape
    out_h, out_w = window_output((H, W), (filter_h, filter_w), stride, pad, dilation)
    expected = (N * out_h * out_w, C * filter_h * filter_w)
    if col.shape != expected:
        raise ShapeError(f"col2im to {input_shape} needs col of shape {expected}, got {col.shape}")
    windows = col.reshape(N, out_h, out_w, C, filter_h, filter_w).transpose(0, 3, 4, 5, 1, 2)
    return fold(windows, input_shape, stride, pad, dilation)


def conv2d_forward(
    x: Array,
    W: Array,
    b: Array | None = None,
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
    groups: int = 1,
) -> tuple[Array, Array]:
    """Convolution as one matrix product a picture (book, section 7.4.2; its filters are not flipped, as usual).

    x: (N, C, H, W); W: (FN, C/groups, FH, FW); b: (FN,) or None.
    Returns y (N, FN, OH, OW) and the unfolded windows (N, groups, C/groups*FH*FW, OH*OW), which backward needs.
    Group g's filters see only group g's channels. Raises ShapeError where the shapes do not fit.
    """
    _check_pictures(x)
    xp = get_array_module(x, W, b)
    if W.ndim != 4:
        raise ShapeError(f"expected filters W of shape (FN, C/groups, FH, FW), got an array of shape {W.shape}")
    FN, channels, FH, FW = W.shape
    if b is not None and b.shape != (FN,):
        raise ShapeError(f"W of shape {W.shape} needs a bias b of shape ({FN},), got {b.shape}")
    N, C = x.shape[:2]
    if channels * groups != C or FN % groups:
        raise ShapeError(
            f"W of shape {W.shape} with groups={groups} needs pictures of {channels * groups} channels and a number "
            f"of filters that {groups} divides; got {C} channels and {FN} filters"
        )
    windows = unfold(x, FH, FW, stride, pad, dilation)
    out_h, out_w = windows.shape[-2:]
    col = windows.reshape(N, groups, channels * FH * FW, out_h * out_w)
    y = xp.matmul(W.reshape(groups, FN // groups, -1), col).reshape(N, FN, out_h, out_w)
    if b is not None:
        y += b[:, None, None]
    return y, col


def conv2d_backward(
    dout: Array,
    col: Array,
    W: Array,
    input_shape: tuple[int, int, int, int],
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    need_dx: bool = True,
) -> tuple[Array | None, Array, Array]:
    """Gradients of `conv2d_forward`.

    dout: (N, FN, OH, OW); col: what forward returned.
    Returns dx of `input_shape` (None where not needed: a first layer has nobody to hand it to), dW, db (FN,).
    """
    xp = get_array_module(dout, col, W)
    FN, channels, FH, FW = W.shape
    N, _, out_h, out_w = dout.shape
    dout_col = dout.reshape(N, groups, FN // groups, out_h * out_w)
    dW = xp.matmul(dout_col, col.swapaxes(-1, -2)).sum(axis=0).reshape(W.shape)
    db = dout.sum(axis=(0, 2, 3))
    if not need_dx:
        return None, dW, db
    dcol = xp.matmul(W.reshape(groups, FN // groups, -1).swapaxes(-1, -2), dout_col)
    windows = dcol.reshape(N, groups * channels, FH, FW, out_h, out_w)
    return fold(windows, input_shape, stride, pad, dilation), dW, db
