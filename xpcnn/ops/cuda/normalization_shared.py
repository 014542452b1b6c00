"""Batch normalisation of a batch that several processes share: each has some samples, the statistics are of all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from xpcnn.device import Array, get_array_module
from xpcnn.ops.cuda.module import launch, output, parts_of, sum_dtype
from xpcnn.ops.cuda.normalization import batch_norm_test

__all__ = ["SharedStatistics", "batch_norm_backward_shared", "batch_norm_train_shared", "shared_room", "shared_sizes"]

AddUp = Callable[[Array], None]  # replaces an array by the sum of all processes' arrays


class SharedStatistics(NamedTuple):
    """What is kept from forward to backward, and room for sums; all float32 (float64 for float64 arrays)."""

    mean: Array  # (C,)
    inverse_std: Array  # (C,)
    variance: Array  # (C,)
    first: Array  # (C * parts,)
    second: Array
    rows: Array  # (size * (2 * C + 1),): each process's statistics
    totals: Array  # (2 * C,)


def shared_sizes(shape: tuple[int, ...], size: int) -> SharedStatistics:
    """How many numbers each array holds for a part x of this shape, (n, C) or (n, C, H, W), and `size` processes."""
    _, C, _, parts = _counts(shape)
    return SharedStatistics(C, C, C, C * parts, C * parts, size * (2 * C + 1), 2 * C)


def shared_room(x: Array, size: int) -> SharedStatistics:
    """A SharedStatistics for parts like x."""
    xp, dtype = get_array_module(x), sum_dtype(x.dtype)
    return SharedStatistics(*(xp.empty(n, dtype=dtype) for n in shared_sizes(x.shape, size)))


def _counts(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Elements of a channel, channels, pixels, parts."""
    C, P = shape[1], math.prod(shape[2:])
    return shape[0] * P, C, P, parts_of(shape[0] * P, C)


def batch_norm_train_shared(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_var: Array,
    add_up: AddUp,
    rank: int,
    size: int,
    *,
    momentum: float = 0.9,
    eps: float = 1e-5,
    relu: bool = False,
    out: Array | None = None,
    statistics: SharedStatistics | None = None,
) -> tuple[Array, SharedStatistics]:
    """As `batch_norm_train`, by the statistics of the samples of all `size` processes, of which this is number `rank`.

    x may have no sample, as long as another process has some. One sum over all processes, of size * (2 * C + 1)
    numbers, of which each process brings 2 * C + 1: adding zeros is exact, so all of them get the same bits.
    """
    count, C, P, parts = _counts(x.shape)
    xp = get_array_module(x)
    for name, a in (("gamma", gamma), ("beta", beta), ("running_mean", running_mean), ("running_var", running_var)):
        output(xp, a, (C,), sum_dtype(x.dtype), name)
    s = shared_room(x, size) if statistics is None else statistics
    launch("batch_norm", "bn_statistics", x.dtype, (x, s.first, s.second, count, C, P, parts), blocks=C * parts)
    arguments = (s.first, s.second, s.rows, count, C, parts, rank, size)
    launch("batch_norm", "bn_own_row", x.dtype, arguments, threads_wanted=s.rows.size)
    add_up(s.rows)
    moved = (running_mean, running_var, s.mean, s.variance, s.inverse_std)
    numbers = (float(eps), float(momentum), 1.0 - float(momentum))
    launch("batch_norm", "bn_of_rows", x.dtype, (s.rows, *moved, C, size, *numbers), threads_wanted=C)
    return batch_norm_test(x, gamma, beta, s.mean, s.variance, eps=eps, relu=relu, out=out), s


def batch_norm_backward_shared(
    dout: Array,
    x: Array,
    gamma: Array,
    statistics: SharedStatistics,
    add_up: AddUp,
    samples: int,
    y: Array | None = None,
    *,
    out: Array | None = None,
    dgamma: Array | None = None,
    dbeta: Array | None = None,
) -> tuple[Array, Array, Array]:
    """As `batch_norm_backward`; dgamma and dbeta are this part's own. samples: of the whole batch."""
    count, C, P, parts = _counts(dout.shape)
    xp = get_array_module(dout, x, gamma, y)
    for name, a in (("x", x), ("y", y)):
        if a is not None:
            output(xp, a, dout.shape, dout.dtype, name)
    out = output(xp, out, dout.shape, dout.dtype)
    dgamma = output(xp, dgamma, (C,), dout.dtype, "dgamma")
    dbeta = output(xp, dbeta, (C,), dout.dtype, "dbeta")
    s, sizes = statistics, (count, C, P, parts)
    seen = (dout, x, y, s.mean, s.inverse_std)
    launch("batch_norm", "bn_backward_sums", dout.dtype, (*seen, s.first, s.second, *sizes), blocks=C * parts)
    arguments = (s.first, s.second, dgamma, dbeta, s.totals, C, parts)
    launch("batch_norm", "bn_own_sums", dout.dtype, arguments, threads_wanted=C)
    add_up(s.totals)
    given = (*seen, gamma, s.totals, out, *sizes, float(samples * P))
    launch("batch_norm", "bn_backward_part", dout.dtype, given, blocks=C * parts)
    return out, dgamma, dbeta
