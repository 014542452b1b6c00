"""Softmax and the cross-entropy loss on it (book, sections 3.5, 4.2 and 5.6.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError

__all__ = [
    "check_labels",
    "count_right",
    "log_softmax",
    "log_softmax_backward",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
]


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Logarithm of `softmax`, exact where the softmax itself would be rounded to 0."""
    xp = get_array_module(x)
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))


def log_softmax_backward(dout: Array, y: Array, axis: int = -1) -> Array:
    """Gradient of `log_softmax` from its output y."""
    return dout - get_array_module(dout, y).exp(y) * dout.sum(axis=axis, keepdims=True)


def softmax(x: Array, axis: int = -1) -> Array:
    """exp(x) over its sum along `axis`, any size of x (the maximum is taken off first)."""
    xp = get_array_module(x)
    y = xp.exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)
    return y


def softmax_backward(dout: Array, y: Array, axis: int = -1) -> Array:
    """Gradient of `softmax` from its output y."""
    return y * (dout - (dout * y).sum(axis=axis, keepdims=True))


def check_labels(t: Any, N: int, K: int) -> None:
    """Raises ShapeError where t is neither N whole numbers of 0..K-1 nor one-hot rows (N, K).

    Only labels on the host are looked at value by value: reading them back from a GPU would stop it.
    """
    if t.ndim == 2:
        if t.shape != (N, K):
            raise ShapeError(f"one-hot labels for {N} rows of {K} scores have shape {(N, K)}, got {t.shape}")
        return
    if t.shape != (N,):
        raise ShapeError(f"labels for {N} rows have shape ({N},) or one-hot {(N, K)}, got {t.shape}")
    if t.dtype.kind not in "iu":
        raise ShapeError(f"class labels are whole numbers, got dtype {t.dtype}; use t.astype(int), or one-hot rows")
    if isinstance(t, np.ndarray) and t.size and (int(t.min()) < 0 or int(t.max()) >= K):
        raise ShapeError(f"labels for {K} classes lie in 0..{K - 1}, got values from {t.min()} to {t.max()}")


def count_right(x: Array, t: Array) -> Array:
    """How many rows of scores x (N, K) are highest at their label (0-d, on the device). t: (N,) or one-hot (N, K)."""
    return (x.argmax(axis=1) == (t if t.ndim == 1 else t.argmax(axis=1))).sum()


def _check_scores(x: Array, t: Array) -> None:
    if x.ndim != 2:
        raise ShapeError(f"scores have shape (N, K): a row of class scores per picture; got shape {x.shape}")
    if x.shape[0] == 0:
        raise ShapeError("the mean loss of an empty batch is not defined; give at least one row of scores")
    check_labels(t, *x.shape)


def softmax_cross_entropy_forward(x: Array, t: Array, label_smoothing: float = 0.0) -> tuple[Array, Array]:
    """Mean cross-entropy of softmax(x) against t, in natural logarithms.

    x: (N, K) scores; t: (N,) whole numbers or (N, K) one-hot. label_smoothing: share of the target spread evenly
    over all classes (Szegedy et al. 2016, section 7). Returns the loss (0-d, x's dtype) and softmax(x) (N, K).
    """
    _check_scores(x, t)
    xp = get_array_module(x, t)
    N = x.shape[0]
    log_p = log_softmax(x)
    if t.ndim == 1:
        at_target = log_p[xp.arange(N), t]
    else:
        # A zero of the one-hot row must not meet an infinity: 0 * -inf is NaN.
        wanted = xp.where(t != 0, log_p, 0.0)
        at_target = (wanted * t.astype(x.dtype)).sum(axis=1)
    loss = -at_target.mean()
    if label_smoothing:
        loss = loss * (1.0 - label_smoothing) - log_p.mean() * label_smoothing
    return loss, xp.exp(log_p)


def softmax_cross_entropy_backward(
    y: Array, t: Array, dout: float | Array = 1.0, label_smoothing: float = 0.0
) -> Array:
    """Gradient with respect to the scores: (y - target) / N * dout, (N, K). y: softmax(x) from forward."""
    xp = get_array_module(y, t)
    N, K = y.shape
    if t.ndim == 1:
        dx = y.copy()
        dx[xp.arange(N), t] -= 1.0 - label_smoothing
    else:
        dx = y - t.astype(y.dtype) * (1.0 - label_smoothing)
    if label_smoothing:
        dx -= label_smoothing / K
    dx *= dout / float(N)
    return dx
