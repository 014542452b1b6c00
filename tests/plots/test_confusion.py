"""Confusion matrices, counted one by one, and their figure."""

import numpy as np
import pytest

from xpcnn.errors import DataError
from xpcnn.plots import confusion_matrix, plot_confusion, save_figure


@pytest.mark.parametrize("K", [1, 2, 10])
@pytest.mark.parametrize("n", [0, 1, 500])
def test_counts_every_pair(K, n):
    rng = np.random.default_rng(K)
    t, predicted = rng.integers(0, K, n), rng.integers(0, K, n)
    want = np.zeros((K, K), np.int64)
    for a, b in zip(t, predicted, strict=True):
        want[a, b] += 1
    found = confusion_matrix(t, predicted, K)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_small_dtypes_do_not_overflow(dtype):
    t = np.array([99, 3], dtype)
    assert confusion_matrix(t, t, 100)[99, 99] == 1


@pytest.mark.parametrize(
    ("t", "predicted"), [([0, 3], [0, 1]), ([0, -1], [0, 1]), ([0.5], [0]), ([0, 1], [0]), ([[0]], [[0]])]
)
def test_labels_that_do_not_fit(t, predicted):
    with pytest.raises(DataError, match="wanted"):
        confusion_matrix(t, predicted, 3)


def test_cells_show_the_counts_that_are_not_0(tmp_path):
    matrix = np.array([[50, 2, 0], [0, 0, 0], [1, 0, 47]])
    figure = plot_confusion(matrix, ["cat", "d$g_$", "owl"])
    axes = figure.axes[0]
    cells = {(round(t.get_position()[1]), round(t.get_position()[0])): int(t.get_text()) for t in axes.texts}
    assert cells == {(0, 0): 50, (0, 1): 2, (2, 0): 1, (2, 2): 47}
    np.testing.assert_allclose(axes.images[0].get_array(), [[50 / 52, 2 / 52, 0], [0, 0, 0], [1 / 48, 0, 47 / 48]])
    assert "97 of 100 right (97.00%)" in figure.get_suptitle()
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["cat", "d$g_$", "owl"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    save_figure(figure, tmp_path / "c.png")


def test_many_classes_and_none_seen(tmp_path):
    figure = plot_confusion(np.eye(60, dtype=int), [f"class {k}" for k in range(60)])
    assert not figure.axes[0].texts
    save_figure(figure, tmp_path / "c.png")
    save_figure(plot_confusion(np.zeros((2, 2), int), "ab"), tmp_path / "d.png")


def test_classes_that_do_not_fit():
    with pytest.raises(DataError, match="has shape"):
        plot_confusion(np.eye(3), "ab")
