"""LeNet-5: sizes, the flags for activation and pooling, gradients."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import layers
from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.models import LeNet5, make_model
from xpcnn.ops.gradcheck import relative_error


@pytest.mark.parametrize("input_dim", [(1, 28, 28), (1, 32, 32)])
def test_sizes(input_dim: tuple[int, ...]) -> None:
    net = LeNet5(input_dim, seed=0)
    assert [net.nodes[name].shape for name in ("C1", "S2", "C3", "S4", "C5", "F6", "output")] == [
        (6, 28, 28),
        (6, 14, 14),
        (16, 10, 10),
        (16, 5, 5),
        (120,),
        (84,),
        (10,),
    ]
    # 6*(25+1) + 16*(6*25+1) + 120*(400+1) + 84*(120+1) + 10*(84+1)
    assert sum(a.size for a in net.params.values()) == 61_706
    assert list(net.params)[:2] == ["C1.W", "C1.b"]


@pytest.mark.parametrize(
    ("activation", "kind"), [("sigmoid", layers.Sigmoid), ("tanh", layers.Tanh), ("relu", layers.Relu)]
)
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_flags(activation: str, kind: type[layers.Layer], pooling: str) -> None:
    net = LeNet5(activation=activation, pooling=pooling, seed=0)
    assert {type(net.layers[f"act{i}"]) for i in (1, 3, 5, 6)} == {kind}
    assert {net.layers[name].mode for name in ("S2", "S4")} == {pooling}
    # He's rule for ReLU, Glorot's elsewhere; 48,000 draws scatter by 0.3 percent: five times that.
    want = (2 / 400) ** 0.5 if activation == "relu" else (2 / 520) ** 0.5
    assert float(net.params["C5.W"].std()) == pytest.approx(want, rel=0.016)
    x, t = np.random.default_rng(0).standard_normal((2, 1, 28, 28)), np.array([3, 7])
    gradients = net.gradient(x, t)
    assert all(np.isfinite(g).all() and g.any() for g in gradients.values())
    again = make_model(net.config, seed=0)
    np.testing.assert_array_equal(again.predict(x), net.predict(x))


def test_the_usual_ones_are_sigmoid_and_average() -> None:
    config = LeNet5(seed=0).config
    assert (config["activation"], config["pooling"]) == ("sigmoid", "average")


@pytest.mark.parametrize(("activation", "pooling"), [("sigmoid", "average"), ("tanh", "max")])
def test_gradients(device: Device, activation: str, pooling: str) -> None:
    net = LeNet5((1, 28, 28), 3, activation, pooling, seed=0, dtype="float64", device=device)
    random = np.random.default_rng(1)
    x, t = device.asarray(random.standard_normal((2, 1, 28, 28))), np.array([0, 2])
    got = net.gradient(x, t)
    for name, a in net.params.items():
        # All 61,111 elements would take minutes: along one random direction for each parameter instead.
        direction = device.asarray(random.standard_normal(a.shape))
        kept, h = a.copy(), 1e-5
        a[...] = kept + h * direction
        above = float(net.loss(x, t, train=True))
        a[...] = kept - h * direction
        below = float(net.loss(x, t, train=True))
        a[...] = kept
        slope, want = (above - below) / (2 * h), float((got[name] * direction).sum())
        # The third derivative along a direction of some thousand elements is larger than for one: still under 1e-6
        # of the gradient's length times the direction's.
        size = float((got[name] ** 2).sum() * (direction**2).sum()) ** 0.5
        assert abs(slope - want) < 1e-6 * size, name
        assert relative_error(device.asarray([want]), device.asarray([slope])) < 1e-3


def test_errors() -> None:
    with pytest.raises(ConfigError, match='activation is "sigmoid", "tanh" or "relu", got \'swish\''):
        LeNet5(activation="swish")
    with pytest.raises(ConfigError, match='pooling is "average" or "max", got \'min\''):
        LeNet5(pooling="min")
