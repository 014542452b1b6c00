"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from xpcnn.errors import DataError
from xpcnn.plots.style import host, new_figure

__all__ = ["confusion_matrix", "plot_confusion"]

_COUNTED = 20  # more classes than this leave no room for figures in the cells


def confusion_matrix(t: Any, predicted: Any, K: int) -> np.ndarray[Any, Any]:
    """int64 (K, K): how often class i (row) was predicted as class j (column).

    t, predicted: (N,) whole numbers of 0..K-1. Raises DataError for other values, or lengths that differ.
    """
    found = []
    for name, a in (("labels", np.asarray(t)), ("predictions", np.asarray(predicted))):
        if a.ndim != 1 or (a.size and (a.dtype.kind not in "iu" or a.min() < 0 or a.max() >= K)):
            raise DataError(f"{name} wanted as (N,) whole numbers of 0..{K - 1}, got {a.dtype} {a.shape}")
        found.append(a.astype(np.int64))
    if len(found[0]) != len(found[1]):
        raise DataError(f"as many predictions as labels wanted, got {len(found[1])} and {len(found[0])}")
    return np.bincount(found[0] * K + found[1], minlength=K * K).reshape(K, K)


def plot_confusion(matrix: Any, classes: Sequence[str]) -> Figure:
    """A confusion matrix (K, K), rows the true classes; shades are shares of a row, the figures are counts.

    The shades' scale is bent so that a mistake of one in a hundred is seen. Raises DataError where matrix and classes
    do not fit together.
    """
    counts = host(matrix, 2, "a confusion matrix (K, K)")
    K = len(classes)
    if counts.shape != (K, K):
        raise DataError(f"a confusion matrix of {K} classes has shape ({K}, {K}), got {counts.shape}")
    total, right = int(counts.sum()), int(np.trace(counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.6, 2.4 + 0.52 * K) if K <= _COUNTED else max(11.0, 2.0 + 0.16 * K)
    accuracy = f" ({right / total:.2%})" if total else ""
    figure = new_figure(side + 1.2, side, f"Confusion: {right:,} of {total:,} right{accuracy}")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.35, vmin=0.0, vmax=1.0), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 0.01, 0.1, 0.5, 1.0], format=PercentFormatter(1.0))
    bar.set_label("share of the true class")
    small = 10.0 if K <= _COUNTED else max(6.0, 250.0 / K)
    long = max(len(str(name)) for name in classes) > 2
    axes.set_xticks(range(K), [str(c) for c in classes], rotation=90 if long else 0, fontsize=small, parse_math=False)
    axes.set_yticks(range(K), [str(c) for c in classes], fontsize=small, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    if K <= _COUNTED:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                dark = shares[i, j] > 0.15  # where the bent scale turns too dark for black ink
                axes.text(j, i, str(count), ha="center", va="center", fontsize=9, color="white" if dark else "black")
    return figure
