"""Networks from what a run left behind, models by name, and the book's published parameters."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpcnn.data.dataset import Dataset, as_float
from xpcnn.data.places import DataMissingError
from xpcnn.data.registry import load_dataset
from xpcnn.device import Device
from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.formats import load_arrays, save_arrays
from xpcnn.models import MODELS, AlexNet, DeepConvNet, LeNet5, SimpleConvNet, make_model
from xpcnn.models.files import find_parameters, load_model
from xpcnn.training.checkpoint import save_checkpoint
from xpcnn.training.trainer import Trainer


def _net(**options: Any) -> SimpleConvNet:
    return SimpleConvNet((1, 8, 8), {"filter_num": 2, "filter_size": 3}, 5, 3, "he", **{"seed": 0, **options})


def _assert_same(net: Any, other: Any) -> None:
    assert type(net) is type(other)
    assert list(net.arrays()) == list(other.arrays())
    for name, a in net.arrays().items():
        np.testing.assert_array_equal(a, other.arrays()[name])


# ----------------------------------------------------------------------------------------------------- models by name
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("simple", SimpleConvNet),
        ("DEEP", DeepConvNet),
        ("LeNet5", LeNet5),
        ("alexnet", AlexNet),
        ("SimpleConvNet", SimpleConvNet),
    ],
)
def test_models_by_name(name: str, kind: type) -> None:
    options = {"input_dim": (1, 28, 28)} if kind is AlexNet else {}
    net = make_model(name, output_size=4, seed=0, **options)
    assert type(net) is kind
    assert net.output_shape == (4,)
    assert MODELS[net.config["model"]] is kind


def test_more_arguments_win_over_the_config() -> None:
    config = _net().config
    kept = dict(config)
    net = make_model(config, output_size=7, seed=1)
    assert (net.output_shape, net.input_shape) == ((7,), (1, 8, 8))
    assert config == kept


def test_models_that_are_none() -> None:
    with pytest.raises(ConfigError, match="no model is called 'resnet9000'; there are simple, deep, lenet5, alexnet"):
        make_model("resnet9000")
    with pytest.raises(ConfigError, match="no model is called ''"):
        make_model({})
    with pytest.raises(ConfigError, match="model 'simple': .*'colour'"):
        make_model("simple", colour=1)


# ------------------------------------------------------------------------------------------------- files and folders
def test_a_safetensors_file_says_which_model_it_is(tmp_path: Path, device: Device) -> None:
    net = _net()
    net.save_params(tmp_path / "model.safetensors")
    _assert_same(load_model(tmp_path / "model.safetensors"), net)
    _assert_same(load_model(tmp_path), net)  # the run folder
    loaded = load_model(str(tmp_path), device=device)
    assert loaded.device == device
    assert load_model(tmp_path, dtype="float64").params["W1"].dtype == np.float64


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_other_files_need_the_name_or_a_config_beside_them(tmp_path: Path, suffix: str) -> None:
    net = _net()
    path = tmp_path / f"weights{suffix}"
    net.save_params(path)
    with pytest.raises(ConfigError, match='does not say which model .* name it, such as model="simple"'):
        load_model(path)
    options = {key: value for key, value in net.config.items() if key != "model"}
    _assert_same(load_model(path, "simple", **options), net)
    (tmp_path / "config.toml").write_text(
        '[model]\nmodel = "simple"\ninput_dim = [1, 8, 8]\nhidden_size = 5\noutput_size = 3\n'
        "[model.conv_param]\nfilter_num = 2\nfilter_size = 3\n"
    )
    _assert_same(load_model(path), net)


def test_a_checkpoint(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, t = random.standard_normal((12, 1, 8, 8)).astype(np.float32), random.integers(0, 3, 12)
    trainer = Trainer(_net(), x, t, epochs=1, mini_batch_size=5, optimizer="adam", optimizer_param={}, verbose=False)
    trainer.train()
    save_checkpoint(tmp_path / "last.ckpt", trainer)
    _assert_same(load_model(tmp_path / "last.ckpt"), trainer.network)
    _assert_same(load_model(tmp_path), trainer.network)
    trainer.network.params["b3"][0] = 9.0
    trainer.network.save_params(tmp_path / "model.safetensors")
    assert load_model(tmp_path).params["b3"][0] == 9.0  # comes before last.ckpt


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds neither model.safetensors nor last.ckpt"):
        find_parameters(tmp_path)
    assert find_parameters(tmp_path / "x.npz") == tmp_path / "x.npz"
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_model(tmp_path / "x.npz", "simple")
    (tmp_path / "bad.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_model(tmp_path / "bad.ckpt")
    save_arrays(tmp_path / "plain.ckpt.safetensors", {"a": np.zeros(1)})
    (tmp_path / "plain.ckpt.safetensors").rename(tmp_path / "plain.ckpt")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_model(tmp_path / "plain.ckpt")
    for words in ("{", "[1, 2]"):
        save_arrays(tmp_path / "odd.safetensors", {"a": np.zeros(1)}, {"model": words})
        with pytest.raises((CheckpointError, ConfigError), match=r"not JSON|not a table"):
            load_model(tmp_path / "odd.safetensors")
    _net().save_params(tmp_path / "good.safetensors")
    with pytest.raises(CheckpointError, match=r"W2: the network has \(4320, 100\), the file \(18, 5\)"):
        load_model(tmp_path / "good.safetensors", "simple", input_dim=(1, 28, 28), conv_param=None, hidden_size=100)
    with pytest.raises(CheckpointError, match="W8: missing in the file"):
        load_model(tmp_path / "good.safetensors", "deep")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hidden_size": 10**9}, "more than the file has"),
        ({"output_size": 10**12}, "more than the file has"),
        ({"hidden_size": [1, 2]}, "whole numbers"),
        ({"hidden_size": -5}, "."),
        ({"conv_param": {"filter_num": 10**9}}, "more than the file has"),
        ({"model": "quick", "depth": 10**9}, "."),
        ({"model": {"a": 1}}, "no model is called"),
        ({"weight_init_std": 1e308}, "initial weight is 1e[+]308"),  # drawn, it would overflow
        ({"\x1b[2J": 1}, r"unexpected keyword argument ' \[2J'"),
    ],
)
def test_a_description_made_on_purpose(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """It can ask for any size; memory is taken for no more parameters than the file itself has."""
    net = _net()
    save_arrays(tmp_path / "a.safetensors", dict(net.arrays()), {"model": json.dumps({**net.config, **change})})
    tracemalloc.start()
    try:
        with pytest.raises((CheckpointError, ConfigError), match=reason):
            load_model(tmp_path / "a.safetensors")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


# ------------------------------------------------------------------------------------- the book's published parameters
@pytest.fixture(scope="module")
def book() -> Path:
    folder = Path(os.environ.get("XPCNN_BOOK", ""))
    if not (folder / "simple_convnet_params.pkl").is_file():
        pytest.skip("the book's parameters are not here: set XPCNN_BOOK to the folder that has them")
    return folder


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    try:
        return load_dataset("mnist", download=False, on_message=pytest.skip)
    except DataMissingError:
        pytest.skip("no MNIST here: set XPCNN_DATA to a folder that has it")


@pytest.mark.parametrize(
    ("file", "options", "right", "loss"),
    [
        ("simple_convnet_params.pkl", {"model": "simple"}, 9_890, 0.052346),
        ("deep_convnet_params.pkl", {"model": "deep"}, 9_938, 0.026100),
        ("deep_convnet_params.pkl", {"model": "deep", "dropout": "book"}, 9_935, 0.082257),
    ],
    ids=["simple", "deep", "deep-book-dropout"],
)
def test_the_books_published_parameters(
    book: Path, mnist: Dataset, file: str, options: dict[str, Any], right: int, loss: float
) -> None:
    net = load_model(book / file, **options)
    assert {a.dtype.name for a in net.params.values()} == {"float32"}
    for name, a in load_arrays(book / file).items():
        np.testing.assert_array_equal(net.params[name], a.astype(np.float32))
    mean, share = net.evaluate(as_float(mnist.x_test), mnist.t_test)
    assert round(share * 10_000) == right
    assert f"{mean:.6f}" == f"{loss:.6f}"
