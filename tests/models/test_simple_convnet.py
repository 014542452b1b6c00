"""SimpleConvNet: the notebook's signature, shapes and names, and its gradients against central differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.models import SimpleConvNet, make_model
from xpcnn.ops.gradcheck import relative_error


def test_the_notebooks_call() -> None:
    net = SimpleConvNet(
        input_dim=(1, 28, 28),
        conv_param={"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1},
        hidden_size=100,
        output_size=10,
        weight_init_std=0.01,
    )
    shapes = {"W1": (30, 1, 5, 5), "b1": (30,), "W2": (4320, 100), "b2": (100,), "W3": (100, 10), "b3": (10,)}
    assert {name: a.shape for name, a in net.params.items()} == shapes
    assert sum(a.size for a in net.params.values()) == 433_890
    assert "433,890 parameters, float32, on cpu" in net.summary()
    assert list(net.layers) == ["Conv1", "Relu1", "Pool1", "Affine1", "Relu2", "Affine2"]
    for name, a in net.params.items():
        # 750 draws scatter by 2.6 percent, the others by less: five times that.
        assert float(a.std()) == pytest.approx(0.01, rel=0.13) if name[0] == "W" else not a.any()
    assert net.predict(np.zeros((2, 1, 28, 28))).shape == (2, 10)


def test_the_defaults_are_the_notebooks() -> None:
    net = SimpleConvNet(seed=3)
    same = SimpleConvNet(
        (1, 28, 28), {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}, 100, 10, 0.01, seed=3
    )
    assert net.config == same.config
    for name, a in net.params.items():
        np.testing.assert_array_equal(a, same.params[name])


# Odd sizes, of which the pooling leaves a row and a column out; strides, pads, oblong pictures.
@pytest.mark.parametrize(
    ("input_dim", "conv_param"),
    [
        ((1, 8, 8), {"filter_num": 3, "filter_size": 3}),
        ((2, 9, 7), {"filter_num": 2, "filter_size": 3, "pad": 1, "stride": 1}),
        ((1, 11, 9), {"filter_num": 2, "filter_size": (5, 3), "pad": (2, 1), "stride": 2}),
    ],
)
def test_every_gradient(device: Device, input_dim: tuple[int, ...], conv_param: dict[str, Any]) -> None:
    net = SimpleConvNet(input_dim, conv_param, 5, 4, "he", seed=0, dtype="float64", device=device)
    random = np.random.default_rng(1)
    x, t = random.standard_normal((3, *input_dim)), random.integers(0, 4, 3)
    expected, got = net.numerical_gradient(x, t), net.gradient(x, t)
    assert list(got) == list(expected) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    for name, g in got.items():
        # Central differences with h = 1e-5 err by about 1e-10; a wrong gradient is wrong in its first digits.
        assert relative_error(g, expected[name]) < 1e-6, name


def test_float32_gradients_are_the_float64_ones_rounded(device: Device) -> None:
    small = SimpleConvNet((1, 8, 8), {"filter_num": 3, "filter_size": 3}, 5, 4, "he", seed=0, device=device)
    x, t = np.random.default_rng(1).standard_normal((3, 1, 8, 8)), np.array([0, 3, 1])
    exact = small.copy("float64").gradient(x, t)
    for name, g in small.gradient(x, t).items():
        assert g.dtype == np.float32
        assert relative_error(g, exact[name]) < 1e-5  # sums of up to 100 products, 6e-8 each


@pytest.mark.parametrize(
    ("word", "want"),
    [("relu", math.sqrt(2 / 4320)), ("HE", math.sqrt(2 / 4320)), ("sigmoid", math.sqrt(1 / 4320)), (0.2, 0.2)],
)
def test_weight_init_std(word: Any, want: float) -> None:
    W = SimpleConvNet(weight_init_std=word, seed=0).params["W2"]
    assert float(W.std()) == pytest.approx(want, rel=0.01)  # 432,000 draws scatter by 0.1 percent


def test_it_learns(device: Device) -> None:
    net = SimpleConvNet((1, 8, 8), {"filter_num": 4, "filter_size": 3}, 10, 2, "he", seed=0, device=device)
    random = np.random.default_rng(2)
    t = random.integers(0, 2, 60)
    x = random.standard_normal((60, 1, 8, 8)) + 2.0 * t[:, None, None, None]
    before = float(net.loss(x, t))
    for _ in range(30):
        for name, g in net.gradient(x, t).items():
            net.params[name][...] -= g * 0.05
    assert float(net.loss(x, t)) < before / 4
    assert net.accuracy(x, t) > 0.95


def test_its_config_makes_it_again(device: Device) -> None:
    net = SimpleConvNet((2, 9, 9), {"filter_num": 4, "pad": 1}, 7, 3, "sigmoid", seed=5, device=device)
    again = make_model(net.config, seed=5)
    assert type(again) is SimpleConvNet
    for name, a in net.params.items():
        np.testing.assert_array_equal(asnumpy(a), again.params[name])


def test_errors() -> None:
    with pytest.raises(ConfigError, match="conv_param takes filter_num, filter_size, pad, stride, got filters"):
        SimpleConvNet(conv_param={"filters": 3})
    with pytest.raises(ShapeError, match="layer 'Conv1' after 'input': a window of 5x5 does not fit a picture of 4x4"):
        SimpleConvNet((1, 4, 4))
    with pytest.raises(ShapeError, match="layer 'Pool1' after 'Relu1': a window of 2x2 does not fit a picture of 1x1"):
        SimpleConvNet((1, 5, 5))
    with pytest.raises(ConfigError, match="no initial weight is called 'heavy'"):
        SimpleConvNet(weight_init_std="heavy")
