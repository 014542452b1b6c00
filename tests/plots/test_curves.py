"""The curves of a run: what is on which axis, with the values that the rows have."""

import numpy as np
import pytest

from xpcnn.plots import plot_curves, save_figure


def rows(n, **more):
    return [
        {
            "epoch": i,
            "step": 10 * i,
            "train_acc": 1 - 0.3 / i,
            "test_acc": 0.9 - 0.2 / i,
            "train_loss": 1.0 / i,
            "test_loss": 1.5 / i,
            **more,
        }
        for i in range(1, n + 1)
    ]


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


@pytest.mark.parametrize("n", [1, 2, 20, 120])
def test_each_line_has_its_own_values(tmp_path, n):
    data = rows(n)
    figure = plot_curves(data)
    accuracy, loss = figure.axes
    for axes, kind in ((accuracy, "acc"), (loss, "loss")):
        found = lines(axes)
        assert set(found) == {"training", "test"}
        for label, part in (("training", "train"), ("test", "test")):
            want = [(row["epoch"], row[f"{part}_{kind}"]) for row in data]
            np.testing.assert_allclose(found[label], want)
    assert f"{data[-1]['test_acc']:.2%}" in accuracy.get_title()
    assert accuracy.get_ylim()[1] > 1.0
    assert accuracy.get_ylim()[0] < min(row["test_acc"] for row in data)
    save_figure(figure, tmp_path / "c.png")


@pytest.mark.parametrize("n", [1, 2, 7, 11, 12, 20, 55, 1000])
def test_ticks_are_whole_epochs_from_1(n):
    for axes in plot_curves(rows(n)).axes:
        ticks = axes.get_xticks()
        assert ticks[0] == 1
        assert all(tick == int(tick) and tick <= n for tick in ticks)
        assert len(ticks) <= 12


def test_rows_without_test_figures():
    data = [{k: v for k, v in row.items() if not k.startswith("test")} for row in rows(3)]
    accuracy, loss = plot_curves(data).axes
    assert set(lines(accuracy)) == set(lines(loss)) == {"training"}


def test_figures_that_are_none_are_left_out():
    data = rows(3)
    data[1]["test_acc"] = None
    np.testing.assert_allclose(lines(plot_curves(data).axes[0])["test"], [(1, 0.7), (3, 0.9 - 0.2 / 3)])


def test_step_losses_lie_on_the_epochs_axis():
    losses = np.linspace(2.0, 1.0, 25)  # 10 steps an epoch, the third epoch half done
    drawn = lines(plot_curves(rows(2), losses).axes[1])["each step"]
    np.testing.assert_allclose(drawn[:, 0], np.arange(1, 26) / 10)
    np.testing.assert_allclose(drawn[:, 1], losses)


def test_many_step_losses_are_drawn_as_means():
    losses = np.random.default_rng(0).random(1201)
    drawn = lines(plot_curves(rows(3), losses).axes[1])
    (label,) = set(drawn) - {"training", "test"}
    assert label == "steps, means of 3"
    np.testing.assert_allclose(drawn[label][:400, 1], losses[:1200].reshape(400, 3).mean(axis=1))
    assert drawn[label][400, 1] == pytest.approx(losses[1200])


def test_loss_over_a_wide_range_is_logarithmic():
    data = rows(3)
    data[2]["train_loss"] = 1e-4
    assert plot_curves(data).axes[1].get_yscale() == "log"
    assert plot_curves(rows(3)).axes[1].get_yscale() == "linear"


def test_no_rows_and_numbers_that_are_not_finite(tmp_path):
    save_figure(plot_curves([]), tmp_path / "a.png")
    assert "no epoch finished yet" in plot_curves([]).axes[0].texts[0].get_text()
    save_figure(plot_curves(rows(2, train_loss=float("nan"), train_acc=float("nan"))), tmp_path / "b.png")
    save_figure(plot_curves([], [2.0, 1.5]), tmp_path / "c.png")
