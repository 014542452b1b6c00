"""How training went: accuracy and loss over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from xpcnn.plots.style import BLUE, GREY, ORANGE, new_figure

__all__ = ["plot_curves"]

_MARKED = 40  # with more epochs than this, marks would run into one another
_POINTS = 500  # more steps than this are drawn as means, lest noise cover the other curves


def plot_curves(history_rows: Sequence[Mapping[str, Any]], step_losses: Sequence[float] | None = None) -> Figure:
    """Accuracy and loss of training and test data after each epoch (the book's figure 7.23 and its loss).

    history_rows: a dict an epoch with "epoch" (from 1) and any of train_acc, test_acc (0..1), train_loss, test_loss;
    "step", the steps done by then, places `step_losses`, the loss of every step, drawn faintly behind.
    """
    figure = new_figure(11, 4.4)
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.06})
    rows = sorted(history_rows, key=lambda row: row["epoch"])
    _accuracy(left, rows)
    _loss(right, rows, step_losses)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.set_xticks(_ticks(max((row["epoch"] for row in rows), default=1)))
        axes.grid(True, color="#E4E4E4", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=10, loc="lower right" if axes is left else "upper right")
        else:
            axes.text(0.5, 0.5, "no epoch finished yet", transform=axes.transAxes, ha="center", color=GREY)
    return figure


def _line(axes: Axes, rows: Sequence[Mapping[str, Any]], name: str, label: str, color: str, dash: str) -> list[float]:
    """Draws one figure of the rows that have it; returns its values."""
    points = [(row["epoch"], float(row[name])) for row in rows if row.get(name) is not None]
    if points:
        mark: dict[str, Any] = (
            {"marker": "o" if color == BLUE else "s", "markersize": 4} if len(points) <= _MARKED else {}
        )
        epochs, values = zip(*points, strict=True)
        axes.plot(epochs, values, color=color, linestyle=dash, linewidth=1.8, label=label, **mark)
        return list(values)
    return []


def _accuracy(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    values = _line(axes, rows, "train_acc", "training", BLUE, "--")
    test = _line(axes, rows, "test_acc", "test", ORANGE, "-")
    axes.set_title(f"Accuracy (test: {test[-1]:.2%} at the end)" if test else "Accuracy", fontsize=12)
    finite = [v for v in (*values, *test) if np.isfinite(v)]
    low = min(finite, default=0.0)
    # A little air above 100 %, so that a line along it is seen; good runs fill the height with what differs.
    air = 0.04 * (1.0 - low) + 0.0005
    axes.set_ylim(max(0.0, low - 2 * air), 1.0 + air)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("share of pictures right")


def _loss(axes: Axes, rows: Sequence[Mapping[str, Any]], step_losses: Sequence[float] | None) -> None:
    if step_losses is not None and len(step_losses):
        window = math.ceil(len(step_losses) / _POINTS)
        label = "each step" if window == 1 else f"steps, means of {window}"
        place = _means(_epochs_of_steps(rows, len(step_losses)), window)
        axes.plot(place, _means(np.asarray(step_losses), window), color="#BDBDBD", linewidth=0.9, label=label)
    _line(axes, rows, "train_loss", "training", BLUE, "--")
    test = _line(axes, rows, "test_loss", "test", ORANGE, "-")
    axes.set_title(f"Loss (test: {test[-1]:.4f} at the end)" if test else "Loss", fontsize=12)
    axes.set_ylabel("mean cross-entropy")
    values = [v for line in axes.lines for v in _positive_range(line.get_ydata())]
    if values and max(values) > 30 * min(values):
        axes.set_yscale("log")
    elif values:
        axes.set_ylim(0.0, 1.08 * max(values))


def _ticks(last: int) -> list[int]:
    """Epoch 1 and the multiples of a round number, about ten in all."""
    step = next(s for s in (m * 10**e for e in range(9) for m in (1, 2, 5)) if last <= 11 * s)
    return sorted({1, *range(step, last + 1, step)})


def _means(values: np.ndarray[Any, Any], window: int) -> np.ndarray[Any, Any]:
    """The mean of every `window` values; those left over make up the last."""
    starts = np.arange(0, len(values), window)
    return np.asarray(np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values))))


def _positive_range(values: Any) -> list[float]:
    a = np.asarray(values, np.float64)
    a = a[np.isfinite(a) & (a > 0)]
    return [float(a.min()), float(a.max())] if a.size else []


def _epochs_of_steps(rows: Sequence[Mapping[str, Any]], steps: int) -> np.ndarray[Any, Any]:
    """The place of each step on the axis of epochs, from the steps that the rows say were done by their ends."""
    known = [(float(row["step"]), float(row["epoch"])) for row in rows if row.get("step") is not None]
    ends, epochs = (np.array(v) for v in zip((0.0, 0.0), *known, strict=True))
    place = np.arange(1, steps + 1, dtype=np.float64)
    at = np.interp(place, ends, epochs)
    # Steps after the last finished epoch go on at its pace; with no epoch finished all of them make up the first.
    pace = ends[-1] / epochs[-1] if epochs[-1] else float(steps)
    return np.asarray(np.where(place > ends[-1], epochs[-1] + (place - ends[-1]) / pace, at))
