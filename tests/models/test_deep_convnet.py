"""DeepConvNet: the book's sizes, pads and names, both dropout rules, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError
from xpcnn.models import DeepConvNet, make_model
from xpcnn.ops.gradcheck import relative_error


def _tiny(**options: object) -> DeepConvNet:
    params = {f"conv_param_{i}": {"filter_num": 2} for i in range(1, 7)}
    return DeepConvNet((1, 9, 9), **params, hidden_size=4, output_size=3, **{"seed": 0, **options})  # type: ignore[arg-type]


def test_the_books_sizes() -> None:
    net = DeepConvNet(seed=0)
    shapes = {name: net.nodes[name].shape for name in ("Conv2", "Pool1", "Conv4", "Pool2", "Conv6", "Pool3", "Affine2")}
    assert shapes == {
        "Conv2": (16, 28, 28),
        "Pool1": (16, 14, 14),
        "Conv4": (32, 16, 16),  # the pad of 2
        "Pool2": (32, 8, 8),
        "Conv6": (64, 8, 8),
        "Pool3": (64, 4, 4),
        "Affine2": (10,),
    }
    assert [net.layers[f"Conv{i}"].pad[0] for i in range(1, 7)] == [1, 1, 1, 2, 1, 1]
    assert list(net.params) == [f"{p}{i}" for i in range(1, 9) for p in "Wb"]
    convolutions = [(16, 1), (16, 16), (32, 16), (32, 32), (64, 32), (64, 64)]
    want = sum(FN * C * 9 + FN for FN, C in convolutions) + 1024 * 50 + 50 + 50 * 10 + 10
    assert sum(a.size for a in net.params.values()) == want == 123_552
    # He's rule; 36,864 draws scatter by 0.4 percent: five times that.
    assert float(net.params["W6"].std()) == pytest.approx((2 / 576) ** 0.5, rel=0.02)


@pytest.mark.parametrize("rule", ["inverted", "book"])
def test_every_gradient(device: Device, rule: str) -> None:
    net = _tiny(dtype="float64", dropout=rule, device=device)
    random = np.random.default_rng(1)
    x, t = random.standard_normal((3, 1, 9, 9)), np.array([0, 2, 1])
    # With its first biases of 0, where a whole window is 0 the ReLU sits exactly on its kink, which has no derivative.
    for name, a in net.params.items():
        if name[0] == "b":
            a[...] = device.asarray(random.standard_normal(a.shape)) * 0.3
    expected, got = net.numerical_gradient(x, t), net.gradient(x, t)
    for name, g in got.items():
        # Central differences with h = 1e-5 err by about 1e-10; a wrong gradient is wrong in its first digits.
        assert relative_error(g, expected[name]) < 1e-6, name
    assert any(abs(asnumpy(g)).max() > 1e-3 for g in got.values())


def test_the_books_dropout_multiplies_at_test_time() -> None:
    inverted, book = _tiny(dropout_ratio=0.25), _tiny(dropout="book", dropout_ratio=0.25)
    x = np.random.default_rng(2).standard_normal((4, 1, 9, 9))
    usual, scaled = inverted.activations(x), book.activations(x)
    np.testing.assert_array_equal(usual["Dropout1"], usual["Relu7"])
    np.testing.assert_array_equal(usual["Dropout2"], usual["Affine2"])
    np.testing.assert_array_equal(scaled["Dropout1"], usual["Relu7"] * np.float32(0.75))
    np.testing.assert_array_equal(scaled["Dropout2"], scaled["Affine2"] * np.float32(0.75))
    assert abs(scaled["Dropout2"]).max() > 0.0


def test_its_config_makes_it_again() -> None:
    net = _tiny(dropout="book", dropout_ratio=0.3)
    again = make_model(net.config, seed=0)
    assert type(again) is DeepConvNet
    assert again.config == net.config
    assert again.summary() == net.summary()
    for name, a in net.params.items():
        np.testing.assert_array_equal(a, again.params[name])


def test_errors() -> None:
    with pytest.raises(ConfigError, match='dropout is "inverted" or "book", got \'none\''):
        DeepConvNet(dropout="none")
    with pytest.raises(ConfigError, match="conv_param_3 takes filter_num"):
        DeepConvNet(conv_param_3={"filters": 1})
    with pytest.raises(ConfigError, match="0 <= ratio < 1"):
        DeepConvNet(dropout_ratio=1.0)
