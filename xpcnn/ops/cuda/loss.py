"""Softmax cross-entropy in one launch: gradient, and loss and right answers added up on the device."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.cuda.module import THREADS, launch, output, sum_dtype

__all__ = ["LABELS", "Tally", "count_batch", "softmax_cross_entropy", "tally"]

LABELS = {"int32": "-DXP_LABEL=int", "int64": "-DXP_LABEL=long long"}


class Tally(NamedTuple):
    """What goes on over the steps of an epoch, on the device, and the room for one step's rows."""

    loss_sum: Array  # (1,) float64: the sum (not mean) of all rows' losses so far
    right: Array  # (1,) int64: how many rows were highest at their label so far
    losses: Array  # (N,) of the last step, in what is calculated in
    hits: Array  # (N,) uint8 of the last step: whether right
    done: Array  # (1,) uint32: 0 between launches

    def clear(self) -> None:
        """Sets both sums to 0, on the device."""
        self.loss_sum.fill(0)
        self.right.fill(0)


def tally(like: Array, rows: int) -> Tally:
    """A Tally at 0 on the device of `like`, for scores of its dtype and at most `rows` rows at a time."""
    xp = get_array_module(like)
    return Tally(
        xp.zeros(1, dtype=np.float64),
        xp.zeros(1, dtype=np.int64),
        xp.empty(rows, dtype=sum_dtype(like.dtype)),
        xp.empty(rows, dtype=np.uint8),
        xp.zeros(1, dtype=np.uint32),
    )


def softmax_cross_entropy(
    x: Array,
    t: Array,
    into: Tally,
    *,
    label_smoothing: float = 0.0,
    dout: float = 1.0,
    mean_over: int | None = None,
    loss_scale: Array | None = None,
    backward: bool = True,
    out: Array | None = None,
) -> Array | None:
    """Adds the losses and right answers of scores x (N, K) to `into`; returns the scores' gradient.

    t: (N,) labels, int32 or int64, on the device; one outside 0..K-1 makes its row's loss and gradient NaN (nothing
    waits to look at labels). The gradient, x's dtype, is (softmax - target) * dout * loss_scale / mean_over:
    mean_over is the batch's size where x is only a piece of it (default N), loss_scale a (1,) float32 array.
    backward False: None is returned (evaluation). Sources: book, section 5.6.3; label smoothing: Szegedy et al. 2016.
    Raises ShapeError where shapes do not fit.
    """
    if x.ndim != 2 or t.shape != x.shape[:1] or t.dtype.name not in LABELS:
        raise ShapeError(f"scores (N, K) need labels (N,) of int32 or int64, got {x.shape} and {t.shape} {t.dtype}")
    N, K = x.shape
    if into.losses.size < N or into.losses.dtype != sum_dtype(x.dtype):
        raise ShapeError(
            f"the tally has room for {into.losses.size} rows of {into.losses.dtype} losses; {N} rows of {x.dtype} "
            f"scores need {sum_dtype(x.dtype)} losses: make it by tally(x, rows)"
        )
    xp = get_array_module(x, t)
    dx = output(xp, out, x.shape, x.dtype) if backward else None
    scale = float(dout) / float(mean_over or max(N, 1))
    arguments = (x, t, dx, into.losses, into.hits, into.loss_sum, into.right, into.done, loss_scale)
    launch(
        "loss",
        "softmax_cross_entropy",
        x.dtype,
        (*arguments, K, scale, float(label_smoothing)),
        blocks=N,
        threads=32 if K <= 128 else THREADS,
        more=(LABELS[t.dtype.name],),
    )
    return dx


def count_batch(loss: Array, right: Array, loss_sum: Array, right_sum: Array, samples: int) -> Array:
    """Adds a step's sum of losses and its right answers to an epoch's; turns `loss` into the mean over `samples`.

    loss, loss_sum: (1,) float64; right, right_sum: (1,) int64. Returns `loss`.
    """
    arguments = (loss, right, loss_sum, right_sum, np.float64(samples))
    launch("loss", "count_batch", np.dtype(np.float32), arguments, blocks=1, threads=1, more=(LABELS["int64"],))
    return loss
