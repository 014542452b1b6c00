"""Batch normalisation and local response normalisation."""

from __future__ import annotations

import math
from typing import NamedTuple

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.cuda.module import launch, output, parts_of, sum_dtype

__all__ = [
    "BatchStatistics",
    "batch_norm_backward",
    "batch_norm_test",
    "batch_norm_train",
    "lrn_backward",
    "lrn_forward",
    "statistics_room",
]


class BatchStatistics(NamedTuple):
    """What batch normalisation keeps from forward to backward, and room for its parts' sums; all float32 (float64 for
    float64 arrays)."""

    mean: Array  # (C,)
    inverse_std: Array  # (C,)
    first: Array  # (C * parts,)
    second: Array


def statistics_room(x: Array) -> BatchStatistics:
    """A BatchStatistics for arrays like x (N, C) or (N, C, H, W)."""
    xp, dtype = get_array_module(x), sum_dtype(x.dtype)
    _, C, _, parts = _counts(x)
    return BatchStatistics(*(xp.empty(size, dtype=dtype) for size in (C, C, C * parts, C * parts)))


def _counts(x: Array) -> tuple[int, int, int, int]:
    """Elements of a channel, channels, pixels, parts."""
    if x.ndim not in (2, 4):
        raise ShapeError(f"batch normalisation takes (N, D) or (N, C, H, W), got shape {x.shape}")
    N, C, P = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    return N * P, C, P, parts_of(N * P, C)


def _check(x: Array, **arrays: Array) -> None:
    """All of them (C,) in the dtype of calculation."""
    xp = get_array_module(x, *arrays.values())
    for name, a in arrays.items():
        output(xp, a, x.shape[1:2], sum_dtype(x.dtype), name)


def batch_norm_train(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_var: Array,
    *,
    momentum: float = 0.9,
    eps: float = 1e-5,
    relu: bool = False,
    out: Array | None = None,
    statistics: BatchStatistics | None = None,
) -> tuple[Array, BatchStatistics]:
    """Training-time batch normalisation of x (N, C) or (N, C, H, W); relu: with ReLU behind it.

    gamma, beta, running_mean, running_var: (C,), float32 for float16 and float32 x, float64 for float64. The running
    statistics are moved in place as the layer does: momentum * running + (1 - momentum) * batch. Returns y (x's shape
    and dtype; `out` may be x where no backward follows) and the statistics that backward needs together with x.
    Source: Ioffe & Szegedy 2015, algorithm 1. Raises ShapeError for an empty batch.
    """
    if x.size == 0:
        raise ShapeError(f"the statistics of an empty batch are not defined, got shape {x.shape}")
    count, C, P, parts = _counts(x)
    _check(x, gamma=gamma, beta=beta, running_mean=running_mean, running_var=running_var)
    out = output(get_array_module(x), out, x.shape, x.dtype)
    s = statistics_room(x) if statistics is None else statistics
    sizes = (count, C, P, parts)
    launch("batch_norm", "bn_statistics", x.dtype, (x, s.first, s.second, *sizes), blocks=C * parts)
    arrays = (x, gamma, beta, s.first, s.second, running_mean, running_var, s.mean, s.inverse_std, out)
    numbers = (float(eps), float(momentum), 1.0 - float(momentum))
    launch("batch_norm", "bn_train", x.dtype, (*arrays, *sizes, *numbers, int(relu)), blocks=C * parts)
    return out, s


def batch_norm_test(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_var: Array,
    *,
    eps: float = 1e-5,
    relu: bool = False,
    out: Array | None = None,
) -> Array:
    """Test-time batch normalisation by the running statistics; arguments as in `batch_norm_train`, `out` may be x."""
    count, C, P, parts = _counts(x)
    _check(x, gamma=gamma, beta=beta, running_mean=running_mean, running_var=running_var)
    out = output(get_array_module(x), out, x.shape, x.dtype)
    arguments = (x, gamma, beta, running_mean, running_var, out, count, C, P, parts, float(eps), int(relu))
    launch("batch_norm", "bn_test", x.dtype, arguments, blocks=C * parts)
    return out


def batch_norm_backward(
    dout: Array,
    x: Array,
    gamma: Array,
    statistics: BatchStatistics,
    y: Array | None = None,
    *,
    batch: bool = True,
    out: Array | None = None,
    dgamma: Array | None = None,
    dbeta: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients dx, dgamma, dbeta, all of dout's dtype. x: forward's input, from which x_hat is made again; y:
    forward's output where ReLU was behind it. batch False: `statistics` hold running ones, not x's own. `out` may be
    dout."""
    count, C, P, parts = _counts(dout)
    xp = get_array_module(dout, x, gamma, y)
    for name, a in (("x", x), ("y", y)):
        if a is not None:
            output(xp, a, dout.shape, dout.dtype, name)
    _check(dout, gamma=gamma, mean=statistics.mean, inverse_std=statistics.inverse_std)
    out = output(xp, out, dout.shape, dout.dtype)
    dgamma = output(xp, dgamma, (C,), dout.dtype, "dgamma")
    dbeta = output(xp, dbeta, (C,), dout.dtype, "dbeta")
    mean, inverse_std, sums, products = statistics
    sizes, seen = (count, C, P, parts), (dout, x, y, mean, inverse_std)
    launch("batch_norm", "bn_backward_sums", dout.dtype, (*seen, sums, products, *sizes), blocks=C * parts)
    arguments = (*seen, gamma, sums, products, out, dgamma, dbeta, *sizes, int(batch))
    launch("batch_norm", "bn_backward", dout.dtype, arguments, blocks=C * parts)
    return out, dgamma, dbeta


def lrn_forward(
    x: Array,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    *,
    out: Array | None = None,
    bracket: Array | None = None,
) -> tuple[Array, Array]:
    """x (N, C, H, W) / (k + alpha * sum of x**2 over `size` channels) ** beta, x's dtype, and the bracket (float32, or
    float64 for float64 x), which backward needs. Source: Krizhevsky et al. 2012, section 3.3."""
    xp, (_, C, H, W) = get_array_module(x), x.shape
    out = output(xp, out, x.shape, x.dtype)
    bracket = output(xp, bracket, x.shape, sum_dtype(x.dtype), "bracket")
    arguments = (x, out, bracket, x.size, C, H * W, (size - 1) // 2, size // 2, float(alpha), float(beta), float(k))
    launch("lrn", "lrn_forward", x.dtype, arguments, threads_wanted=x.size)
    return out, bracket


def lrn_backward(
    dout: Array,
    x: Array,
    bracket: Array,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    *,
    out: Array | None = None,
) -> Array:
    """Gradient of `lrn_forward`, dout's dtype."""
    xp, (_, C, H, W) = get_array_module(dout, x, bracket), x.shape
    output(xp, dout, x.shape, x.dtype, "dout")
    output(xp, bracket, x.shape, sum_dtype(x.dtype), "bracket")
    out = output(xp, out, x.shape, x.dtype)
    arguments = (dout, x, bracket, out, x.size, C, H * W, (size - 1) // 2, size // 2, float(alpha), float(beta))
    launch("lrn", "lrn_backward", x.dtype, arguments, threads_wanted=x.size)
    return out
