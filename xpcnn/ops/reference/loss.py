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
    """Raises ShapeError where t is neither N whole numbers of 0..K-1 nor rows (N, K), one-hot or of shares of 1.

    Only labels on the host are looked at value by value: reading them back from a GPU would stop it.
    """
    if t.dtype.kind not in "biuf":
        raise ShapeError(f"labels are whole numbers, or one-hot rows of numbers; got dtype {t.dtype}")
    if t.ndim == 2:
        _check_rows(t, N, K)
        return
    if t.shape != (N,):
        raise ShapeError(f"labels for {N} rows have shape ({N},) or one-hot {(N, K)}, got {t.shape}")
    if t.dtype.kind not in "iu":
        raise ShapeError(f"class labels are whole numbers, got dtype {t.dtype}; use t.astype(int), or one-hot rows")
    if not isinstance(t, np.ndarray) or not t.size:
        return
    low, high = int(t.min()), int(t.max())
    if low < 0 or high >= K:
        hint = f"give the network {high + 1} outputs, or look at the labels" if low >= 0 else "look at the labels"
        if low == 1 and high == K:
            hint = "they seem to count from 1, use t - 1"
        raise ShapeError(f"labels for {K} classes lie in 0..{K - 1}, got values from {low} to {high}; {hint}")


def _check_rows(t: Any, N: int, K: int) -> None:
    if t.shape != (N, K):
        column = t.shape == (N, 1) and t.dtype.kind in "iu"
        hint = "; these are class numbers in a column, use t[:, 0]" if column else ""
        raise ShapeError(f"one-hot labels for {N} rows of {K} scores have shape {(N, K)}, got {t.shape}{hint}")
    if not isinstance(t, np.ndarray) or not t.size:
        return
    sums = t.sum(axis=1, dtype=np.float64)
    # 1e-3: shares such as 0.1 in float16. NaN fails every comparison.
    if t.min() >= 0 and t.max() <= 1 and sums.min() >= 1.0 - 1e-3 and sums.max() <= 1.0 + 1e-3:
        return
    fits = (t >= 0).all(axis=1) & (t <= 1).all(axis=1) & (abs(sums - 1.0) <= 1e-3)
    row = int(fits.argmin())
    raise ShapeError(
        f"one-hot rows hold a single 1 among zeros, or shares of 0..1 that add up to 1; row {row} goes from "
        f"{float(t[row].min()):g} to {float(t[row].max()):g} and adds up to {sums[row]:g}; look at how t was made"
    )


def count_right(x: Array, t: Array) -> Array:
    """How many rows of scores x (N, K) are highest at their label (0-d, on the device). t: (N,) or one-hot (N, K).

    A row with a NaN is never right, though argmax names the first NaN.
    """
    xp = get_array_module(x, t)
    best = x.argmax(axis=1)
    highest = x[xp.arange(len(x)), best]
    return ((best == (t if t.ndim == 1 else t.argmax(axis=1))) & (highest == highest)).sum()


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
