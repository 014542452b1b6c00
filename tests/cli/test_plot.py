"""`xpcnn plot`: which arrays of a run reach which figure; what the figures look like is tested in tests/plots."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import xpcnn.plots
from xpcnn.cli.config import write_config
from xpcnn.cli.main import app
from xpcnn.data.dataset import Dataset
from xpcnn.data.npz import save_npz
from xpcnn.models import make_model
from xpcnn.training.callbacks.metrics import MetricsFiles
from xpcnn.training.checkpoint import save_checkpoint
from xpcnn.training.trainer import Trainer

SEED = 5
SMALL = {"model": "simple", "input_dim": [1, 12, 12], "conv_param": {"filter_num": 3, "filter_size": 3}}
SMALL |= {"hidden_size": 6, "output_size": 3, "weight_init_std": 0.1}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    t = np.arange(30) % 3
    x = rng.integers(0, 60, (30, 1, 12, 12), np.uint8)
    for i, k in enumerate(t):
        x[i, 0, 4 * k : 4 * k + 3] += 150
    return Dataset("bars", x[:18], t[:18], x[18:], t[18:], ("top", "middle", "foot"), "made here").checked()


@pytest.fixture(scope="module")
def trained(data):
    """A trainer after two short epochs."""
    net = make_model(SMALL, seed=SEED)
    trainer = Trainer(
        net, data.x_train, data.t_train, data.x_test, data.t_test, 2, 6, optimizer="adam", verbose=False, scale=1 / 255
    )
    trainer.train()
    return trainer


@pytest.fixture
def folder(tmp_path, data, trained):
    """A run folder as `xpcnn train` leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_npz(folder / "bars.npz", data)
    trained.network.save_params(folder / "model.safetensors")
    save_checkpoint(folder / "last.ckpt", trained)
    MetricsFiles(folder).on_epoch_end(trained)
    config = {
        "model": {**trained.network.config, "seed": SEED},
        "data": {"name": str(folder / "bars.npz"), "classes": list(data.classes)},
        "train": {"seed": SEED + 1},
    }
    write_config(folder / "config.toml", config)
    return folder


@pytest.fixture
def spy(monkeypatch):
    """What the command hands to a plotting function, by the function's name; the figure is drawn all the same."""
    seen = {}

    def watch(name):
        draw = getattr(xpcnn.plots, name)

        def watched(*args, **kwargs):
            seen[name] = args, kwargs
            return draw(*args, **kwargs)

        monkeypatch.setattr(xpcnn.plots, name, watched)

    for name in xpcnn.plots.__all__:
        if name.startswith("plot_"):
            watch(name)
    return seen


def run(*args):
    return CliRunner().invoke(app, ["plot", *map(str, args)])


def drawn(*args):
    """Runs the command, which must succeed; the path that it printed, which must be there."""
    result = run(*args)
    assert result.exit_code == 0, result.output
    path = Path(result.stdout.strip())
    assert path.stat().st_size > 1000
    return path


def judged(trained, data):
    scores = np.asarray(trained.network.predict(data.x_test / np.float32(255)), np.float64)
    e = np.exp(scores)
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["curves", "filters", "activations", "confusion", "mistakes"])
def test_default_place_is_the_run_folder(folder, kind):
    assert drawn(kind, folder) == folder / f"{kind}.png"


def test_default_place_of_a_parameter_file_is_here(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert drawn("filters", folder / "model.safetensors") == Path("filters.png")
    assert (tmp_path / "filters.png").is_file()


@pytest.mark.parametrize("name", ["f.svg", "f.pdf", "f.png"])
def test_out(folder, tmp_path, name):
    assert drawn("curves", folder, "--out", tmp_path / name) == tmp_path / name


def test_curves_are_of_the_runs_rows_and_steps(folder, trained, spy):
    drawn("curves", folder)
    (rows, steps), _ = spy["plot_curves"]
    for row, want in zip(rows, trained.history.rows, strict=True):
        assert row == pytest.approx({k: want[k] for k in row})
        assert {"epoch", "step", "train_acc", "test_acc", "train_loss", "test_loss"} <= set(row)
    assert steps == trained.history.step_losses
    assert len(steps) == 6


def test_curves_do_without_a_checkpoint_and_say_if_it_is_damaged(folder, spy):
    (folder / "last.ckpt").write_bytes(b"damaged")
    result = run("curves", folder)
    assert result.exit_code == 0
    assert "the loss of each step is left out" in result.stderr
    assert spy["plot_curves"][0][1] is None
    (folder / "last.ckpt").unlink()
    assert not run("curves", folder).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file; curves are drawn from the run folder"),
        ("", "no epoch is finished yet"),
        ("epoch,train_acc\n", "no epoch is finished yet"),
        ("epoch,train_acc\n1,0.5\n2,much\n", "row 2: not the metrics of a run"),
        ("time,train_acc\n1,0.5\n", "row 1: not the metrics of a run"),
        ("epoch,train_acc\n1,0.5,7\n", "row 1: not the metrics of a run"),
        ("epoch,train_acc\n1.5,0.5\n", "not the metrics of a run"),
    ],
)
def test_metrics_that_are_none(folder, text, message):
    (folder / "metrics.csv").unlink()
    if text is not None:
        (folder / "metrics.csv").write_text(text)
    result = run("curves", folder)
    assert result.exit_code == 2
    assert str(folder / "metrics.csv") in result.stderr
    assert message in result.stderr


def test_filters_before_are_those_of_the_networks_own_seed(folder, trained, spy):
    drawn("filters", folder)
    (before, after), kwargs = spy["plot_filters"]
    np.testing.assert_array_equal(before, make_model(SMALL, seed=SEED).params["W1"])
    np.testing.assert_array_equal(after, trained.network.params["W1"])
    assert np.abs(after - before).max() > 1e-4
    assert kwargs["layer"] == "layer Conv1"


def test_filters_before_by_the_runs_seed_or_left_out(folder, trained, spy):
    write_config(folder / "config.toml", {"train": {"seed": SEED + 1}})
    drawn("filters", folder)
    np.testing.assert_array_equal(spy["plot_filters"][0][0], make_model(SMALL, seed=SEED + 1).params["W1"])
    (folder / "config.toml").unlink()
    drawn("filters", folder)
    (alone,) = spy["plot_filters"][0]
    np.testing.assert_array_equal(alone, trained.network.params["W1"])


def test_activations_of_the_first_test_picture(folder, trained, data, spy):
    drawn("activations", folder)
    (x, layers), kwargs = spy["plot_activations"]
    np.testing.assert_allclose(x, data.x_test[0] / 255, rtol=1e-6)
    assert list(layers) == ["Conv1", "Pool1"]
    for name, a in trained.network.activations(x[None]).items():
        if name in layers:
            np.testing.assert_array_equal(layers[name], a)
    p = judged(trained, data)[0]
    assert f"taken for {data.classes[p.argmax()]} ({p.max():.2%})" in kwargs["note"]


def test_activations_of_a_picture(folder, data, spy):
    path = folder / "p.png"
    Image.fromarray(data.x_test[3, 0]).save(path)
    drawn("activations", folder, "--picture", path)
    (x, _), kwargs = spy["plot_activations"]
    np.testing.assert_allclose(x, data.x_test[3] / 255, rtol=1e-6)
    assert kwargs["note"].startswith("p.png, taken for ")


def test_responses_to_a_picture_in_its_own_size(folder, trained, spy):
    path = folder / "p.png"
    shades = np.random.default_rng(1).integers(128, 256, (40, 50), np.uint8)  # light: it must not be inverted
    Image.fromarray(shades).save(path)
    drawn("responses", folder, "--picture", path)
    (picture, weights), _ = spy["plot_filter_responses"]
    np.testing.assert_allclose(picture[0], shades / 255, rtol=1e-6)
    np.testing.assert_array_equal(weights, trained.network.params["W1"])


def test_confusion_and_mistakes_are_of_the_test_pictures(folder, trained, data, spy):
    p = judged(trained, data)
    drawn("confusion", folder)
    (matrix, classes), _ = spy["plot_confusion"]
    assert matrix.sum() == len(data.t_test)
    assert np.trace(matrix) == (p.argmax(axis=1) == data.t_test).sum()
    np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(data.t_test, minlength=3))
    assert tuple(classes) == data.classes
    drawn("mistakes", folder)
    (x, t, predicted, probabilities, _), _ = spy["plot_mistakes"]
    np.testing.assert_array_equal(x, data.x_test)
    np.testing.assert_array_equal(t, data.t_test)
    np.testing.assert_array_equal(predicted, p.argmax(axis=1))
    np.testing.assert_allclose(probabilities, p, rtol=1e-4)  # float32 scores in batches of another size


def test_another_data_set_may_be_named_if_it_fits(folder, data, tmp_path, spy):
    other = Dataset("other", data.x_train, data.t_train, data.x_train, data.t_train, data.classes, "here")
    save_npz(tmp_path / "other.npz", other)
    drawn("confusion", folder, "--dataset", tmp_path / "other.npz")
    assert spy["plot_confusion"][0][0].sum() == 18
    wide = np.zeros((4, 1, 12, 13), np.uint8)
    t = np.array([0, 1, 2, 0])
    save_npz(tmp_path / "wide.npz", Dataset("wide", wide, t, wide, t, data.classes, "here"))
    result = run("confusion", folder, "--dataset", tmp_path / "wide.npz")
    assert result.exit_code == 2
    assert "wide has pictures of (1, 12, 13) in 3 classes, the network takes (1, 12, 12)" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["portrait"], "portrait"),
        (["responses"], "name one with --picture FILE"),
        (["responses", "--picture", "none.png"], "none.png: there is no such file"),
        (["activations", "--picture", "none.png"], "none.png: there is no such file"),
        (["curves", "--out", "f.txt"], "--out f.txt: figures are written as .png, .svg, .pdf"),
        (["confusion", "--dataset", "nonesuch"], "nonesuch"),
        (["curves", "--out", "none/f.png"], "does not exist"),
    ],
)
def test_bad_arguments(folder, args, message):
    before = sorted(p.name for p in folder.iterdir())
    result = run(args[0], folder, *args[1:])
    assert result.exit_code == 2
    assert message in result.stderr
    assert sorted(p.name for p in folder.iterdir()) == before


def test_a_configuration_that_will_not_do(folder):
    (folder / "config.toml").write_text('[train]\nseed = "five"\n')
    result = run("filters", folder)
    assert result.exit_code == 2
    assert "whole number" in result.stderr


def test_help_does_not_load_matplotlib():
    code = "import sys, xpcnn.cli.main; assert 'matplotlib' not in sys.modules and 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
