"""A folder of pictures of differing sizes, from training to predicting; and one split of what has no test set."""

import json
import tomllib

import numpy as np
import pytest
from PIL import Image

import xpcnn.plots
from xpcnn.cli.common import load_run_data
from xpcnn.cli.config import image_size, run_config
from xpcnn.data.dataset import as_float
from xpcnn.data.registry import load_dataset
from xpcnn.data.split import stratified_split
from xpcnn.errors import ConfigError
from xpcnn.models.files import load_model

QUICK = ["--epochs", "1", "--batch-size", "8", "--lr", "0.001", "--quiet", "--out", "r"]
FIT = ["--image-size", "12x16", "--grey"]
SEED = 3


@pytest.fixture
def folder(tmp_path):
    """shapes/ with 15 pictures in each of three classes: a dark bar on light paper, every picture of its own size."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("high", "low", "mid")):
        (tmp_path / "shapes" / name).mkdir(parents=True)
        for number in range(15):
            height, width = rng.integers(20, 60, 2)
            a = rng.integers(180, 256, (height, width, 3), np.uint8)
            top = (0, height // 3 * 2, height // 3)[label]
            a[top : top + height // 3, 3:-3] //= 4
            Image.fromarray(a).save(tmp_path / "shapes" / name / f"{number:02}.png")
    return tmp_path / "shapes"


@pytest.fixture
def npz(tmp_path):
    """alone.npz, without a test set."""
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "alone.npz", x_train=rng.integers(0, 256, (60, 8, 8), np.uint8), t_train=np.arange(60) % 3)
    return tmp_path / "alone.npz"


def written(path="r/config.toml"):
    with open(path, "rb") as file:
        return tomllib.load(file)


def by_hand(x, t, path="r"):
    """(right, mean loss) of a run's network, by softmax's definition in float64."""
    scores = np.asarray(load_model(path).predict(as_float(x)), np.float64)
    losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(t)), t]
    return int((scores.argmax(axis=1) == t).sum()), float(losses.mean())


# -- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "shape", "size"),
    [
        (["--image-size", "12x16", "--grey"], [1, 12, 16], "12x16"),
        (["--image-size", "12", "--colour"], [3, 12, 12], "12x12"),
        (["--image-size", "16"], [3, 16, 16], "16x16"),  # in colour, as the files are
    ],
)
def test_train_notes_what_it_made_of_the_pictures(run, folder, words, shape, size):
    result = run("train", "--dataset", folder, *words, *QUICK)
    assert result.exit_code == 0, result.output
    config = written()
    assert config["model"]["input_dim"] == shape
    assert config["data"]["image_size"] == size
    assert config["data"]["colour"] is (shape[0] == 3)
    assert config["data"]["classes"] == ["high", "low", "mid"]


def test_a_size_of_their_own_is_noted_too(run, tmp_path):
    for number in range(4):
        (tmp_path / "same" / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 10), number, np.uint8)).save(tmp_path / "same" / "a" / f"{number}.png")
    assert run("train", "--dataset", "same", *QUICK).exit_code == 0
    assert written()["data"]["image_size"] == "9x10"
    assert written()["data"]["colour"] is False


def test_other_data_sets_have_none(run, tiny):
    assert run("train", "--dataset", "tiny.npz", *QUICK).exit_code == 0
    assert not {"image_size", "colour"} & written()["data"].keys()


def test_from_a_configuration_file(run, folder, same_parameters):
    with open("c.toml", "w", encoding="utf-8") as file:
        file.write('[data]\nname = "shapes"\nimage_size = 12\ncolour = false\n')
    assert run("train", "--config", "c.toml", *QUICK).exit_code == 0
    assert written()["model"]["input_dim"] == [1, 12, 12]
    words = [*QUICK[:-1], "again"]
    assert run("train", "--dataset", "shapes", "--image-size", 12, "--grey", *words).exit_code == 0
    same_parameters("r/model.safetensors", "again/model.safetensors")
    assert run("train", "--config", "c.toml", "--colour", *QUICK[:-1], "over").exit_code == 0
    assert written("over/config.toml")["model"]["input_dim"] == [3, 12, 12]


def test_differing_sizes_name_the_option(fails, folder):
    assert "--image-size" in fails(2, "train", "--dataset", folder, *QUICK)


@pytest.mark.parametrize("words", [["--image-size", "12"], ["--colour"]])
def test_a_data_set_of_another_kind_is_not_changed(fails, tiny, words):
    line = fails(2, "train", "--dataset", "tiny.npz", *words, *QUICK)
    assert "are for folders of pictures; tiny has pictures of (1, 8, 8)" in line


def test_what_it_has_anyway_may_be_said(run, tiny):
    assert run("train", "--dataset", "tiny.npz", "--image-size", "8", "--grey", *QUICK).exit_code == 0


def test_resumed_as_it_was(run, fails, folder, same_parameters):
    words = ["--dataset", folder, *FIT, "--batch-size", "8", "--quiet", "--seed", SEED]
    assert run("train", *words, "--epochs", 2, "--out", "whole").exit_code == 0
    assert run("train", *words, "--epochs", 1, "--out", "r").exit_code == 0
    for more in (["--image-size", "12"], ["--grey"]):
        assert "cannot change" in fails(2, "train", "--resume", "r", *more)
    assert run("train", "--resume", "r", "--epochs", 2, "--quiet").exit_code == 0
    same_parameters("whole/model.safetensors", "r/model.safetensors")


# -- one split for all -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["shapes", "alone.npz"])
def judged(request, run, folder, npz):
    """A run "r" with a seed of its own on data without a test set; its test pictures and labels."""
    words = FIT if request.param == "shapes" else []
    assert run("train", "--dataset", request.param, *words, *QUICK, "--seed", SEED).exit_code == 0
    more = {"image_size": (12, 16), "colour": False}
    data = load_dataset(request.param, seed=SEED, **more)
    other = load_dataset(request.param, seed=0, **more)
    assert not np.array_equal(data.x_test, other.x_test)  # so that the seed can be seen
    return data


def test_evaluate_judges_the_runs_own_test_pictures(run, judged):
    right, loss = by_hand(judged.x_test, judged.t_test)
    for source in ("r", "r/model.safetensors", "r/last.ckpt"):
        result = run("evaluate", source, "--json")
        assert result.exit_code == 0, result.output
        figures = json.loads(result.stdout)
        assert figures["right"] == right
        assert figures["count"] == len(judged.x_test)
        assert figures["loss"] == pytest.approx(loss, rel=1e-5)  # float32 scores, in batches of another size
    # What training itself found, on the pictures that it held out.
    with open("r/metrics.jsonl", encoding="utf-8") as file:
        row = json.loads(file.read().splitlines()[-1])
    assert row["test_acc"] == pytest.approx(right / len(judged.x_test))
    assert row["test_loss"] == pytest.approx(loss, rel=1e-5)


def test_plot_judges_the_same(run, judged, monkeypatch):
    seen = {}
    real = xpcnn.plots.plot_mistakes

    def watched(*args, **kwargs):
        seen["x"], seen["t"] = args[:2]
        return real(*args, **kwargs)

    monkeypatch.setattr(xpcnn.plots, "plot_mistakes", watched)
    assert run("plot", "mistakes", "r").exit_code == 0
    np.testing.assert_array_equal(seen["x"], judged.x_test)
    np.testing.assert_array_equal(seen["t"], judged.t_test)


def test_a_parameter_file_brings_pictures_to_what_its_network_takes(run, folder, tmp_path):
    assert run("train", "--dataset", folder, *FIT, *QUICK).exit_code == 0
    (tmp_path / "r" / "model.safetensors").rename(tmp_path / "alone.safetensors")
    data = load_dataset(folder, image_size=(12, 16), colour=False)
    figures = json.loads(run("evaluate", "alone.safetensors", "--dataset", folder, "--json").stdout)
    right, loss = by_hand(data.x_test, data.t_test, "alone.safetensors")
    assert figures["right"] == right
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)


def test_another_data_set_is_not_looked_for_by_the_runs_size(run, folder, npz, fails):
    assert run("train", "--dataset", folder, *FIT, *QUICK).exit_code == 0
    assert "(N, 1, 12, 16)" in fails(2, "evaluate", "r", "--dataset", npz)


# -- predicting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [FIT, ["--image-size", "12", "--colour"]])
def test_predict_sees_what_training_saw(run, folder, words):
    """Dark ink on light paper and other proportions than the network's: neither is to be mended."""
    with open("c.toml", "w", encoding="utf-8") as file:
        file.write('[model]\nweight_init_std = "he"\n')  # scores that differ from the first step on
    assert run("train", "--config", "c.toml", "--dataset", folder, *words, *QUICK, "--seed", SEED).exit_code == 0
    data = load_run_data(run_config(folder.parent / "r"))
    kept, held_out = stratified_split(np.repeat(np.arange(3), 15), SEED)
    x = np.empty((45, *data.image_shape), np.uint8)
    x[kept], x[held_out] = data.x_train, data.x_test
    scores = np.asarray(load_model("r").predict(as_float(x)), np.float64)
    want = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    found = json.loads(run("predict", "r", *sorted(folder.glob("*/*.png")), "--json").stdout)
    got = np.array([[e["probability"] for e in sorted(item["top"], key=lambda e: e["label"])] for item in found])
    np.testing.assert_allclose(got, want, rtol=1e-4)  # float32 scores, in batches of another size
    assert np.abs(want - want[0]).max() > 0.1  # the network does tell pictures apart
    turned = json.loads(run("predict", "r", folder / "high" / "00.png", "--json", "--invert", "yes").stdout)
    assert turned[0]["top"] != found[0]["top"]


def test_plot_shows_the_picture_that_training_saw(run, folder, monkeypatch):
    assert run("train", "--dataset", folder, *FIT, *QUICK, "--seed", SEED).exit_code == 0
    data = load_run_data(run_config(folder.parent / "r"))
    first = stratified_split(np.repeat(np.arange(3), 15), SEED)[0][0]
    seen = []
    real = xpcnn.plots.plot_activations
    monkeypatch.setattr(xpcnn.plots, "plot_activations", lambda x, *args, **kw: seen.append(x) or real(x, *args, **kw))
    path = sorted(folder.glob("*/*.png"))[first]
    assert run("plot", "activations", "r", "--picture", path).exit_code == 0
    np.testing.assert_array_equal(seen[0], as_float(data.x_train[0]))


# -- the words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "want"), [(None, None), ("64", (64, 64)), (64, (64, 64)), ("48x64", (48, 64)), (" 48X64 ", (48, 64))]
)
def test_image_size(text, want):
    assert image_size(text) == want


@pytest.mark.parametrize("text", ["", "0", "0x4", "4x", "x4", "3x4x5", "-4", "1.5", 1.5, True, [4, 4], "²", "a", "٤"])
def test_image_size_refuses(text):
    with pytest.raises(ConfigError, match="--image-size is a side such as 64 or height and width such as 48x64, got"):
        image_size(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [('colour = "yes"', "colour is true or false"), ("colour = 1", "colour is true"), ("image_size = [1]", "a side")],
)
def test_a_configuration_that_will_not_do(fails, folder, line, message):
    with open("c.toml", "w", encoding="utf-8") as file:
        file.write(f'[data]\nname = "shapes"\n{line}\n')
    assert message in fails(2, "train", "--config", "c.toml", *QUICK)
