"""Feature maps by depth."""

import numpy as np
import pytest

from xpcnn.errors import DataError
from xpcnn.plots import plot_activations, save_figure

RNG = np.random.default_rng(0)
LAYERS = {"conv1": RNG.normal(size=(1, 16, 20, 20)), "pool1": RNG.random((16, 10, 10)), "conv2": np.zeros((3, 4, 8))}


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (3, 28, 28)])
def test_a_row_each_with_at_most_so_many_maps(tmp_path, shape):
    figure = plot_activations(RNG.random(shape), LAYERS, maps=5, note="seven.png, taken for 7")
    assert [len(axes.images) for axes in figure.axes] == [1, 5, 5, 3]
    labels = [axes.get_ylabel().split("\n") for axes in figure.axes]
    assert [label[0] for label in labels] == ["the picture", "conv1", "pool1", "conv2"]
    assert labels[1][1:] == ["16×20×20", "5 of 16 shown"]
    assert labels[3][1:] == ["3×4×8"]
    for k in range(5):
        np.testing.assert_array_equal(figure.axes[1].images[k].get_array(), LAYERS["conv1"][0, k])
    assert "taken for 7" in figure.get_suptitle()
    save_figure(figure, tmp_path / "a.png")


def test_one_scale_a_row():
    figure = plot_activations(np.zeros((9, 9)), LAYERS)
    for axes, a in zip(figure.axes[1:3], (LAYERS["conv1"], LAYERS["pool1"]), strict=True):
        assert {image.get_clim() for image in axes.images} == {(a.min(), a.max())}


def test_proportions_are_kept_within_the_cell():
    left, right, bottom, top = plot_activations(np.zeros((9, 9)), LAYERS).axes[3].images[1].get_extent()
    assert (right - left) / (top - bottom) == pytest.approx(8 / 4)
    assert 1 <= left < right <= 2
    assert 0 <= bottom < top <= 1


def test_what_cannot_be_shown():
    with pytest.raises(DataError, match="no layers given"):
        plot_activations(np.zeros((9, 9)), {})
    with pytest.raises(DataError, match="the output of affine for one picture"):
        plot_activations(np.zeros((9, 9)), {"affine": np.zeros((1, 10))})
    with pytest.raises(DataError, match="the output of conv1 for one picture"):
        plot_activations(np.zeros((9, 9)), {"conv1": np.zeros((2, 3, 4, 4))})
