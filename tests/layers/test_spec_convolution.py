"""Specs of convolutions over sequences, pictures and volumes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import layers
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Spec, conv1d, conv3d, conv_transpose, depthwise_conv
from xpcnn.layers.base import Layer, Shape
from xpcnn.ops.gradcheck import relative_error


class _Maker:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.weights: list[tuple[Any, ...]] = []

    def weight(self, shape: Shape, fan_in: int, fan_out: int, how: Any) -> np.ndarray:
        self.weights.append((shape, fan_in, fan_out, how))
        return np.ones(shape, dtype=np.float32)

    def constant(self, shape: Shape, value: float) -> np.ndarray:
        return np.full(shape, value, dtype=np.float32)


def _build(spec: Spec, shape: Shape) -> tuple[Layer, _Maker]:
    maker = _Maker()
    return spec.build((shape,), maker), maker


def test_conv1d() -> None:
    layer, maker = _build(conv1d(6, 3, stride=2, pad=(0, 2), dilation=2, groups=2, init="he"), (4, 9))
    assert isinstance(layer, layers.Convolution1D)
    assert (layer.stride, layer.pad, layer.dilation, layer.groups) == ((2,), (0, 2), (2,), 2)
    assert layer.b.tolist() == [0.0] * 6
    # One output sums over 2 channels of 3 places; one input reaches 3 filters at 3 places.
    assert maker.weights == [((6, 2, 3), 6, 9, "he")]
    assert _build(conv1d(6, 3, bias=False), (4, 9))[0].params.keys() == {"W"}


def test_conv3d() -> None:
    layer, maker = _build(conv3d(5, (1, 2, 3), stride=2, pad=(0, 1, 2), init=0.1), (4, 5, 5, 5))
    assert isinstance(layer, layers.Convolution3D)
    assert (layer.stride, layer.pad) == ((2, 2, 2), (0, 1, 2, 0, 1, 2))
    assert maker.weights == [((5, 4, 1, 2, 3), 24, 30, 0.1)]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((3, 9), layers.Convolution1D), ((3, 9, 8), layers.Convolution), ((3, 4, 5, 4), layers.Convolution3D)],
)
def test_depthwise(shape: Shape, kind: type[Layer]) -> None:
    layer, maker = _build(depthwise_conv(3, pad=1, multiplier=2), shape)
    assert type(layer) is kind
    assert layer.groups == 3
    assert layer.output_shape(shape) == (6, *shape[1:])
    places = 3 ** (len(shape) - 1)
    assert maker.weights == [((6, 1, *[3] * (len(shape) - 1)), places, 2 * places, "auto")]


def test_conv_transpose() -> None:
    layer, maker = _build(conv_transpose(6, 4, stride=2, pad=1, output_pad=1, groups=2, init="he"), (4, 5, 5))
    assert isinstance(layer, layers.TransposedConvolution)
    assert (layer.stride, layer.pad, layer.output_pad, layer.groups) == ((2, 2), (1, 1, 1, 1), (1, 1), 2)
    assert layer.output_shape((4, 5, 5)) == (6, 11, 11)
    # An output lies in 2x2 of the 4x4 windows, on 2 channels; an input reaches 3 filters at 4x4 places.
    assert maker.weights == [((4, 3, 4, 4), 8, 48, "he")]
    layer, maker = _build(conv_transpose(2, 2, stride=3, bias=False), (1, 5))  # windows that leave gaps
    assert maker.weights == [((1, 2, 2), 1, 4, "auto")]
    assert layer.params.keys() == {"W"}


def test_in_a_network_there_and_back() -> None:
    coder = xpcnn.Sequential(
        [conv1d(4, 3, stride=2, pad=1), "relu", depthwise_conv(3, pad=1), conv_transpose(2, 4, stride=2, pad=1)],
        input_shape=(2, 8),
        seed=0,
    )
    assert coder.output_shape == (2, 8)
    assert [name.rstrip("123") for name in coder.layers] == ["conv", "relu", "conv", "deconv"]
    y = coder.predict(np.zeros((3, 2, 8), dtype=np.float32))
    assert (y.shape, y.dtype) == ((3, 2, 8), np.float32)


def _all_kinds(device: Any) -> xpcnn.Network:
    random = np.random.default_rng(3)
    items = [
        ("c", conv3d(2, 2, pad=1)),
        ("t", conv_transpose(2, 2, stride=(1, 1, 2), groups=2)),
        ("r", "tanh"),
        ("p", layers.Projection(random.standard_normal((6, 2))), "r"),
        ("q", layers.Projection(random.standard_normal((2, 4)), left=True), "r"),
        ("m", layers.MatMul(), ("p", "q")),
        ("end", layers.affine(2)),
    ]
    return xpcnn.Network(items, (1, 2, 2, 2), seed=0, dtype="float64", device=device)


def test_a_graph_of_all_kinds(device: Device) -> None:
    """The executors of each device give what the layers do one after another."""
    x, t = np.random.default_rng(4).standard_normal((5, 1, 2, 2, 2)), np.arange(5) % 2
    there, here = _all_kinds(device), _all_kinds("cpu")
    x_there = device.asarray(x)
    # The same sums in another order: some hundred roundings of numbers of about 1.
    np.testing.assert_allclose(asnumpy(there.predict(x_there)), here.predict(x), rtol=0.0, atol=1e-12)
    gradients, numerical = there.gradient(x_there, t), here.numerical_gradient(x, t)
    assert list(gradients) == ["c.W", "c.b", "t.W", "t.b", "p.W", "q.W", "end.W", "end.b"]
    for name, gradient in gradients.items():
        assert relative_error(gradient, numerical[name]) < 1e-6  # rounding of central differences leaves about 1e-9


@pytest.mark.parametrize("kind", [1, 3])
def test_they_learn(kind: int) -> None:
    """A network of each kind tells two textures apart: steps from the gradients of its own layers."""
    random = np.random.default_rng(0)
    t = np.arange(32) % 2
    shape = (1, 12) if kind == 1 else (1, 4, 4, 4)
    x = random.standard_normal((32, *shape)).astype(np.float32) * 0.3
    x += (t * 2.0 - 1.0).astype(np.float32).reshape(-1, *(1,) * len(shape)) * (np.arange(shape[-1]) % 2)
    make = conv1d if kind == 1 else conv3d
    net = xpcnn.Sequential(
        [make(4, 3, pad=1), "relu", conv_transpose(2, 2), "flatten", layers.affine(2)], shape, seed=0
    )
    trainer = xpcnn.Trainer(net, x, t, x, t, epochs=20, mini_batch_size=16, optimizer="Adam",
                            optimizer_param={"lr": 0.02}, verbose=False)  # fmt: skip
    before = net.loss(x, t)
    trainer.train()
    assert net.loss(x, t) < 0.2 * before
    assert net.accuracy(x, t) == 1.0


@pytest.mark.parametrize(
    ("spec", "shape", "words"),
    [
        (conv1d(4, 3), (3, 5, 5), r"wanted sequences \(C, L\), got \(3, 5, 5\)"),
        (conv3d(4, 3), (3, 5, 5), r"wanted volumes \(C, D, H, W\), got \(3, 5, 5\)"),
        (conv1d(4, 3, groups=3), (3, 5), "groups=3 must divide the 3 channels that arrive and the 4 filters"),
        (conv_transpose(4, 3, groups=0), (3, 5), "groups=0"),
        (conv_transpose(4, 3), (3,), "wanted channels and at least one spatial axis"),
        (conv_transpose(4, (3, 3)), (3, 5), "the filter size must be a whole number of at least 1 or 1 of them"),
        (depthwise_conv(3), (3,), r"wanted sequences \(C, L\), pictures \(C, H, W\), volumes"),
    ],
)
def test_shapes_that_do_not_fit(spec: Spec, shape: Shape, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        _build(spec, shape)


def test_sizes_that_make_no_sense() -> None:
    with pytest.raises(ShapeError, match="the filter size"):
        conv1d(4, 0)
    with pytest.raises(ConfigError, match="the number of filters is one of the whole numbers"):
        conv_transpose(0, 3)
    with pytest.raises(ConfigError, match="the number of filters a channel"):
        depthwise_conv(3, multiplier=0)
