"""Figures of runs, filters, feature maps and errors, without pyplot: no display needed, no state shared."""

from xpcnn.plots.activations import plot_activations
from xpcnn.plots.confusion import confusion_matrix, plot_confusion
from xpcnn.plots.curves import plot_curves
from xpcnn.plots.filters import plot_filter_responses, plot_filters
from xpcnn.plots.mistakes import plot_mistakes
from xpcnn.plots.style import SUFFIXES, save_figure

__all__ = [
    "SUFFIXES",
    "confusion_matrix",
    "plot_activations",
    "plot_confusion",
    "plot_curves",
    "plot_filter_responses",
    "plot_filters",
    "plot_mistakes",
    "save_figure",
]
