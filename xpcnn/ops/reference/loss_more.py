"""Losses beside softmax cross-entropy on rows: weighted classes, labels at places, regression, yes-or-no outputs."""

from __future__ import annotations

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.ops.reference.activation import sigmoid_forward

__all__ = [
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "class_losses_backward",
    "class_losses_forward",
    "count_right_signs",
    "label_weights",
    "mean_squared_error_backward",
    "mean_squared_error_forward",
    "target_masses",
]


def label_weights(t: Array, rows: bool = False, weights: Array | None = None, ignore_index: int | None = None) -> Array:
    """What each label counts in a weighted mean: its class's weight, 0 where it is to be ignored.

    t: class numbers (N, ...); rows: one-hot or shares (N, K) instead. weights: (K,), 1 if left out.
    Returns an array of t's shape (rows: (N,)), of the weights' dtype (float64 without).
    """
    xp = get_array_module(t, weights)
    dtype = np.dtype(np.float64) if weights is None else weights.dtype
    if rows:
        shares = t.astype(dtype)
        return (shares if weights is None else shares * weights).sum(axis=1)
    # An ignored label may lie outside 0..K-1; what it takes here is struck out below.
    found = xp.ones(t.shape, dtype) if weights is None else xp.take(weights, xp.clip(t, 0, weights.shape[0] - 1))
    return found if ignore_index is None else found * (t.astype(np.int64) != ignore_index).astype(dtype)


def target_masses(
    x: Array,
    t: Array,
    weights: Array | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Array:
    """What -log p of each class counts in the loss at each place: an array of the shape (N, K, ...) and dtype of x.

    t: class numbers (N, ...), or one-hot rows or shares of x's shape. A class number outside 0..K-1 that is not
    `ignore_index` gives NaN: on a GPU nothing waits to look at labels. weights: (K,), of x's dtype.
    """
    xp = get_array_module(x, t, weights)
    K, places = x.shape[1], (1,) * (x.ndim - 2)
    counts = None
    if t.ndim == x.ndim:
        shares = t.astype(x.dtype)
    else:
        labels = t.astype(np.int64)
        shares = (labels[:, None] == xp.arange(K).reshape(K, *places)).astype(x.dtype)
        known = (labels >= 0) & (labels < K)
        if ignore_index is not None:
            counts = (labels != ignore_index)[:, None].astype(x.dtype)
            shares = shares * counts
            known = known | (labels == ignore_index)
        shares = xp.where(known[:, None], shares, np.nan)
    if label_smoothing:
        even = label_smoothing / float(K)
        shares = shares * (1.0 - label_smoothing) + (even if counts is None else counts * even)
    return shares if weights is None else shares * weights.reshape(K, *places)


def class_losses_forward(log_p: Array, masses: Array) -> Array:
    """Cross-entropy at each place, (N, ...): minus the sum over the classes of masses * log_p, both (N, K, ...)."""
    xp = get_array_module(log_p, masses)
    # A mass of zero must not meet an infinity: 0 * -inf is NaN.
    return -(xp.where(masses != 0, log_p, 0.0) * masses).sum(axis=1)


def class_losses_backward(dout: Array | float, masses: Array) -> Array:
    """Gradient with respect to log_p, (N, K, ...). dout: (N, ...), or a number or 0-d for the same at all places."""
    get_array_module(masses)
    return -masses * (dout if isinstance(dout, float) or dout.ndim == 0 else dout[:, None])


def mean_squared_error_forward(x: Array, t: Array) -> Array:
    """Mean over all numbers of (x - t)**2 (0-d). t: x's shape and dtype. The book's (4.2.1) is half the sum."""
    get_array_module(x, t)
    away = x - t
    return (away * away).mean()


def mean_squared_error_backward(x: Array, t: Array, dout: float | Array = 1.0) -> Array:
    """Gradient with respect to x: 2 (x - t) / size * dout."""
    get_array_module(x, t)
    return (x - t) * (2.0 / float(x.size) * dout)


def binary_cross_entropy_forward(x: Array, t: Array, pos_weight: Array | float | None = None) -> Array:
    """Mean over all numbers of -(p t log(s) + (1 - t) log(1 - s)), where s = sigmoid(x) and p = pos_weight (0-d).

    Any size of x is safe: -log(s) is max(-x, 0) + log(1 + exp(-|x|)). t: x's shape and dtype, 0..1.
    pos_weight: what a positive target counts; a number, or an array that meets a sample's shape (1 if left out).
    """
    xp = get_array_module(x, t)
    small = xp.log1p(xp.exp(-abs(x)))
    if pos_weight is None:
        return (xp.maximum(x, 0.0) - x * t + small).mean()
    return ((1.0 - t) * x + (1.0 + (pos_weight - 1.0) * t) * (small + xp.maximum(-x, 0.0))).mean()


def binary_cross_entropy_backward(
    x: Array, t: Array, dout: float | Array = 1.0, pos_weight: Array | float | None = None
) -> Array:
    """Gradient with respect to x."""
    get_array_module(x, t)
    scale = dout / float(x.size)
    if pos_weight is None:
        return (sigmoid_forward(x) - t) * scale
    return ((1.0 - t) * sigmoid_forward(x) - pos_weight * t * sigmoid_forward(-x)) * scale


def count_right_signs(x: Array, t: Array) -> Array:
    """How many samples have all of their scores on the side of 0 on which their target is of 1/2 (0-d, on the device).

    A sample with a NaN is never right.
    """
    get_array_module(x, t)
    right = ((x > 0.0) == (t > 0.5)) & (x == x)
    return right.reshape(x.shape[0], -1).all(axis=1).sum()
