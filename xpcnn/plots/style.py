"""What all figures share: colours, sizes, grids of small pictures, and the way into a file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from xpcnn.atomic import atomic_write
from xpcnn.device import asnumpy
from xpcnn.errors import ConfigError, DataError

__all__ = ["BLUE", "GREY", "ORANGE", "SUFFIXES", "bare", "grid_shape", "host", "mosaic", "new_figure", "save_figure"]

# Okabe and Ito's palette: told apart with every common kind of colour blindness, and in grey print.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8A8A8A"

SUFFIXES = (".png", ".svg", ".pdf")

Pixels = np.ndarray[Any, Any]


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """An empty figure of that many inches, laid out tightly, on white."""
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, wspace=0.02, hspace=0.02))
    if title:
        figure.suptitle(title, fontsize=13, parse_math=False)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 150) -> None:
    """Writes a figure as .png, .svg or .pdf, by the suffix; the file appears whole or not at all.

    Raises ConfigError for another suffix or a place that cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{os.fspath(path)!r}: figures are written as {', '.join(SUFFIXES)}; end the name with one")
    with atomic_write(path) as file:
        figure.savefig(file, format=suffix[1:], dpi=dpi)


def bare(axes: Axes, frame: bool = False) -> None:
    """Takes ticks and, but for `frame`, the frame away: what is left is the picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame)
        spine.set_color("#C0C0C0")


def grid_shape(count: int, ratio: float = 1.6) -> tuple[int, int]:
    """(rows, columns) for `count` things in a field about `ratio` times as wide as high, with the fewest gaps."""
    ideal = math.sqrt(count * ratio)
    columns = min(
        range(max(1, math.floor(ideal * 0.75)), max(1, math.ceil(ideal * 1.25)) + 1),
        key=lambda c: (-count % c, abs(c - ideal)),
    )
    return math.ceil(count / columns), columns


def mosaic(tiles: Pixels, columns: int, gap: int = 1) -> Pixels:
    """(n, h, w) or (n, h, w, 3) tiles side by side, as one float picture; the gaps are NaN, or white in colour."""
    n, h, w = tiles.shape[:3]
    rows = math.ceil(n / columns)
    empty = np.nan if tiles.ndim == 3 else 1.0
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, *tiles.shape[3:]), empty, np.float32)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        canvas[top : top + h, left : left + w] = tile
    return canvas


def host(a: Any, ndim: int, what: str) -> Pixels:
    """`a` as a NumPy array of `ndim` axes, none of length 0. Raises DataError."""
    found = np.asarray(asnumpy(a) if hasattr(a, "dtype") else a)
    if found.ndim != ndim or found.size == 0:
        raise DataError(f"{what} wanted as an array of {ndim} axes that is not empty, got shape {found.shape}")
    return found
