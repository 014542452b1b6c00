"""Max and average pooling (book, section 7.3), with pads that cannot win and cannot be mistaken for pictures."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.ops.geometry import IntPair, PadLike, check_pool_pad, quad, window_output
from xpcnn.ops.reference.convolution import _check_pictures, padded, window_slices

__all__ = ["average_pool2d_backward", "average_pool2d_forward", "max_pool2d_backward", "max_pool2d_forward"]

_Shape4 = tuple[int, int, int, int]


def max_pool2d_forward(
    x: Array, pool_h: int, pool_w: int, stride: IntPair = 1, pad: PadLike = 0
) -> tuple[Array, Array]:
    """The largest element of each window.

    x: (N, C, H, W). Returns y (N, C, OH, OW) and the place fh*pool_w + fw of the winner in its window (uint8 where
    that fits). The first of equals wins; a NaN wins over everything; the pad is -inf, so it never does.
    """
    _check_pictures(x)
    xp = get_array_module(x)
    out = window_output(x.shape[2:], (pool_h, pool_w), stride, pad)
    check_pool_pad((pool_h, pool_w), pad)
    image = padded(x, pad, value=float("-inf"))
    y = xp.full((*x.shape[:2], *out), float("-inf"), dtype=x.dtype)
    winner = xp.zeros(y.shape, dtype="uint8" if pool_h * pool_w <= 256 else "int32")
    for fh, fw, (rows, columns) in window_slices((pool_h, pool_w), out, stride):
        seen = image[:, :, rows, columns]
        better = (seen > y) | ((seen != seen) & (y == y))
        y = xp.where(better, seen, y)
        winner = xp.where(better, winner.dtype.type(fh * pool_w + fw), winner)
    return y, winner


def max_pool2d_backward(
    dout: Array, winner: Array, input_shape: _Shape4, pool_h: int, pool_w: int, stride: IntPair = 1, pad: PadLike = 0
) -> Array:
    """Gradient of `max_pool2d_forward`: each element of dout goes to its window's winner. Returns `input_shape`."""
    xp = get_array_module(dout, winner)
    N, C, H, W = input_shape
    top, left, bottom, right = quad(pad)
    dimage = xp.zeros((N, C, H + top + bottom, W + left + right), dtype=dout.dtype)
    for fh, fw, (rows, columns) in window_slices((pool_h, pool_w), dout.shape[2:], stride):
        dimage[:, :, rows, columns] += dout * (winner == fh * pool_w + fw)
    return dimage[:, :, top : top + H, left : left + W]


def _window_counts(x: Array, pool_h: int, pool_w: int, stride: IntPair, pad: PadLike, count_pad: bool) -> Array | float:
    """How many elements each window's average is over: a number, or (OH, OW) where pads do not count."""
    if count_pad or not any(quad(pad)):
        return float(pool_h * pool_w)
    xp = get_array_module(x)
    ones = padded(xp.ones((1, 1, *x.shape[2:]), dtype=x.dtype), pad)[0, 0]
    out = window_output(x.shape[2:], (pool_h, pool_w), stride, pad)
    counts = xp.zeros(out, dtype=x.dtype)
    for _, _, (rows, columns) in window_slices((pool_h, pool_w), out, stride):
        counts += ones[rows, columns]
    return xp.maximum(counts, 1.0)  # a window of nothing but pad averages to 0, not to NaN


def average_pool2d_forward(
    x: Array, pool_h: int, pool_w: int, stride: IntPair = 1, pad: PadLike = 0, count_pad: bool = True
) -> Array:
    """The mean of each window: x (N, C, H, W) to (N, C, OH, OW). count_pad: whether the pad's zeros count."""
    _check_pictures(x)
    xp = get_array_module(x)
    out = window_output(x.shape[2:], (pool_h, pool_w), stride, pad)
    image = padded(x, pad)
    total = xp.zeros((*x.shape[:2], *out), dtype=x.dtype)
    for _, _, (rows, columns) in window_slices((pool_h, pool_w), out, stride):
        total += image[:, :, rows, columns]
    total /= _window_counts(x, pool_h, pool_w, stride, pad, count_pad)
    return total


def average_pool2d_backward(
    dout: Array,
    input_shape: _Shape4,
    pool_h: int,
    pool_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    count_pad: bool = True,
) -> Array:
    """Gradient of `average_pool2d_forward`: each element of dout is shared out evenly over its window."""
    xp = get_array_module(dout)
    N, C, H, W = input_shape
    top, left, bottom, right = quad(pad)
    dimage = xp.zeros((N, C, H + top + bottom, W + left + right), dtype=dout.dtype)
    inner = dimage[:, :, top : top + H, left : left + W]
    share = dout / _window_counts(inner, pool_h, pool_w, stride, pad, count_pad)
    for _, _, (rows, columns) in window_slices((pool_h, pool_w), dout.shape[2:], stride):
        dimage[:, :, rows, columns] += share
    return inner
