"""Misclassified pictures."""

import numpy as np
import pytest

from xpcnn.errors import DataError
from xpcnn.plots import plot_mistakes, save_figure

X = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), np.uint8)
T = np.array([0, 1, 2, 0, 1, 2])
PREDICTED = np.array([0, 2, 2, 1, 1, 0])
P = np.full((6, 3), 0.1)
P[np.arange(6), PREDICTED] = [0.8, 0.5, 0.8, 0.9, 0.8, 0.7]


def shown(figure):
    return [(axes.get_title(), axes.images[0].get_array()) for axes in figure.axes if axes.get_visible()]


@pytest.mark.parametrize("probabilities", [P, P.max(axis=1)])
def test_surest_mistakes_first(tmp_path, probabilities):
    figure = plot_mistakes(X, T, PREDICTED, probabilities, "abc")
    found = shown(figure)
    assert [title for title, _ in found] == ["a → b (90%)", "c → a (70%)", "b → c (50%)"]
    for (_, pixels), i in zip(found, (3, 5, 1), strict=True):
        np.testing.assert_allclose(pixels, X[i, 0] / 255.0)
    assert figure.get_suptitle().startswith("3 of 6 pictures")
    save_figure(figure, tmp_path / "m.png")


def test_at_most():
    figure = plot_mistakes(X, T, PREDICTED, P, "abc", at_most=2)
    assert len(shown(figure)) == 2
    assert "the 2 surest mistakes" in figure.get_suptitle()


def test_colour_floats_and_long_names(tmp_path):
    x = np.random.default_rng(1).random((6, 3, 8, 8)).astype(np.float32)
    figure = plot_mistakes(x, T, PREDICTED, P, ["aeroplane", "$b$", "cat"])
    title, pixels = shown(figure)[0]
    assert title == "aeroplane → $b$\n(90%)"
    np.testing.assert_array_equal(pixels, x[3].transpose(1, 2, 0))
    save_figure(figure, tmp_path / "m.png")


def test_no_mistakes(tmp_path):
    figure = plot_mistakes(X, T, T, P, "abc")
    assert figure.get_suptitle() == "No mistake among 6 pictures"
    save_figure(figure, tmp_path / "m.png")


def test_lengths_that_differ():
    with pytest.raises(DataError, match="got 6, 5, 6 and 6"):
        plot_mistakes(X, T[:5], PREDICTED, P, "abc")
