"""Weights to and from PyTorch: state_dicts of torchvision's architectures in our models, and ours in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.layers import affine, conv, prelu
from xpcnn.models import MODELS, ResNet, make_model
from xpcnn.models.files import load_model
from xpcnn.network import Network, Sequential

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

from safetensors.torch import load_file, save_file  # noqa: E402  (needs torch)

from tests.parity import torch_modules as theirs  # noqa: E402

nn = torch.nn

# float64 on both sides: a hundred layers of sums of some thousand terms, in different orders.
_TOLERANCE = 1e-10

# Name, our arguments, PyTorch's module: 64x64 pictures and seven classes where the architecture leaves the choice.
_CASES: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "vgg11": ({"variant": "small"}, lambda: theirs.vgg(11, classes=7, small=True)),
    "vgg11_bn": ({"variant": "small"}, lambda: theirs.vgg(11, True, 7, small=True)),
    "resnet18": ({}, lambda: theirs.ResNet(18, 7)),
    "resnet50": ({}, lambda: theirs.ResNet(50, 7)),
    "squeezenet1_0": ({}, lambda: theirs.SqueezeNet("1_0", 7)),
    "squeezenet1_1": ({}, lambda: theirs.SqueezeNet("1_1", 7)),
    "densenet121": ({}, lambda: theirs.DenseNet(121, 7)),
    "googlenet": ({}, lambda: theirs.GoogLeNet(7)),
    "mobilenet_v2": ({}, lambda: theirs.MobileNetV2(7)),
    "shufflenet_v2_x1_0": ({}, lambda: theirs.ShuffleNetV2("1_0", 7)),
}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """First weights are zeros here, since all come from files; drawing them would take most of the time."""
    monkeypatch.setattr("xpcnn.graph.initial_weight", lambda shape, *rest: np.zeros(shape, rest[-1]))


def _ours(name: str) -> Network:
    options = _CASES[name][0]
    side = 32 if options.get("variant") == "small" else 64
    return make_model(name, input_dim=(3, side, side), output_size=7, seed=0, dtype="float64", **options)


def _lively(module: Any, seed: int = 0) -> Any:
    """`module` at test time, in float64, with biases, scales and running statistics that are all different."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for name, a in module.state_dict().items():
            word = name.rpartition(".")[2]
            if word == "num_batches_tracked":
                a.fill_(17)
            elif a.ndim > 1:  # He's: what goes through a hundred layers keeps its size
                a.normal_(0.0, (2.0 / a[0].numel()) ** 0.5, generator=generator)
            elif word in ("weight", "running_var"):
                a.uniform_(0.5, 1.5, generator=generator)
            else:
                a.normal_(0.0, 0.1, generator=generator)
    return module


def _scores(module: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module(torch.tensor(x)).numpy()


def _assert_same_scores(net: Network, module: Any) -> None:
    x = np.random.default_rng(1).standard_normal((2, *net.input_shape))
    want, got = _scores(module, x), net.predict(x)
    size = np.abs(want).max()
    assert np.abs(want[0] - want[1]).max() > 1e-3 * size > 0.0  # the pictures matter
    np.testing.assert_allclose(got, want, rtol=0.0, atol=_TOLERANCE * size)


@pytest.mark.parametrize("name", _CASES)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    net, module = _ours(name), _lively(_CASES[name][1]())
    save_file(module.state_dict(), tmp_path / "theirs.safetensors")
    net.load_params(tmp_path / "theirs.safetensors")
    _assert_same_scores(net, module)

    net.save_params(tmp_path / "ours.safetensors", names="torch")
    again = _CASES[name][1]().double().eval()
    state = load_file(tmp_path / "ours.safetensors")
    again.load_state_dict(state, strict=True)  # which does without num_batches_tracked
    for key, a in again.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(a, module.state_dict()[key]), key


@pytest.mark.parametrize("name", theirs.MODULES)
def test_published_names_and_shapes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # All weights of ours are views of one zero, all of theirs are on a device without memory.
    monkeypatch.setattr("xpcnn.graph.initial_weight", lambda shape, *_: np.broadcast_to(np.float32(0.0), shape))
    with torch.device("meta"):
        module = theirs.MODULES[name]()
    want = {key: tuple(a.shape) for key, a in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert {key: a.shape for key, a in make_model(name).arrays("torch").items()} == want


def test_every_published_network_of_torchvision_is_compared() -> None:
    without = {"simple", "deep", "lenet5", "alexnet", "quick", *(f"resnet{n}" for n in (20, 32, 44, 56, 110))}
    assert set(MODELS) - set(theirs.MODULES) == without


def test_older_names_of_a_dense_net(tmp_path: Path) -> None:
    net, module = _ours("densenet121"), _lively(theirs.DenseNet(121, 7))
    state = {}
    for name, a in module.state_dict().items():
        for word in ("norm1", "norm2", "conv1", "conv2"):
            name = name.replace(f".{word}.", f".{word[:-1]}.{word[-1]}.") if "denselayer" in name else name
        state[name] = a
    assert "features.denseblock2.denselayer12.norm.1.running_var" in state
    assert "features.norm5.weight" in state
    save_file(state, tmp_path / "old.safetensors")
    net.load_params(tmp_path / "old.safetensors")
    _assert_same_scores(net, module)


def test_heads_for_training_are_left_out(tmp_path: Path) -> None:
    net, module = _ours("googlenet"), _lively(theirs.GoogLeNet(7))
    state = {**module.state_dict(), "aux1.fc2.weight": torch.ones(3, 2), "aux2.conv.bn.running_var": torch.ones(3)}
    save_file(state, tmp_path / "theirs.safetensors")
    net.load_params(tmp_path / "theirs.safetensors")
    _assert_same_scores(net, module)


def test_a_picture_is_flattened_in_the_same_order(tmp_path: Path) -> None:
    layers = [("0", conv(4, 3)), ("1", prelu()), ("3", affine(5))]
    net = Sequential(layers, (2, 7, 6), seed=0, dtype="float64")
    module = _lively(nn.Sequential(nn.Conv2d(2, 4, 3), nn.PReLU(4), nn.Flatten(), nn.Linear(80, 5)))
    save_file(module.state_dict(), tmp_path / "a.safetensors")
    net.load_params(tmp_path / "a.safetensors")
    _assert_same_scores(net, module)


def test_a_model_is_made_for_a_file(tmp_path: Path) -> None:
    module = _lively(theirs.SqueezeNet("1_1", 7)).float()
    save_file(module.state_dict(), tmp_path / "theirs.safetensors")
    net = load_model(tmp_path / "theirs.safetensors", "squeezenet1_1", input_dim=(3, 64, 64), output_size=7)
    np.testing.assert_array_equal(net.params["classifier.1.b"], module.classifier[1].bias.detach().numpy())
    assert net.dtype == np.float32
    net.save_params(tmp_path / "ours.safetensors", names="torch")
    again = load_model(tmp_path / "ours.safetensors")  # this one says which model it is
    assert again.config == net.config
    for name, a in net.params.items():
        np.testing.assert_array_equal(again.params[name], a)


def test_what_does_not_fit_is_told_by_its_name_in_the_file(tmp_path: Path) -> None:
    net = ResNet(18, (3, 64, 64), 5, seed=0)
    before = net.params["conv1.W"].copy()
    state = theirs.ResNet(18, 7).state_dict()
    del state["layer1.0.conv2.weight"]
    save_file({**state, "extra.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError) as error:
        net.load_params(tmp_path / "a.safetensors")
    for words in (
        "fc.weight: the network has (5, 512), the file (7, 512)",
        "layer1.0.conv2.weight: missing in the file",
        "extra.weight: not in the network",
    ):
        assert words in str(error.value)
    assert "num_batches" not in str(error.value)
    np.testing.assert_array_equal(net.params["conv1.W"], before)
    # All but the scores: what one does before teaching it other classes.
    trunk = {name: a.numpy() for name, a in state.items() if not name.startswith("fc.")}
    net.load_arrays(trunk, partial=True)
    np.testing.assert_array_equal(net.params["conv1.W"], trunk["conv1.weight"])
    with pytest.raises(ConfigError, match="names is one of xpcnn, torch, got 'keras'"):
        net.save_params(tmp_path / "b.safetensors", names="keras")
