"""AlexNet: the paper's sizes and count, and the small variant learning."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import LocalResponseNormalization
from xpcnn.models import AlexNet, make_model
from xpcnn.optimizers import make_optimizer


def test_the_papers_sizes() -> None:
    net = AlexNet(seed=0)  # 250 MB, so once
    assert [
        net.nodes[name].shape for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool3")
    ] == [
        (96, 55, 55),
        (96, 27, 27),
        (256, 27, 27),
        (256, 13, 13),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
        (256, 6, 6),
    ]
    assert sum(a.size for a in net.params.values()) == 60_965_224
    assert "60,965,224 parameters" in net.summary()
    assert [net.layers[f"conv{i}"].groups for i in range(1, 6)] == [1, 2, 1, 2, 2]
    assert {type(net.layers[name]) for name in ("lrn1", "lrn2")} == {LocalResponseNormalization}
    assert net.config["variant"] == "full"


@pytest.mark.parametrize("input_dim", [(1, 28, 28), (3, 32, 32)])
def test_small_is_chosen_for_small_pictures(input_dim: tuple[int, int, int]) -> None:
    net = AlexNet(input_dim, 10, seed=0)
    assert net.config["variant"] == "small"
    assert net.output_shape == (10,)
    kinds = [type(layer).__name__ for layer in net.layers.values()]
    assert (kinds.count("Convolution"), kinds.count("Affine"), kinds.count("Dropout")) == (5, 3, 2)


def test_small_trains(device: Device) -> None:
    net = AlexNet((3, 28, 28), 4, seed=0, device=device)
    random = np.random.default_rng(1)
    x, t = random.standard_normal((8, 3, 28, 28)).astype(np.float32), np.arange(8) % 4
    before = {name: asnumpy(a).copy() for name, a in net.params.items()}
    first = float(net.loss(x, t))
    optimizer = make_optimizer("momentum", lr=0.01)
    gradients = net.gradient(x, t)
    assert all(bool(device.xp.isfinite(g).all()) for g in gradients.values())
    optimizer.update(net.params, gradients)
    for name, a in net.params.items():
        assert not np.array_equal(asnumpy(a), before[name]), name
    for _ in range(4):
        optimizer.update(net.params, net.gradient(x, t))
    assert float(net.loss(x, t)) < first


def test_its_config_makes_it_again() -> None:
    net = AlexNet((1, 28, 28), 5, "small", seed=0)
    again = make_model(net.config, seed=0)
    assert again.config == net.config
    np.testing.assert_array_equal(again.params["conv5.W"], net.params["conv5.W"])


def test_errors() -> None:
    with pytest.raises(ConfigError, match='variant is "full", "small" or None, got \'big\''):
        AlexNet(variant="big")
    with pytest.raises(ShapeError, match="layer 'pool3' after 'relu5'"):
        AlexNet((1, 8, 8), 10)
