"""Layers that move channels."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import ChannelShuffle, Layer, PixelShuffle, SpaceToDepth, channel_shuffle, pixel_shuffle
from xpcnn.network import Sequential
from xpcnn.ops.gradcheck import check_layer

LAYERS = [
    (ChannelShuffle(3), (2, 6, 2, 3)),
    (ChannelShuffle(2), (2, 6)),
    (PixelShuffle(2), (2, 8, 2, 3)),
    (PixelShuffle(2, "DCR"), (2, 8, 2, 3)),
    (SpaceToDepth(2), (2, 2, 4, 6)),
    (SpaceToDepth(2, "CRD"), (2, 2, 4, 6)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_gradient_shape_and_dtype(device: Device, layer: Layer, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    assert max(check_layer(layer, device.asarray(x)).values()) < 1e-6
    y = layer.forward(device.asarray(x.astype("float32")))
    assert (y.dtype, y.shape[1:]) == ("float32", layer.output_shape(shape[1:]))
    assert layer.backward(y).dtype == "float32"
    np.testing.assert_array_equal(asnumpy(layer.backward(y)), x.astype("float32"))  # a permutation, so its inverse
    empty = layer.forward(device.asarray(x[:0]))
    assert layer.backward(empty).shape == (0, *shape[1:])


def test_in_a_network() -> None:
    net = Sequential([channel_shuffle(2), pixel_shuffle(2)], input_shape=(4, 2, 2))
    x = np.arange(16.0, dtype="float32").reshape(1, 4, 2, 2)
    assert net.predict(x)[0, 0, :2, :2].tolist() == [[0, 8], [4, 12]]


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"divisible by groups=4, got \(6, 2, 2\)"):
        ChannelShuffle(4).output_shape((6, 2, 2))
    with pytest.raises(ShapeError, match="C is divisible by 4"):
        PixelShuffle(2).output_shape((6, 2, 2))
    with pytest.raises(ShapeError, match="H and W are divisible by 2"):
        SpaceToDepth(2).output_shape((6, 3, 2))
    with pytest.raises(ConfigError, match="groups is one of the whole numbers from 1 on, got 0"):
        ChannelShuffle(0)
