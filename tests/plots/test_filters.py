"""Filters and their responses: the pixels drawn are those of the arrays."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from xpcnn.errors import DataError, ShapeError
from xpcnn.plots import plot_filter_responses, plot_filters, save_figure


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_grey_filters_before_and_after(tmp_path):
    before, after = weights(30, 1, 5, 5), 9 * weights(30, 1, 5, 5, seed=1)
    figure = plot_filters(before, after)
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == ["before training", "after training"]
    for axes, w in zip(figure.axes, (before, after), strict=True):
        (image,) = axes.images
        most = np.abs(w).max()
        assert image.get_clim() == pytest.approx((-most, most))  # zero is the middle grey
        assert f"{most:.3g}" in axes.get_title()  # and the title says so
        canvas = image.get_array()
        np.testing.assert_array_equal(canvas[:5, :5], w[0, 0])
        assert canvas.count() == w.size  # every weight drawn once, the rest are gaps
    save_figure(figure, tmp_path / "f.png")


def test_colour_filters():
    w = weights(8, 3, 4, 4)
    image = plot_filters(w).axes[0].images[0].get_array()
    np.testing.assert_allclose(image[:4, :4], 0.5 + 0.5 * w[0].transpose(1, 2, 0) / np.abs(w).max(), rtol=1e-5)
    assert image.min() >= 0
    assert image.max() <= 1


def test_filters_of_many_channels_are_averaged():
    w = weights(6, 16, 3, 3)
    figure = plot_filters(w, layer="layer conv2")
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[:3, :3], w[0].mean(axis=0), rtol=1e-5)
    assert "layer conv2" in figure.get_suptitle()
    assert "mean over 16 channels" in figure.get_suptitle()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (96, 3, 11, 11), (2, 1, 1, 7)])
def test_any_size_is_drawn(tmp_path, shape):
    save_figure(plot_filters(np.zeros(shape), weights(*shape)), tmp_path / "f.png")


def test_filters_that_do_not_fit():
    with pytest.raises(DataError, match="not of one layer"):
        plot_filters(weights(3, 1, 5, 5), weights(4, 1, 5, 5))
    with pytest.raises(DataError, match="filters"):
        plot_filters(weights(3, 5, 5))


def test_responses_are_those_of_the_filters(tmp_path):
    picture = np.random.default_rng(2).random((40, 30)).astype(np.float32)
    w = weights(9, 1, 3, 3) * np.arange(1, 10, dtype=np.float32)[:, None, None, None]
    figure = plot_filter_responses(picture, w, at_most=4)
    windows = sliding_window_view(picture.astype(np.float64), (3, 3))
    drawn = {
        int(axes.get_title().split()[1]): axes.images[0].get_array()
        for axes in figure.get_axes()
        if axes.get_title().startswith("filter ")
    }
    want = {i: (windows * w[i, 0]).sum(axis=(2, 3)) for i in range(9)}
    assert set(drawn) == set(sorted(want, key=lambda i: -want[i].std())[:4])
    for i, response in drawn.items():
        np.testing.assert_allclose(response, want[i], rtol=1e-4, atol=1e-4)  # float32 sums of nine products
    save_figure(figure, tmp_path / "r.png")


def test_responses_to_flat_and_shaped_pictures(tmp_path):
    save_figure(plot_filter_responses(np.full((1, 9, 200), 0.5), weights(1, 3, 5, 5)), tmp_path / "r.png")


def test_responses_that_cannot_be():
    with pytest.raises(DataError, match="a grey picture"):
        plot_filter_responses(np.zeros((3, 9, 9)), weights(2, 1, 3, 3))
    with pytest.raises(ShapeError, match="does not fit"):
        plot_filter_responses(np.zeros((2, 9)), weights(2, 1, 3, 3))
