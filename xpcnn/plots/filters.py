"""First-layer filters, before and after training, and what they answer to a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from xpcnn.errors import DataError
from xpcnn.ops.reference import conv2d_forward
from xpcnn.plots.style import bare, grid_shape, host, mosaic, new_figure

__all__ = ["plot_filter_responses", "plot_filters"]

Pixels = np.ndarray[Any, Any]


def plot_filters(before: Any, after: Any = None, *, layer: str = "the first layer") -> Figure:
    """A layer's filters as small pictures, alone or before and after training side by side (the book's figure 7.24).

    before, after: weights (FN, C, FH, FW). One input channel gives grey pictures, three give colours, others the mean
    over the channels. Each side is drawn from -m (black) over 0 (middle grey) to +m (white), m the largest absolute
    value on that side. Raises DataError for other shapes.
    """
    sides = [("before training" if after is not None else "", host(before, 4, "filters (FN, C, FH, FW)"))]
    if after is not None:
        sides.append(("after training", host(after, 4, "filters (FN, C, FH, FW)")))
        if sides[0][1].shape != sides[1][1].shape:
            raise DataError(f"filters before {sides[0][1].shape} and after {sides[1][1].shape} are not of one layer")
    FN, C, FH, FW = sides[0][1].shape
    rows, columns = grid_shape(FN, 1.3 * FH / FW)
    width = 4.8
    height = min(12.0, width * (rows * (FH + 1)) / (columns * (FW + 1)))
    what = {1: "", 3: ", in colour"}.get(C, f",\nmean over {C} channels")
    title = f"{FN} filters of {FH}×{FW} of {layer}{what}"
    figure = new_figure(len(sides) * (width + 0.5), height + 1.2, title)
    cells = figure.subplots(1, len(sides), squeeze=False, gridspec_kw={"wspace": 0.06})[0]
    for axes, (when, weights) in zip(cells, sides, strict=True):
        tiles, most = _shades(weights)
        axes.imshow(mosaic(tiles, columns), cmap="gray", vmin=-most, vmax=most, interpolation="nearest")
        bare(axes)
        heading = f"{when}\n" if when else ""
        axes.set_title(f"{heading}black −{most:.3g}, grey 0, white +{most:.3g}", fontsize=11)
    return figure


def _shades(weights: Pixels) -> tuple[Pixels, float]:
    """(tiles, largest absolute weight drawn); colour tiles are brought to 0..1 with 0 in the middle."""
    C = weights.shape[1]
    tiles = weights.transpose(0, 2, 3, 1) if C == 3 else weights.mean(axis=1)
    most = float(np.abs(tiles).max()) or 1.0
    return (0.5 + 0.5 * tiles / most if C == 3 else tiles), most


def plot_filter_responses(picture: Any, filters: Any, at_most: int = 6, *, layer: str = "the first layer") -> Figure:
    """A grey picture and what first-layer filters make of it (book, section 7.6.1, figure 7.25).

    picture: (H, W) or (1, H, W), any size; filters: (FN, C, FH, FW), summed over C, as a grey picture is the same in
    every channel. Those `at_most` filters are shown whose responses vary most over the picture. Each response is
    drawn from its lowest value (black) to its highest (white), but for half a per cent at either end.
    Raises DataError for other shapes, ShapeError where the picture is smaller than a filter.
    """
    found = np.asarray(picture)
    grey = host(found[0] if found.ndim == 3 and len(found) == 1 else found, 2, "a grey picture (H, W)")
    weights = host(filters, 4, "filters (FN, C, FH, FW)").sum(axis=1, keepdims=True)
    responses = conv2d_forward(grey[None, None].astype(weights.dtype), weights)[0][0]
    strongest = np.sort(np.argsort(-responses.std(axis=(1, 2)), kind="stable")[:at_most])
    H, W = grey.shape
    rows, columns = grid_shape(len(strongest), 1.5)
    cell = 2.3
    tall = float(np.clip(cell * H / W, 0.9, 4.5))
    title = f"A picture through filters of {layer}\neach answer from its lowest (black) to its highest (white)"
    figure = new_figure(cell * columns + cell * 1.5, rows * (tall + 0.35) + 0.8, title)
    left, right = np.ravel(figure.subfigures(1, 2, squeeze=False, width_ratios=[1.5, columns]))
    axes = left.subplots()
    axes.imshow(grey, cmap="gray", vmin=min(0.0, float(grey.min())), vmax=max(1.0, float(grey.max())))
    axes.set_title(f"the picture, {H}×{W}", fontsize=11)
    bare(axes)
    cells = right.subplots(rows, columns, squeeze=False).ravel()
    for axes, index in zip(cells, strongest, strict=False):
        response, weight = responses[index], weights[index, 0]
        low, high = np.quantile(response, (0.005, 0.995))
        axes.imshow(response, cmap="gray", vmin=low, vmax=high if high > low else low + 1.0)
        axes.set_title(f"filter {index}", fontsize=10)
        bare(axes)
        inset = axes.inset_axes((0.0, 0.0, 0.3, 0.3 * W / H))
        peak = float(np.abs(weight).max()) or 1.0
        inset.imshow(weight, cmap="gray", vmin=-peak, vmax=peak, interpolation="nearest")
        bare(inset, frame=True)
        inset.set_anchor("SW")
    for axes in cells[len(strongest) :]:
        axes.set_visible(False)
    return figure
