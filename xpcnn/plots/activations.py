"""What a network sees in one picture, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from xpcnn.errors import DataError
from xpcnn.plots.style import bare, host, new_figure

__all__ = ["plot_activations"]

_LABELS, _HEAD = 1.5, 0.65  # inches beside and above the maps, which are an inch each


def plot_activations(picture: Any, layers: Mapping[str, Any], maps: int = 12, *, note: str = "") -> Figure:
    """Feature maps of one picture at each depth, a row a layer (compare the book's figure 7.26).

    picture: (C, H, W) or (H, W), values 0..1. layers: the outputs (C, H, W), or (1, C, H, W), of the layers to show,
    by name, in order; of each the first `maps` channels. Colours run over all of a layer's values, dark to light.
    note: a line beneath the title. Raises DataError for other shapes or without layers.
    """
    if not layers:
        raise DataError("no layers given; a network without convolution or pooling has no feature maps to show")
    found = {name: _feature_maps(a, name) for name, a in layers.items()}
    most = max(min(maps, len(a)) for a in found.values())
    title = "Feature maps at each depth" + (f"\n{note}" if note else "")
    width, height = most + _LABELS + 0.1, 1.05 * (len(found) + 1) + _HEAD
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    figure.suptitle(title, fontsize=13, y=1 - 0.1 / height, va="top", parse_math=False)
    image = np.asarray(picture)
    image = host(image[None] if image.ndim == 2 else image, 3, "a picture (C, H, W)").clip(0.0, 1.0)
    tiles = image.transpose(1, 2, 0)[None] if len(image) == 3 else image[:1]
    for i, (name, a) in enumerate((("the picture", image), *found.items())):
        # Placed by hand: rows must share one raster, which no layout engine keeps for axes of fixed proportions.
        axes = figure.add_axes((_LABELS / width, 1 - (_HEAD + 1.05 * (i + 1)) / height, most / width, 1 / height))
        if i == 0:
            _row(axes, tiles, most, "gray", (0.0, 1.0))
        else:
            _row(axes, a[:maps], most, "viridis", (float(a.min()), float(a.max())))
        shown = f"\n{maps} of {len(a)} shown" if i and len(a) > maps else ""
        size = "×".join(map(str, a.shape))
        axes.set_ylabel(f"{name}\n{size}{shown}", rotation=0, ha="right", va="center", labelpad=6, parse_math=False)
    return figure


def _feature_maps(a: Any, name: str) -> np.ndarray[Any, Any]:
    if np.ndim(a) == 4 and len(a) == 1:
        a = a[0]
    return host(a, 3, f"the output of {name} for one picture, (C, H, W),")


def _row(axes: Any, tiles: np.ndarray[Any, Any], most: int, cmap: str, limits: tuple[float, float]) -> None:
    """Tiles in one line, all rows of the figure on the same raster however large their pictures are."""
    low, high = limits
    for i, tile in enumerate(tiles):
        axes.imshow(
            tile,
            cmap=cmap,
            vmin=low,
            vmax=high if high > low else low + 1.0,
            extent=_square(i, tile),
            interpolation="nearest",
        )
    axes.set_xlim(0, most)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    bare(axes)


def _square(i: int, tile: np.ndarray[Any, Any]) -> tuple[float, float, float, float]:
    """Where tile i lies (left, right, bottom, top): within a cell of 1 by 1 less a gap, its proportions kept."""
    h, w = tile.shape[:2]
    room = 0.94
    height, width = room * min(1.0, h / w), room * min(1.0, w / h)
    return i, i + width, (1 - height) / 2, (1 + height) / 2
