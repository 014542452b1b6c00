"""Max and average pooling; backward gathers, so equal calls give equal bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.ops.cuda.module import launch, output
from xpcnn.ops.geometry import IntPair, PadLike, check_pool_pad, pair, quad, window_output

__all__ = [
    "PLACES",
    "average_pool2d_backward",
    "average_pool2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "pool_integers",
]

_Shape4 = tuple[int, int, int, int]
PLACES = {"uint8": "-DXP_PLACE=unsigned char", "int32": "-DXP_PLACE=int"}


def pool_integers(
    size: tuple[int, int], window: tuple[int, int], stride: IntPair, pad: PadLike
) -> tuple[tuple[int, int], tuple[int, ...]]:
    """(OH, OW), and the kernels' integers H, W, OH, OW, PH, PW, SH, SW, PT, PL."""
    out = window_output(size, window, stride, pad)
    top, left, _, _ = quad(pad)
    return out, (*size, *out, *window, *pair(stride, "stride"), top, left)


def _place(window: tuple[int, int]) -> str:
    return "uint8" if window[0] * window[1] <= 256 else "int32"


def max_pool2d_forward(
    x: Array,
    pool_h: int,
    pool_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    *,
    out: Array | None = None,
    winner: Array | None = None,
    note_winner: bool = True,
) -> tuple[Array, Array | None]:
    """The largest element of each window: x (N, C, H, W) to y (N, C, OH, OW), x's dtype, and the winners' places
    fh*pool_w + fw, y's shape, uint8 (int32 for windows of more than 256 elements); None where not noted (prediction).

    The first of equals wins, NaN over everything; a pad is -inf (book, section 7.3). Raises ShapeError as the
    reference does.
    """
    window = pool_h, pool_w
    (OH, OW), integers = pool_integers(x.shape[2:], window, stride, pad)
    check_pool_pad(window, pad)
    xp, place = get_array_module(x), _place(window)
    out = output(xp, out, (*x.shape[:2], OH, OW), x.dtype)
    won = output(xp, winner, out.shape, place, "winner") if note_winner else None
    arguments = (x, out, won, out.size, *integers)
    launch("pooling", "max_pool_forward", x.dtype, arguments, threads_wanted=out.size, more=(PLACES[place],))
    return out, won


def max_pool2d_backward(
    dout: Array,
    winner: Array,
    input_shape: _Shape4,
    pool_h: int,
    pool_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    *,
    out: Array | None = None,
) -> Array:
    """Gradient of `max_pool2d_forward`: every pixel of dx sums dout over the windows that it won. dout, winner:
    (N, C, OH, OW); returns `input_shape`, dout's dtype."""
    place = _place((pool_h, pool_w))
    more = (PLACES[place],)
    return _backward("max_pool_backward", dout, winner, input_shape, (pool_h, pool_w), stride, pad, (), more, out)


def average_pool2d_forward(
    x: Array,
    pool_h: int,
    pool_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    count_pad: bool = True,
    *,
    out: Array | None = None,
) -> Array:
    """The mean of each window: x (N, C, H, W) to (N, C, OH, OW), x's dtype; count_pad: whether pads count, as zeros."""
    (OH, OW), integers = pool_integers(x.shape[2:], (pool_h, pool_w), stride, pad)
    out = output(get_array_module(x), out, (*x.shape[:2], OH, OW), x.dtype)
    arguments = (x, out, out.size, *integers, int(count_pad))
    more = (PLACES["uint8"],)
    launch("pooling", "average_pool_forward", x.dtype, arguments, threads_wanted=out.size, more=more)
    return out


def average_pool2d_backward(
    dout: Array,
    input_shape: _Shape4,
    pool_h: int,
    pool_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    count_pad: bool = True,
    *,
    out: Array | None = None,
) -> Array:
    """Gradient of `average_pool2d_forward`: every pixel of dx sums its shares. Returns `input_shape`, dout's dtype."""
    last, more = (int(count_pad),), (PLACES["uint8"],)
    return _backward("average_pool_backward", dout, None, input_shape, (pool_h, pool_w), stride, pad, last, more, out)


def _backward(
    kernel: str,
    dout: Array,
    winner: Array | None,
    input_shape: _Shape4,
    window: tuple[int, int],
    stride: IntPair,
    pad: PadLike,
    last: tuple[int, ...],
    more: tuple[str, ...],
    out: Array | None,
) -> Array:
    (OH, OW), integers = pool_integers(input_shape[2:], window, stride, pad)
    xp, pooled = get_array_module(dout, winner), (*input_shape[:2], OH, OW)
    output(xp, dout, pooled, dout.dtype, "dout")
    out = output(xp, out, input_shape, dout.dtype)
    arrays: tuple[Any, ...] = (dout, out)
    if winner is not None:
        arrays = (dout, output(xp, winner, pooled, np.dtype(_place(window)), "winner"), out)
    launch("pooling", kernel, dout.dtype, (*arrays, out.size, *integers, *last), threads_wanted=out.size, more=more)
    return out
