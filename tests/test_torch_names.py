"""Parameters by PyTorch's names, without PyTorch: names, views, what a file may have beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.formats import load_arrays, save_arrays
from xpcnn.layers import Affine, Projection, affine, conv, prelu
from xpcnn.models import DenseNet, SimpleConvNet
from xpcnn.network import Network, Sequential
from xpcnn.torch_names import in_torch_names, torch_arrays, without_extras


def _net(device: Device | str = "cpu") -> Network:
    layers = [("features.0", conv(3, 3)), ("features.1", "batch_norm"), ("act", prelu()), ("fc", affine(4))]
    return Sequential(layers, (2, 6, 5), seed=0, device=device)


def _values(device: Device | str = "cpu") -> dict[str, np.ndarray]:
    """Arrays of their own for every name of `_net`, each element another number."""
    random = np.random.default_rng(3)
    names = {name: a.shape for name, a in _net(device).arrays("torch").items()}
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in names.items()}


def test_names_and_shapes() -> None:
    assert {name: a.shape for name, a in _net().arrays("torch").items()} == {
        "features.0.weight": (3, 2, 3, 3),
        "features.0.bias": (3,),
        "features.1.weight": (3,),
        "features.1.bias": (3,),
        "features.1.running_mean": (3,),
        "features.1.running_var": (3,),
        "act.weight": (3,),
        "fc.weight": (4, 36),
        "fc.bias": (4,),
    }


def test_what_is_read_reaches_the_layers(device: Device, tmp_path: Path) -> None:
    net, values = _net(device), _values(device)
    save_arrays(tmp_path / "a.safetensors", {**values, "features.1.num_batches_tracked": np.array(9)})
    held = dict(net.params)
    net.load_params(tmp_path / "a.safetensors")
    got = {name: asnumpy(a) for name, a in net.arrays().items()}
    np.testing.assert_array_equal(got["features.0.W"], values["features.0.weight"])
    np.testing.assert_array_equal(got["features.1.gamma"], values["features.1.weight"])
    np.testing.assert_array_equal(got["features.1.beta"], values["features.1.bias"])
    np.testing.assert_array_equal(got["features.1.running_var"], values["features.1.running_var"])
    np.testing.assert_array_equal(got["act.slope"].ravel(), values["act.weight"])
    np.testing.assert_array_equal(got["fc.W"], values["fc.weight"].T)
    assert all(net.params[name] is a for name, a in held.items())  # written into, not replaced

    net.save_params(tmp_path / "b.safetensors", names="torch")
    saved = load_arrays(tmp_path / "b.safetensors")
    assert saved.keys() == values.keys()
    for name, a in values.items():
        np.testing.assert_array_equal(saved[name], a)


def test_the_books_networks_too(tmp_path: Path) -> None:
    options = {"conv_param": {"filter_num": 2, "filter_size": 3}, "hidden_size": 5, "output_size": 3}
    net, other = (SimpleConvNet((1, 8, 8), **options, seed=seed) for seed in (0, 1))  # type: ignore[arg-type]
    net.save_params(tmp_path / "a.npz", names="torch")
    assert "Affine1.weight" in load_arrays(tmp_path / "a.npz")
    other.load_params(tmp_path / "a.npz")
    for name, a in net.params.items():
        np.testing.assert_array_equal(other.params[name], a)


def test_a_layer_at_two_places_is_there_once() -> None:
    shared = Affine(np.eye(3, dtype=np.float32), None)
    net = Network([("a", shared), ("b", shared)], (3,), seed=0)
    assert list(torch_arrays(net.nodes)) == ["a.weight"]


def test_a_projection_is_turned_as_an_affine_layer_is() -> None:
    W = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    net = Network([("a", Projection(W)), ("b", Projection(W[:, :2], left=True)), ("c", "flatten")], (2, 2), seed=0)
    arrays = net.arrays("torch")
    np.testing.assert_array_equal(arrays["a.weight"], W.T)
    np.testing.assert_array_equal(arrays["b.weight"], W[:, :2])  # no such thing there


@pytest.mark.parametrize(
    ("found", "torchs"),
    [
        (["fc.weight", "fc.bias"], True),
        (["bn.weight", "bn.running_mean", "bn.num_batches_tracked"], True),
        (["fc.W", "fc.b"], False),
        (["fc.W", "weight.weight"], False),  # one of ours is among them
        (["fc.bias"], False),
        ([], False),
    ],
)
def test_which_names_are_pytorchs(found: list[str], torchs: bool) -> None:
    assert in_torch_names(found, ["fc.W", "fc.b"]) is torchs


def test_what_a_file_has_beside_them() -> None:
    zero = np.zeros(1)
    wanted = ["a.denselayer12.norm1.weight", "a.denselayer12.conv2.weight", "norm0.weight", "aux1.weight"]
    older = ["a.denselayer12.norm.1.weight", "a.denselayer12.conv.2.weight", "norm0.weight", "aux1.weight"]
    more = ["norm0.num_batches_tracked", "aux2.fc1.weight", "other.weight"]
    found = without_extras(dict.fromkeys([*older, *more], zero), wanted)
    assert list(found) == [*wanted, "other.weight"]  # what is not known is told of, not dropped
    assert list(without_extras(dict.fromkeys(wanted, zero), wanted)) == wanted
    assert list(without_extras({"a.denselayer1.0.weight": zero}, ["a.denselayer10.weight"])) == [
        "a.denselayer1.0.weight"
    ]


def test_every_name_of_a_dense_net_has_its_older_one_or_none() -> None:
    net = DenseNet(121, (3, 32, 32), 5, seed=0)
    names = list(net.arrays("torch"))
    older = {name: name.replace("norm1", "norm.1").replace("norm2", "norm.2") for name in names}
    older = {name: old.replace("conv1", "conv.1").replace("conv2", "conv.2") for name, old in older.items()}
    assert sum(name != old for name, old in older.items()) == 58 * (4 + 1 + 4 + 1)
    assert list(without_extras({old: np.zeros(1) for old in older.values()}, names)) == names


def test_errors(tmp_path: Path) -> None:
    net, values = _net(), _values()
    values["fc.weight"] = values["fc.weight"].T
    del values["features.1.running_var"]
    before = net.params["features.0.W"].copy()
    with pytest.raises(CheckpointError) as error:
        net.load_arrays(values, "a file")
    assert "fc.weight: the network has (4, 36), the file (36, 4)" in str(error.value)
    assert "features.1.running_var: missing in the file" in str(error.value)
    np.testing.assert_array_equal(net.params["features.0.W"], before)
    with pytest.raises(ConfigError, match="names is one of xpcnn, torch, got 'jax'"):
        net.save_params(tmp_path / "a.npz", names="jax")
