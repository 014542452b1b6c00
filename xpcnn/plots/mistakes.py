"""The pictures that were taken for something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from xpcnn.errors import DataError
from xpcnn.plots.style import GREY, bare, grid_shape, host, new_figure

__all__ = ["plot_mistakes"]


def plot_mistakes(
    x: Any, t: Any, predicted: Any, probabilities: Any, classes: Sequence[str], at_most: int = 40
) -> Figure:
    """Misclassified pictures with "true → predicted (probability of the predicted)", the surest mistakes first.

    x: (N, 1 or 3, H, W), uint8 or 0..1; t, predicted: (N,) class numbers; probabilities: (N, K), or (N,) those of the
    predicted classes. Raises DataError where these do not fit together.
    """
    x, t, predicted = host(x, 4, "pictures (N, C, H, W)"), np.asarray(t), np.asarray(predicted)
    probabilities = np.asarray(probabilities)
    if not len(x) == len(t) == len(predicted) == len(probabilities):
        lengths = f"{len(x)}, {len(t)}, {len(predicted)} and {len(probabilities)}"
        raise DataError(f"as many pictures, labels, predictions and probabilities wanted, got {lengths}")
    wrong = np.flatnonzero(t != predicted)
    sure = probabilities[wrong] if probabilities.ndim == 1 else probabilities[wrong, predicted[wrong]]
    order = np.argsort(-sure, kind="stable")[:at_most]
    title = f"{len(wrong):,} of {len(x):,} pictures taken for something else"
    if len(wrong) > at_most:
        title += f"; the {at_most} surest mistakes"
    if not len(wrong):
        figure = new_figure(5, 2, f"No mistake among {len(x):,} pictures")
        figure.text(0.5, 0.4, "nothing to show", ha="center", color=GREY)
        return figure
    rows, columns = grid_shape(len(order))
    long = max(len(str(name)) for name in classes) > 3
    side = 1.55 if long else 1.2
    figure = new_figure(max(4.5, side * columns), (side + (0.3 if long else 0.1)) * rows + 0.6, title)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, k in zip(cells, order, strict=False):
        i = wrong[k]
        picture = x[i] / 255.0 if x.dtype == np.uint8 else x[i]
        picture = picture.clip(0.0, 1.0)
        axes.imshow(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
        name = f"{classes[t[i]]} → {classes[predicted[i]]}" + ("\n" if long else " ")
        axes.set_title(f"{name}({sure[k]:.0%})", fontsize=9, pad=3, parse_math=False)
        bare(axes)
    for axes in cells[len(order) :]:
        axes.set_visible(False)
    return figure
