"""Layers described before their input's shape is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcnn import layers
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Spec, affine, average_pool, batch_norm, conv, dropout, lrn, max_pool
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.pooling_nd import PoolingND
from xpcnn.layers.spec import WORDS, spec_of


class _Maker:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.weights: list[tuple[Any, ...]] = []

    def weight(self, shape: Shape, fan_in: int, fan_out: int, how: Any) -> np.ndarray:
        self.weights.append((shape, fan_in, fan_out, how))
        return np.ones(shape, dtype=np.float32)

    def constant(self, shape: Shape, value: float) -> np.ndarray:
        return np.full(shape, value, dtype=np.float32)


def _build(spec: Spec, *shapes: Shape) -> tuple[Layer, _Maker]:
    maker = _Maker()
    return spec.build(shapes, maker), maker


def test_conv() -> None:
    layer, maker = _build(conv(6, (3, 2), stride=2, pad=(0, 1, 2, 3), dilation=(1, 2), groups=2, init="he"), (4, 9, 9))
    assert isinstance(layer, layers.Convolution)
    assert (layer.W.shape, layer.b.tolist()) == ((6, 2, 3, 2), [0.0] * 6)
    assert (layer.stride, layer.pad, layer.dilation, layer.groups) == ((2, 2), (0, 1, 2, 3), (1, 2), 2)
    # One output sums over 2 channels of 3x2; one input reaches 3 filters (its group's) at 3x2 places.
    assert maker.weights == [((6, 2, 3, 2), 12, 18, "he")]
    assert _build(conv(6, 3, bias=False), (4, 9, 9))[0].params.keys() == {"W"}


def test_affine() -> None:
    layer, maker = _build(affine(5, init=0.1), (2, 3, 4))
    assert isinstance(layer, layers.Affine)
    assert (layer.W.shape, layer.b.tolist()) == ((24, 5), [0.0] * 5)
    assert maker.weights == [((24, 5), 24, 5, 0.1)]
    assert _build(affine(5, bias=False), (7,))[0].params.keys() == {"W"}


def test_pools() -> None:
    layer, _ = _build(max_pool(2), (1, 4, 4))
    assert isinstance(layer, layers.Pooling)
    assert (layer.pool_h, layer.pool_w, layer.stride, layer.pad, layer.mode) == (2, 2, (2, 2), (0, 0, 0, 0), "max")
    layer, _ = _build(max_pool((3, 2), stride=1, pad=1), (1, 4, 4))
    assert (layer.pool_h, layer.pool_w, layer.stride, layer.pad) == (3, 2, (1, 1), (1, 1, 1, 1))
    layer, _ = _build(average_pool((3, 2), pad=(1, 0), count_pad=False), (1, 4, 4))
    assert (layer.stride, layer.pad, layer.mode, layer.count_pad) == ((3, 2), (1, 0, 1, 0), "average", False)


def test_pools_that_hang_over_the_end() -> None:
    def shown(spec: Spec, *shape: int) -> tuple[Any, ...]:
        layer, _ = _build(spec, shape)
        assert isinstance(layer, layers.Pooling)  # the faster way
        return layer.pad, layer.count_pad, layer.output_shape(shape)

    assert shown(max_pool(3, 2, ceil=True), 1, 8, 7) == ((0, 0, 1, 0), True, (1, 4, 3))
    assert shown(max_pool(3, 2, pad=1, ceil=True), 1, 8, 7) == ((1, 1, 2, 1), True, (1, 5, 4))
    assert shown(average_pool(3, 2, ceil=True), 1, 8, 7) == ((0, 0, 1, 0), False, (1, 4, 3))
    assert shown(average_pool(3, 2, 1, count_pad=False, ceil=True), 1, 8, 7) == ((1, 1, 2, 1), False, (1, 5, 4))
    assert shown(average_pool(3, 2, 1, ceil=True), 1, 7, 7) == ((1, 1, 1, 1), True, (1, 4, 4))  # none hangs over
    layer, _ = _build(average_pool(3, 2, 1, ceil=True), (1, 8, 7))  # pads count, what lies beyond them does not
    assert isinstance(layer, PoolingND)
    assert layer.output_shape((1, 8, 7)) == (1, 5, 4)


def test_pools_over_other_numbers_of_axes() -> None:
    assert _build(max_pool(2), (3, 9))[0].output_shape((3, 9)) == (3, 4)
    assert _build(average_pool(2, ceil=True), (3, 9, 4, 2))[0].output_shape((3, 9, 4, 2)) == (3, 5, 2, 1)


def test_the_others() -> None:
    layer, _ = _build(batch_norm(0.7, eps=1e-3), (3, 5, 5))
    assert isinstance(layer, layers.BatchNormalization)
    assert (layer.gamma.tolist(), layer.beta.tolist(), layer.momentum, layer.eps) == ([1.0] * 3, [0.0] * 3, 0.7, 1e-3)
    assert (layer.state["running_mean"].tolist(), layer.state["running_var"].tolist()) == ([0.0] * 3, [1.0] * 3)
    layer, _ = _build(lrn(3, 0.1, 0.5, 1.0), (3, 5, 5))
    assert isinstance(layer, layers.LocalResponseNormalization)
    assert (layer.size, layer.alpha, layer.beta, layer.k) == (3, 0.1, 0.5, 1.0)
    layer, _ = _build(dropout(0.2, inverted=False), (3,))
    assert isinstance(layer, layers.Dropout)
    assert (layer.ratio, layer.inverted) == (0.2, False)


@pytest.mark.parametrize(
    ("word", "kind"),
    {
        "relu": layers.Relu,
        "leaky_relu": layers.LeakyRelu,
        "elu": layers.Elu,
        "sigmoid": layers.Sigmoid,
        "tanh": layers.Tanh,
        "softmax": layers.Softmax,
        "log_softmax": layers.LogSoftmax,
        "flatten": layers.Flatten,
        "global_average_pool": layers.GlobalAveragePooling,
        "add": layers.Add,
        "concatenate": layers.Concatenate,
        "batch_norm": layers.BatchNormalization,
        "lrn": layers.LocalResponseNormalization,
        "dropout": layers.Dropout,
    }.items(),
)
def test_words(word: str, kind: type[Layer]) -> None:
    for written in (word, word.upper()):
        spec = spec_of(written)
        assert isinstance(spec, Spec)
        assert type(_build(spec, (3, 4, 4))[0]) is kind


def test_a_spec_makes_a_new_layer_each_time() -> None:
    spec = conv(2, 3)
    a, b = _build(spec, (1, 5, 5))[0], _build(spec, (3, 5, 5))[0]
    assert a is not b
    assert (a.params["W"].shape, b.params["W"].shape) == ((2, 1, 3, 3), (2, 3, 3, 3))


def test_specs_and_layers_pass_as_they_are() -> None:
    spec, layer = conv(2, 3), layers.Relu()
    assert spec_of(spec) is spec
    assert spec_of(layer) is layer


def test_things_that_are_no_layer() -> None:
    with pytest.raises(ConfigError, match="no layer is called 'rleu'; the words are add, batch_norm, "):
        spec_of("rleu")
    with pytest.raises(ConfigError, match="call it: relu"):
        spec_of(layers.Relu)
    with pytest.raises(ConfigError, match=r"got \[1, 2\]"):
        spec_of([1, 2])
    with pytest.raises(ConfigError, match="got a NoneType"):
        spec_of(None)
    assert "relu" in WORDS


@pytest.mark.parametrize(
    ("spec", "shape", "words"),
    [
        (conv(4, 3), (10,), r"wanted pictures \(C, H, W\), got \(10,\)"),
        (conv(4, 3, groups=3), (3, 5, 5), "groups=3 must divide the 3 channels that arrive and the 4 filters"),
        (conv(4, 3, groups=2), (3, 5, 5), "groups=2 must divide the 3 channels"),
        (conv(4, 3, groups=0), (3, 5, 5), "groups=0"),
    ],
)
def test_shapes_that_do_not_fit(spec: Spec, shape: Shape, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        _build(spec, shape)


def test_sizes_that_make_no_sense() -> None:
    with pytest.raises(ShapeError, match="the filter size"):
        conv(4, 0)
    with pytest.raises(ShapeError, match="the pooling window"):
        max_pool((2, 0))
    with pytest.raises(ShapeError, match="the pooling window .* or 2 of them, got \\(2, 2, 2\\)"):
        _build(max_pool((2, 2, 2)), (1, 4, 4))
