import json
import math

import numpy as np
import pytest

from xpcnn.data.dataset import as_float
from xpcnn.formats import load_arrays
from xpcnn.models import SimpleConvNet


@pytest.fixture
def trained(run, tiny):
    """The run folder "r" of a network that is right about some of tiny.npz's test pictures."""
    words = [
        "train",
        "--dataset",
        "tiny.npz",
        "--epochs",
        "1",
        "--batch-size",
        "25",
        "--lr",
        "0.0003",
        "--out",
        "r",
        "--quiet",
    ]
    assert run(*words).exit_code == 0
    return tiny


def by_hand(tiny, path="r/model.safetensors"):
    """(right, mean loss) of the parameters in a file, with softmax and logarithm in plain Python."""
    network = SimpleConvNet((1, 8, 8), output_size=3, seed=0)
    network.load_params(path)
    scores = network.predict(as_float(tiny["x_test"])[:, None]).astype(np.float64)
    losses = [math.log(sum(math.exp(v - s[k]) for v in s)) for s, k in zip(scores, tiny["t_test"], strict=True)]
    return int((scores.argmax(axis=1) == tiny["t_test"]).sum()), float(np.mean(losses))


def test_the_case_is_not_trivial(trained):
    assert 0 < by_hand(trained)[0] < 20


@pytest.mark.parametrize("source", ["r", "r/model.safetensors", "r/last.ckpt", "r/best.ckpt"])
@pytest.mark.parametrize("batch", [100, 7])
def test_right_total_and_loss(run, trained, source, batch):
    right, loss = by_hand(trained)
    result = run("evaluate", source, "--batch-size", batch)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith(f"tiny: {right} of 20 test pictures right ({right / 20:.2%}), mean loss ")
    # The loss is printed to six places; float32 scores are right to about 1e-7.
    assert float(result.stdout.split()[-1]) == pytest.approx(loss, abs=2e-6)


def test_json(run, trained):
    right, loss = by_hand(trained)
    result = run("evaluate", "r", "--json")
    figures = json.loads(result.stdout)
    assert figures.pop("loss") == pytest.approx(loss, abs=2e-6)
    assert figures == {"dataset": "tiny", "count": 20, "right": right}


def test_double_precision_counts_the_same(run, trained):
    right, loss = by_hand(trained)
    figures = json.loads(run("evaluate", "r", "--json", "--dtype", "float64").stdout)
    assert figures["right"] == right
    assert figures["loss"] == pytest.approx(loss, abs=2e-6)


def test_another_data_set(run, trained):
    np.savez("other.npz", **{**trained, "x_test": trained["x_train"], "t_test": trained["t_train"]})
    result = run("evaluate", "r", "--dataset", "other.npz")
    assert result.stdout.startswith("other: ")
    assert " of 60 test pictures" in result.stdout


def test_a_parameter_file_of_another_format(run, trained):
    arrays = load_arrays("r/model.safetensors")
    np.savez("r/copy.npz", **arrays)  # beside config.toml, which says what model it is
    assert run("evaluate", "r/copy.npz").stdout == run("evaluate", "r").stdout


def test_mnist_is_found_by_data_dir(run, tiny_mnist):
    words = ["--epochs", 1, "--batch-size", 10, "--out", "r", "--quiet"]
    assert run("train", "--data-dir", tiny_mnist, *words).exit_code == 0
    assert " of 10 test pictures right" in run("evaluate", "r").stdout  # the run knows where
    assert " of 10 test pictures right" in run("evaluate", "r", "--data-dir", tiny_mnist).stdout


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nothing"], "no such file"),
        (["nothing.ckpt"], "no such file"),
        (["cache"], "neither model.safetensors nor last.ckpt"),
        (["r", "--dataset", "nothing.npz"], "nothing.npz"),
        (["r", "--dataset", "damaged.npz"], "damaged.npz"),
        (["r", "--batch-size", "0"], "--batch-size is at least 1, got 0"),
        (["r", "--device", "tpu"], "tpu"),
        (["r", "--dtype", "int8"], "int8"),
        (["r", "--dtype", "word"], "word"),
        (["r", "--dropout", "book"], "dropout"),
        (["damaged.ckpt"], "damaged.ckpt"),
        (["damaged.safetensors"], "damaged.safetensors"),
        (["alone.npz"], "name it"),
        (["alone.npz", "--model", "perceptron"], "perceptron"),
        (["r/model.txt"], ".txt"),
    ],
)
def test_bad_input_is_one_line_and_code_2(fails, trained, words, part):
    arrays = load_arrays("r/model.safetensors")
    np.savez("alone.npz", **arrays)
    for name in ("damaged.ckpt", "damaged.safetensors", "damaged.npz", "r/model.txt"):
        with open(name, "wb") as file:
            file.write(b"nothing that anyone could read")
    assert part in fails(2, "evaluate", *words)


def test_pictures_of_another_size(fails, trained):
    x = np.zeros((6, 9, 9), np.uint8)
    np.savez("large.npz", x_train=x, t_train=np.arange(6) % 3, x_test=x, t_test=np.arange(6) % 3)
    line = fails(2, "evaluate", "r", "--dataset", "large.npz")
    assert "(N, 1, 8, 8)" in line
    assert "(6, 1, 9, 9)" in line


def test_parameters_of_another_model_name_the_arrays(run, trained):
    result = run("evaluate", "r", "--model", "lenet5")
    assert result.exit_code == 2
    assert "does not fit this network" in result.stderr
    assert "W1" in result.stderr


@pytest.mark.parametrize("text", ["[data", "[data]\nname = 5", "[data]\ndir = 5"])
def test_a_damaged_configuration(fails, trained, text):
    with open("r/config.toml", "w") as file:
        file.write(text)
    assert "config.toml" in fails(2, "evaluate", "r")
