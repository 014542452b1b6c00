"""The networks out of papers: published counts, sizes, variants, gradients, and making them again."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.graph import at_most
from xpcnn.models import MODELS, VGG, CifarResNet, DenseNet, ResNet, ShuffleNetV2, SqueezeNet, make_model
from xpcnn.network import Network

# torchvision documents these as num_params; those of resnet20 to resnet110 are 0.27, 0.46, 0.66, 0.85 and 1.7 million
# in the paper's table 6, and exact by hand in test_the_smallest_by_hand.
COUNTS = {
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "googlenet": 6_624_904,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "shufflenet_v2_x0_5": 1_366_792,
    "shufflenet_v2_x1_0": 2_278_604,
    "shufflenet_v2_x1_5": 3_503_624,
    "shufflenet_v2_x2_0": 7_393_996,
    "mobilenet_v2": 3_504_872,
}
_OLDER = {"simple", "deep", "lenet5", "alexnet", "quick"}  # with tests of their own
_FAMILIES = [
    "vgg11", "vgg11_bn", "resnet18", "resnet50", "resnet20", "googlenet", "squeezenet1_0", "squeezenet1_1",
    "densenet121", "shufflenet_v2_x1_0", "mobilenet_v2",
]  # fmt: skip


@pytest.fixture
def weightless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks made from here on have weights of the right shapes that are all views of one zero: VGG in no memory."""
    monkeypatch.setattr("xpcnn.graph.initial_weight", lambda shape, *_: np.broadcast_to(np.float32(0.0), shape))


def _count(net: Network) -> int:
    return sum(a.size for a in net.params.values())


# ------------------------------------------------------------------------------------------------ counts and sizes
@pytest.mark.parametrize("name", COUNTS)
def test_published_count(name: str, weightless: None) -> None:
    net = make_model(name)
    assert _count(net) == COUNTS[name]
    assert f"{COUNTS[name]:,} parameters" in net.summary()
    assert net.config["model"] == name


def test_every_model_is_counted() -> None:
    assert set(COUNTS) | _OLDER == set(MODELS)


def test_the_documentation_has_the_same_counts() -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text, re.MULTILINE)
    assert {name: int(count.replace(",", "")) for name, count in rows} == COUNTS
    assert all(f"| `{name}` |" in text for name in MODELS)


def test_the_smallest_by_hand() -> None:
    def stage(C: int, width: int, convolutions: int) -> int:
        return 9 * C * width + (convolutions - 1) * 9 * width**2 + convolutions * 2 * width

    want = 9 * 3 * 16 + 2 * 16 + stage(16, 16, 6) + stage(16, 32, 6) + stage(32, 64, 6) + 64 * 10 + 10
    assert _count(CifarResNet(20, seed=0)) == want == COUNTS["resnet20"]


# Where the paper's own table of layers gives the sizes of what they give: (C, H, W) at 224x224 pixels.
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("vgg16", {"features.4": (64, 112, 112), "features.9": (128, 56, 56), "features.30": (512, 7, 7)}),
        ("resnet18", {"conv1": (64, 112, 112), "layer1.1": (64, 56, 56), "layer4.1": (512, 7, 7)}),
        ("resnet50", {"layer1.0": (256, 56, 56), "layer2.3": (512, 28, 28), "layer4.2": (2048, 7, 7)}),
        ("resnet20", {"layer1.2": (16, 32, 32), "layer2.2": (32, 16, 16), "layer3.2": (64, 8, 8)}),
        (
            "googlenet",
            {
                "conv1.relu": (64, 112, 112),
                "maxpool1": (64, 56, 56),
                "maxpool2": (192, 28, 28),
                "inception3a": (256, 28, 28),
                "inception3b": (480, 28, 28),
                "inception4e": (832, 14, 14),
                "inception5b": (1024, 7, 7),
            },
        ),
        ("squeezenet1_0", {"features.5": (256, 54, 54), "features.9": (384, 27, 27), "features.12": (512, 13, 13)}),
        (
            "densenet121",
            {
                "features.pool0": (64, 56, 56),
                "features.denseblock1.denselayer6": (256, 56, 56),
                "features.transition1.pool": (128, 28, 28),
                "features.norm5": (1024, 7, 7),
            },
        ),
        ("shufflenet_v2_x1_0", {"maxpool": (24, 56, 56), "stage2.3": (116, 28, 28), "stage4.3": (464, 7, 7)}),
        (
            "mobilenet_v2",
            {"features.1.conv.2": (16, 112, 112), "features.3.add": (24, 56, 56), "features.18.2": (1280, 7, 7)},
        ),
    ],
)
def test_the_papers_sizes(name: str, sizes: dict[str, tuple[int, int, int]], weightless: None) -> None:
    nodes = make_model(name).nodes
    assert {layer: nodes[layer].shape for layer in sizes} == sizes


@pytest.mark.parametrize(
    ("name", "last", "shape"),
    [
        ("vgg16", "features.30", (512, 1, 1)),
        ("resnet18", "layer4.1", (512, 4, 4)),
        ("resnet20", "layer3.2", (64, 7, 7)),
        ("googlenet", "inception5b", (1024, 7, 7)),
        ("squeezenet1_0", "features.12", (512, 7, 7)),
        ("squeezenet1_1", "features.12", (512, 7, 7)),
        ("densenet121", "features.norm5", (1024, 3, 3)),
        ("shufflenet_v2_x1_0", "stage4.3", (464, 4, 4)),
        ("mobilenet_v2", "features.18.2", (1280, 4, 4)),
    ],
)
@pytest.mark.parametrize("side", [28, 32])
def test_what_the_last_layers_see_of_small_pictures(
    name: str, last: str, shape: tuple[int, int, int], side: int, weightless: None
) -> None:
    net = make_model(name, input_dim=(1, side, side), output_size=10)
    C, H, W = net.nodes[last].shape
    assert net.config.get("variant", "small") == "small"
    assert net.output_shape == (10,)
    if side == 28:
        assert shape == (C, H, W)
    else:
        assert shape[0] == C
        assert H == W >= shape[1]


def test_the_variant_is_chosen_by_size_or_given(weightless: None) -> None:
    assert ResNet(18, (3, 63, 80)).config["variant"] == "small"
    assert ResNet(18, (3, 64, 64)).config["variant"] == "full"
    assert ResNet(18, (3, 32, 32), variant="full").nodes["layer4.1"].shape == (512, 1, 1)
    assert ResNet(18, (3, 96, 96), variant="small").nodes["layer4.1"].shape == (512, 12, 12)
    assert VGG(11, input_dim=(3, 96, 64)).nodes["avgpool"].shape == (512, 7, 7)  # 3x2 before


# --------------------------------------------------------------------------------------------------- one step each
def _washed_out(name: str, parameter: str) -> bool:
    """Whether a batch normalisation behind it takes away all that this shift adds, so that its gradient is 0."""
    if name.endswith("_bn"):
        return parameter.startswith("features") and parameter.endswith(".b")
    if name == "mobilenet_v2":  # what a block gives meets no ReLU before the next normalisation
        return parameter.endswith((".conv.3.beta", "features.1.conv.2.beta"))
    if name == "shufflenet_v2_x1_0":
        return parameter.endswith(("branch2.4.beta", "branch1.1.beta"))
    return False


@pytest.mark.parametrize("name", _FAMILIES)
def test_a_step_reaches_every_parameter(name: str) -> None:
    side = 32 if name.startswith(("vgg", "resnet20")) else 64
    net = make_model(name, input_dim=(3, side, side), output_size=4, seed=0, dtype="float64")
    x, t = np.random.default_rng(1).standard_normal((2, 3, side, side)), np.array([1, 3])
    before = float(net.loss(x, t, train=True))
    assert np.isfinite(before)
    gradients = net.gradient(x, t)
    # Rounding leaves 1e-16 to 1e-14 of what is 0; the smallest true ones are 1e-5.
    unreached = {parameter for parameter, g in gradients.items() if not np.abs(g).max() > 1e-9}
    assert unreached == {parameter for parameter in gradients if _washed_out(name, parameter)}
    assert all(np.isfinite(g).all() for g in gradients.values())
    # A small step against the gradient lowers the loss by its squared length times the step. Dropout: the same masks.
    squared = sum(float((g * g).sum()) for g in gradients.values())
    for parameter, g in gradients.items():
        net.params[parameter] -= 1e-6 / squared * g
    net.step = 0
    assert float(net.loss(x, t, train=True)) - before == pytest.approx(-1e-6, rel=0.02)


@pytest.mark.parametrize("name", ["resnet20", "squeezenet1_1"])
def test_devices_agree_with_float64(name: str, device: Device) -> None:
    _assert_float32_is_close(name, device)


def test_a_shuffled_one_agrees_with_float64() -> None:
    _assert_float32_is_close("shufflenet_v2_x0_5", "cpu")


def _assert_float32_is_close(name: str, device: Device | str) -> None:
    options: dict[str, Any] = {"input_dim": (1, 16, 16), "output_size": 3, "seed": 0}
    options |= {"dropout_ratio": 0.0} if name.startswith("squeeze") else {}
    exact, net = make_model(name, dtype="float64", **options), make_model(name, **options, device=device)
    x, t = np.random.default_rng(2).standard_normal((4, 1, 16, 16)), np.array([0, 2, 1, 1])
    want = exact.gradient(x, t)
    for parameter, g in net.gradient(x.astype(np.float32), t).items():
        # float32 keeps 7 digits, of which sums through 50 layers with normalisations over 16 to 1,024 numbers lose 3.
        scale = max(float(np.abs(want[parameter]).max()), 1e-3)
        assert np.abs(asnumpy(g) - want[parameter]).max() < 2e-3 * scale, parameter


def test_gradients_of_a_shortcut_with_zeros_and_of_a_shuffle() -> None:
    """Central differences at one weight in front of each kind of join, among all the layers around it."""
    for name, parameters in (
        ("resnet20", ("conv1.W", "layer2.0.conv1.W")),
        ("shufflenet_v2_x0_5", ("conv1.0.W", "stage2.1.branch2.0.W")),
    ):
        net = make_model(name, input_dim=(2, 8, 8), output_size=3, seed=0, dtype="float64")
        x, t = np.random.default_rng(3).standard_normal((5, 2, 8, 8)), np.array([0, 1, 2, 0, 1])
        gradients = net.gradient(x, t)
        for parameter in parameters:
            w, g = net.params[parameter], gradients[parameter]
            place = np.unravel_index(np.abs(g).argmax(), g.shape)
            kept, h = w[place], 1e-8  # so small that hardly any ReLU of thousands changes sides
            losses = []
            for w[place] in (kept + h, kept - h):
                losses.append(float(net.loss(x, t, train=True)))
            w[place] = kept
            # Losses are rounded by about 1e-15, which a difference over 2e-8 makes 1e-7 of gradients from 1 to 40.
            assert g[place] == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-6), parameter


# ------------------------------------------------------------------------------------------------- arguments, files
@pytest.mark.parametrize("name", _FAMILIES)
def test_its_config_makes_it_again(name: str, weightless: None) -> None:
    options = {} if name == "resnet20" else {"variant": "small"}
    net = make_model(name, input_dim=(1, 32, 40), output_size=5, **options)
    again = make_model(net.config)
    assert again.config == net.config
    assert {n: a.shape for n, a in again.arrays().items()} == {n: a.shape for n, a in net.arrays().items()}
    assert again.summary() == net.summary()


def test_a_saved_network_opens_again(tmp_path: Path) -> None:
    from xpcnn.models.files import load_model

    net = make_model("squeezenet1_1", input_dim=(1, 28, 28), output_size=3, seed=5)
    net.save_params(tmp_path / "a.safetensors")
    again = load_model(tmp_path / "a.safetensors")
    assert type(again) is SqueezeNet
    x = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
    np.testing.assert_array_equal(again.predict(x), net.predict(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VGG(12), "VGG has 11, 13, 16, 19 layers, got depth=12"),
        (lambda: ResNet(20), "ResNet has 18, 34, 50, 101, 152 layers, got depth=20"),
        (lambda: CifarResNet(18), "20, 32, 44, 56, 110 layers, got depth=18"),
        (lambda: DenseNet(100), "DenseNet has 121, 169, 201 layers, got depth=100"),
        (lambda: SqueezeNet("2"), "SqueezeNet's versions are 1_0, 1_1; got '2'"),
        (lambda: ShuffleNetV2("3"), "ShuffleNet's widths are 0_5, 1_0, 1_5, 2_0; got '3'"),
        (lambda: ResNet(18, variant="cifar"), 'variant is "full", "small" or None, got \'cifar\''),
        (lambda: make_model("resnet18", depth=34), "model 'resnet18': .*'depth'"),
        (lambda: make_model("resnet19"), "no model is called 'resnet19'; there are simple, .*resnet18"),
        (lambda: make_model("resnet18", input_dim=3), "model 'resnet18'"),
    ],
)
def test_arguments_that_are_none(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("name", _FAMILIES)
@pytest.mark.parametrize(
    "change",
    [
        {},  # the published size itself is more than a small file's parameters
        {"input_dim": "abc"},
        {"input_dim": [3, float("nan"), 32]},
        {"input_dim": [3]},
        {"input_dim": []},
        {"input_dim": [3, 10**9, 10**9]},
        {"input_dim": [10**9, 32, 32]},
        {"output_size": 10**12},
        {"output_size": "ten"},
        {"variant": {"a": 1}},
        {"dropout_ratio": 2},
        {"depth": 10**9},
    ],
)
def test_a_file_that_describes_it_on_purpose(name: str, change: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        with at_most(1000), pytest.raises((ConfigError, ShapeError)):
            make_model({"model": name, **change}, seed=0)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_pictures_that_are_too_small(weightless: None) -> None:
    with pytest.raises(ShapeError, match="layer 'features.3' after 'features.2'|layer 'features.2'"):
        SqueezeNet("1_0", (3, 8, 8), 10, variant="full")
    with pytest.raises(ShapeError, match="input_shape is one sample's shape"):
        ResNet(18, ())
