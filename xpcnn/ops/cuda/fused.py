"""Bias, ReLU and max pooling behind a matrix product, in one pass, and their gradients with the bias's."""

from __future__ import annotations

import math

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.cuda.module import launch, output, parts_of, sum_dtype
from xpcnn.ops.cuda.pooling import pool_integers
from xpcnn.ops.geometry import IntPair, PadLike, check_pool_pad

__all__ = ["bias_relu", "bias_relu_backward", "bias_relu_pool", "bias_relu_pool_backward", "sums_size"]


def _turned(shape: tuple[int, ...], channel_first: bool) -> tuple[int, ...]:
    """(N, C, ...) as (C, N, ...) where the channels come first."""
    return (shape[1], shape[0], *shape[2:]) if channel_first else shape


def _distances(shape: tuple[int, ...], channel_first: bool) -> tuple[int, int]:
    """How far apart pictures and channels of (N, C, ...) lie."""
    N, C = shape[:2]
    P = math.prod(shape[2:])
    return (P, N * P) if channel_first else (C * P, P)


def bias_relu(
    x: Array, b: Array | None, *, relu: bool = True, channel_first: bool = False, out: Array | None = None
) -> Array:
    """max(x + b, 0), or x + b without relu, or x cut at 0 without b; NaN stays NaN.

    x: (N, C) or (N, C, H, W); channel_first: (C, N, H, W), as one matrix product for the whole batch leaves it.
    b: (C,). Returns (N, C, ...), x's dtype; `out` may be x itself unless channel_first.
    """
    shape = _turned(x.shape, channel_first)
    xp = get_array_module(x, b)
    out = output(xp, out, shape, x.dtype)
    if b is not None:
        output(xp, b, shape[1:2], x.dtype, "b")
    P = math.prod(shape[2:])
    arguments = (x, b, out, out.size, shape[1], P, *_distances(shape, channel_first), int(relu))
    launch("fused", "bias_relu", x.dtype, arguments, threads_wanted=out.size)
    return out


def bias_relu_pool(
    x: Array,
    b: Array | None,
    pool_h: int,
    pool_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    *,
    channel_first: bool = False,
    out: Array | None = None,
    winner: Array | None = None,
    note_winner: bool = True,
) -> tuple[Array, Array | None]:
    """`bias_relu`, then max pooling: y (N, C, OH, OW) and the winners' places (uint8; None where not noted).

    x: (N, C, H, W), or (C, N, H, W) where channel_first. Raises ShapeError for windows of more than 256 elements.
    """
    N, C, H, W = _turned(x.shape, channel_first)
    (OH, OW), integers = _pool(pool_h, pool_w, stride, pad, (H, W))
    xp = get_array_module(x, b)
    out = output(xp, out, (N, C, OH, OW), x.dtype)
    if b is not None:
        output(xp, b, (C,), x.dtype, "b")
    won = output(xp, winner, out.shape, "uint8", "winner") if note_winner else None
    arguments = (x, b, out, won, out.size, C, *integers, *_distances((N, C, H, W), channel_first))
    launch("fused", "bias_relu_pool", x.dtype, arguments, threads_wanted=out.size)
    return out, won


def _pool(
    pool_h: int, pool_w: int, stride: IntPair, pad: PadLike, size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, ...]]:
    check_pool_pad((pool_h, pool_w), pad)
    if pool_h * pool_w > 256:
        raise ShapeError(f"a fused pooling window has at most 256 elements, got {pool_h}x{pool_w}; pool by itself")
    return pool_integers(size, (pool_h, pool_w), stride, pad)


def sums_size(shape: tuple[int, ...]) -> int:
    """How many numbers the backward functions need as `sums` for pictures of this shape (N, C, ...), before pooling."""
    N, C = shape[:2]
    return C * parts_of(N * math.prod(shape[2:]), C)


def bias_relu_backward(
    dout: Array,
    y: Array | None,
    *,
    channel_first: bool = False,
    out: Array | None = None,
    db: Array | None = None,
    sums: Array | None = None,
) -> tuple[Array, Array]:
    """Gradients dx and db (C,) of `bias_relu` from its output y; y None: there was no ReLU.

    dout, y: (N, C, ...). dx has x's order: (C, N, ...) where channel_first; else `out` may be dout. sums: room for
    `sums_size(dout.shape)` numbers of what is calculated in. db is summed in two stages of fixed order.
    """
    shape, C = dout.shape, dout.shape[1]
    xp = get_array_module(dout, y)
    if y is not None:
        output(xp, y, shape, dout.dtype, "y")
    out = output(xp, out, _turned(shape, channel_first), dout.dtype)
    P = math.prod(shape[2:])
    db, sums, parts = _bias_room(dout, shape[0] * P, db, sums)
    arguments = (dout, y, out, db, sums, shape[0] * P, C, P, parts, *_distances(shape, channel_first))
    launch("fused", "bias_relu_backward", dout.dtype, arguments, blocks=C * parts)
    _finish(sums, db, parts)
    return out, db


def bias_relu_pool_backward(
    dout: Array,
    y: Array,
    winner: Array,
    input_size: tuple[int, int],
    pool_h: int,
    pool_w: int,
    stride: IntPair = 1,
    pad: PadLike = 0,
    *,
    channel_first: bool = False,
    out: Array | None = None,
    db: Array | None = None,
    sums: Array | None = None,
) -> tuple[Array, Array]:
    """Gradients dx and db (C,) of `bias_relu_pool` from its output y and winners. dout, y, winner: (N, C, OH, OW);
    input_size: (H, W) of the pictures before pooling; the rest as in `bias_relu_backward`."""
    N, C = dout.shape[:2]
    H, W = input_size
    (OH, OW), integers = _pool(pool_h, pool_w, stride, pad, input_size)
    xp = get_array_module(dout, y, winner)
    for name, a, dtype in (("dout", dout, dout.dtype), ("y", y, dout.dtype), ("winner", winner, "uint8")):
        output(xp, a, (N, C, OH, OW), dtype, name)
    out = output(xp, out, _turned((N, C, H, W), channel_first), dout.dtype)
    db, sums, parts = _bias_room(dout, N * H * W, db, sums)
    by = _distances((N, C, H, W), channel_first)
    arguments = (dout, y, winner, out, db, sums, N * H * W, C, *integers, parts, *by)
    launch("fused", "bias_relu_pool_backward", dout.dtype, arguments, blocks=C * parts)
    _finish(sums, db, parts)
    return out, db


def _bias_room(dout: Array, count: int, db: Array | None, sums: Array | None) -> tuple[Array, Array, int]:
    xp, C = get_array_module(dout), dout.shape[1]
    parts, total = parts_of(count, C), sum_dtype(dout.dtype)
    db = output(xp, db, (C,), dout.dtype, "db")
    if sums is not None and sums.size >= C * parts:
        sums = sums.reshape(-1)[: C * parts]
    return db, output(xp, sums, (C * parts,), total, "sums"), parts


def _finish(sums: Array, db: Array, parts: int) -> None:
    if parts > 1:
        launch("fused", "sum_parts", db.dtype, (sums, db, db.size, parts), threads_wanted=db.size)
