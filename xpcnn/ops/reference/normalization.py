"""Batch normalisation and local response normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError

__all__ = [
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_statistics",
    "inverse_deviation",
    "lrn_backward",
    "lrn_forward",
]

Total = Callable[[Array], Array]


def _batch_axes(x: Array) -> tuple[int, ...]:
    """All axes but the channel's: (N,) for (N, D), (N, H, W) for pictures."""
    if x.ndim < 2:
        raise ShapeError(f"batch normalisation takes (N, D) or (N, C, ...), got shape {x.shape}")
    return (0, *range(2, x.ndim))


def inverse_deviation(var: Array, eps: float) -> Array:
    """1/sqrt(var + eps), but NaN where var is infinite: the 0 would turn every number of the channel into beta."""
    return 1.0 / get_array_module(var).sqrt(var + eps) + var * 0.0


def _per_channel(v: Array, like: Array) -> Array:
    """v (C,) shaped to meet `like` channel by channel."""
    return v if like.ndim == 2 else v.reshape(-1, *(1,) * (like.ndim - 2))


def batch_statistics(x: Array, total: Total | None = None, samples: int = 0) -> tuple[Array, Array]:
    """Mean and (biased) variance per channel, each (C,): over N for (N, D), over N and all places for (N, C, ...).

    total: adds up what x, a part of a batch of `samples`, and the other parts give; the statistics are the batch's.
    """
    axes = _batch_axes(x)
    if total is not None:
        count = float(samples * math.prod(x.shape[2:]))
        mean = total(x.sum(axis=axes)) / count
        centred = x - _per_channel(mean, x)
        return mean, total((centred * centred).sum(axis=axes)) / count
    mean = x.mean(axis=axes)
    centred = x - _per_channel(mean, x)
    return mean, (centred * centred).mean(axis=axes)


def batch_norm_apply(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Normalises x by the given statistics. Returns y, x_hat (both x's shape) and 1/sqrt(var + eps) (C,)."""
    get_array_module(x, gamma, beta, mean, var)
    inverse_std = inverse_deviation(var, eps)
    x_hat = (x - _per_channel(mean, x)) * _per_channel(inverse_std, x)
    return x_hat * _per_channel(gamma, x) + _per_channel(beta, x), x_hat, inverse_std


def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, eps: float = 1e-5, total: Total | None = None, samples: int = 0
) -> tuple[Array, ...]:
    """Training-time batch normalisation (Ioffe & Szegedy 2015, algorithm 1; book, section 6.3).

    x: (N, D) or (N, C, ...); gamma, beta: (D,) or (C,). On pictures the statistics are over N, H, W, one per
    channel. total, samples: see `batch_statistics`. Returns y, x_hat, inverse_std, mean, var.
    """
    mean, var = batch_statistics(x, total, samples)
    return (*batch_norm_apply(x, gamma, beta, mean, var, eps), mean, var)


def batch_norm_backward(
    dout: Array,
    x_hat: Array,
    gamma: Array,
    inverse_std: Array,
    batch: bool = True,
    total: Total | None = None,
    samples: int = 0,
) -> tuple[Array, Array, Array]:
    """Gradients dx, dgamma, dbeta. batch: whether forward took its statistics from x itself (training time).

    total, samples: as forward had them; dgamma and dbeta are the part's own.
    """
    axes = _batch_axes(dout)
    dgamma, dbeta = (dout * x_hat).sum(axis=axes), dout.sum(axis=axes)
    scale = _per_channel(gamma * inverse_std, dout)
    if not batch:
        return dout * scale, dgamma, dbeta
    all_dgamma, all_dbeta = dgamma, dbeta
    count = float(dout.size // dout.shape[1])
    if total is not None:
        all_dgamma, all_dbeta = total(get_array_module(dout).stack([dgamma, dbeta]))
        count = float(samples * math.prod(dout.shape[2:]))
    centred = dout - _per_channel(all_dbeta / count, dout) - x_hat * _per_channel(all_dgamma / count, dout)
    return centred * scale, dgamma, dbeta


def _channel_window_sum(x: Array, before: int, after: int) -> Array:
    """For each channel the sum over channels c - before .. c + after, cut at the ends. x: (N, C, ...)."""
    total = x.copy()
    for shift in range(1, max(before, after) + 1):
        if shift <= before:
            total[:, shift:] += x[:, :-shift]
        if shift <= after:
            total[:, :-shift] += x[:, shift:]
    return total


def lrn_forward(
    x: Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> tuple[Array, Array]:
    """Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).

    y = x / (k + alpha * sum of x**2 over `size` neighbouring channels) ** beta. The paper's alpha multiplies the
    sum; libraries that divide the sum by `size` first (PyTorch, ONNX) want alpha * size in its place.
    An even `size` looks one channel further ahead than back, as ONNX does. x: (N, C, ...). Returns y and the bracket,
    which backward needs.
    """
    bracket = _channel_window_sum(x * x, (size - 1) // 2, size // 2)
    bracket *= alpha
    bracket += k
    return x * bracket ** (-beta), bracket


def lrn_backward(
    dout: Array, x: Array, bracket: Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Array:
    """Gradient of `lrn_forward`."""
    power = bracket ** (-beta)
    # A channel hears from every channel whose window it lies in: the window the other way round.
    heard = _channel_window_sum(dout * x * power / bracket, size // 2, (size - 1) // 2)
    return dout * power - x * heard * (2.0 * alpha * beta)
