"""Layers that only rearrange."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.soundness import check_sound
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Flatten, Layer, Reshape, Squeeze, Transpose, Unsqueeze, reshape, transpose
from xpcnn.network import Sequential


@pytest.mark.parametrize("shape", [(3, 2, 5, 3), (3, 7), (1, 1, 1, 1), (0, 2, 3, 3)])
def test_there_and_back(device: Device, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    layer = Flatten()
    y = layer.forward(device.asarray(x))
    assert y.shape == (shape[0], *layer.output_shape(shape[1:]))
    np.testing.assert_array_equal(asnumpy(y).ravel(), x.ravel())
    dx = layer.backward(y)
    np.testing.assert_array_equal(asnumpy(dx), x)


def test_a_picture_that_is_not_contiguous() -> None:
    x = np.arange(24.0).reshape(2, 3, 4, 1).transpose(0, 3, 2, 1)
    assert Flatten().forward(x).tolist() == [[v for row in x[n, 0].tolist() for v in row] for n in range(2)]


SOUND = [
    (Reshape((6, 4)), (2, 3, 2, 4), (2, 6, 4)),
    (Reshape((-1, 2)), (2, 3, 2, 4), (2, 12, 2)),
    (Reshape((0, -1)), (2, 3, 2, 4), (2, 3, 8)),
    (Transpose((0, 2, 3, 1)), (2, 3, 4, 5), (2, 4, 5, 3)),
    (Transpose((0, 3, 1, 2)), (2, 3, 4, 5), (2, 5, 3, 4)),
    (Squeeze((2, -1)), (2, 3, 1, 1), (2, 3)),
    (Unsqueeze((1, -1)), (2, 3), (2, 1, 3, 1)),
    (Flatten(), (2, 3, 2, 4), (2, 24)),
    (Flatten(-3), (2, 3, 2, 4), (2, 24)),
]


@pytest.mark.parametrize(("layer", "shape", "want"), SOUND)
def test_a_new_shape(device: Device, layer: Layer, shape: tuple[int, ...], want: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    y = layer.forward(device.asarray(x))
    assert y.shape == want
    if isinstance(layer, Transpose):
        np.testing.assert_array_equal(asnumpy(y), np.moveaxis(x, [0, *layer.perm[1:]], [0, 1, 2, 3]))
    else:
        assert asnumpy(y).ravel().tolist() == x.ravel().tolist()  # nothing changes its place
    check_sound(device, layer, x)


WHOLE = [
    (Reshape((3, -1), whole=True), (2, 3, 4), (3, 8)),
    (Reshape((0, 0, 1, 4), whole=True), (2, 3, 4), (2, 3, 1, 4)),
    (Reshape((0, 3), whole=True, zero_copies=False), (3, 0), (0, 3)),
    (Reshape((), whole=True), (1, 1), ()),
    (Transpose(), (2, 3, 4), (4, 3, 2)),
    (Squeeze((0,)), (1, 3), (3,)),
    (Unsqueeze((0,)), (3,), (1, 3)),
    (Flatten(0), (2, 3), (1, 6)),
    (Flatten(2), (2, 3, 4), (6, 4)),
    (Flatten(3), (2, 3, 4), (24, 1)),
]


@pytest.mark.parametrize(("layer", "shape", "want"), WHOLE)
def test_whole_arrays(device: Device, layer: Layer, shape: tuple[int, ...], want: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    assert layer.forward(device.asarray(x)).shape == want
    check_sound(device, layer, x, in_network=False)
    with pytest.raises(ShapeError):
        layer.output_shape(shape[1:])  # in a network, samples stay apart


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"an input of shape \(3, 4\) cannot be reshaped to \(5, -1\)"):
        Reshape((5, -1)).output_shape((3, 4))
    with pytest.raises(ShapeError, match=r"cannot be reshaped to \(3, 3\)"):
        Reshape((3, 3)).output_shape((3, 4))
    with pytest.raises(ShapeError, match=r"cannot be reshaped to \(12, 1, 0\)"):
        Reshape((12, 1, 0)).output_shape((3, 4))
    with pytest.raises(ConfigError, match=r"at most one -1, got \(-1, -1\)"):
        Reshape((-1, -1))
    with pytest.raises(ShapeError, match=r"only axes of size 1 can be left out, got axes \(1,\) of shape \(1, 3\)"):
        Squeeze((1,)).output_shape((3,))
    with pytest.raises(ShapeError, match="different axes of an array of 3 axes, got 1, -2"):
        Squeeze((1, -2)).output_shape((1, 1))
    with pytest.raises(ShapeError, match="different axes of an array of 3 axes, got 5"):
        Unsqueeze((5,)).output_shape((4,))
    with pytest.raises(ShapeError, match="an order of 3 axes for an array of 4"):
        Transpose((0, 2, 1)).output_shape((2, 3, 4))
    with pytest.raises(ShapeError, match="flattened from axis 1 on, got axis 2"):
        Flatten(2).output_shape((3, 4))
    with pytest.raises(ShapeError, match="cannot be flattened from axis 4 on"):
        Flatten(4).forward(np.zeros((3, 4)))


def test_in_a_network() -> None:
    net = Sequential([reshape(2, -1), transpose(0, 2, 1)], input_shape=(6,))
    assert net.predict(np.arange(6.0, dtype="float32")[None])[0].tolist() == [[0, 3], [1, 4], [2, 5]]
