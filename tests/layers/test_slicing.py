"""Layers that give a part of an array or repeat parts of it, against NumPy's indexing."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.soundness import check_sound
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Expand, Layer, Pad, Slice, Take, Tile, pad
from xpcnn.network import Sequential

FAR = 2**63 - 1


def _x(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize(
    ("layer", "key"),
    [
        (Slice([1], [3], [2]), np.s_[:, :, 1:3]),
        (Slice([0, -3], [FAR, -1], [1, -1]), np.s_[:, 0:, :, -3:-1]),
        (Slice([-1], [-FAR], [3], [-1]), np.s_[:, :, :, ::-1]),
        (Slice([4, 0], [0, 5], [3, 2], [-2, 3]), np.s_[:, :, 0:5:3, 4:0:-2]),
        (Slice([2], [2], [1]), np.s_[:, 2:2]),
        (Slice([3], [1], [2]), np.s_[:, :, 3:1]),
        (Slice([], []), np.s_[...]),
    ],
)
def test_slice(device: Device, layer: Slice, key) -> None:
    x = _x(2, 3, 4, 5)
    np.testing.assert_array_equal(asnumpy(layer.forward(device.asarray(x))), x[key])
    check_sound(device, layer, x)


def test_slice_of_whole_arrays(device: Device) -> None:
    x = _x(4, 3)
    layer = Slice([1, 0], [4, 2])
    np.testing.assert_array_equal(asnumpy(layer.forward(device.asarray(x))), x[1:4, 0:2])
    check_sound(device, layer, x, in_network=False)
    with pytest.raises(ShapeError, match="axis 0 is the batch's"):
        layer.output_shape((3,))
    with pytest.raises(ConfigError, match=r"a step other than 0 .* got starts=\(0,\), ends=\(1,\)"):
        Slice([0], [1], [1], [0])


@pytest.mark.parametrize(
    ("indices", "axis"), [([2, 0, 2, 2, 1], 1), ([[0, -1], [-2, 1]], 2), (1, -1), ([0, 2, 4], 3), ([], 1)]
)
def test_take(device: Device, indices, axis: int) -> None:
    x, places = _x(2, 3, 4, 5), np.asarray(indices, dtype=np.int64)
    layer = Take(places, axis)
    np.testing.assert_array_equal(asnumpy(layer.forward(device.asarray(x))), np.take(x, places, axis))
    check_sound(device, layer, x)


def test_take_what_is_not_there() -> None:
    with pytest.raises(ShapeError, match="indices -1 to 3 for an axis of 3 elements"):
        Take([3, -1]).output_shape((3,))
    with pytest.raises(ShapeError, match="axis 0 is the batch's"):
        Take([0], axis=0).output_shape((3,))
    with pytest.raises(ConfigError, match="whole numbers, got an array of float64"):
        Take([0.5])


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", [[(1, 2), (0, 3)], [(0, 0), (7, 8)], [(0, 0), (0, 0)]])
def test_pad(device: Device, mode: str, pads: list[tuple[int, int]]) -> None:
    x = _x(2, 2, 3, 4)
    layer = Pad(pads, mode)
    want = np.pad(x, [(0, 0), (0, 0), *pads], mode)
    np.testing.assert_array_equal(asnumpy(layer.forward(device.asarray(x))), want)
    check_sound(device, layer, x)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_negative_pads_cut_off(device: Device, mode: str) -> None:
    x = _x(2, 2, 3, 4)
    layer = Pad([(-1, 1), (2, -3)], mode, axes=(-1, 2))
    # Padded first and cut then, which is the same.
    want = np.pad(x, [(0, 0), (0, 0), (2, 0), (0, 1)], mode)[:, :, :2, 1:]
    np.testing.assert_array_equal(asnumpy(layer.forward(device.asarray(x))), want)
    check_sound(device, layer, x)


def test_pad_with_a_value(device: Device) -> None:
    y = Pad([(1, 0)], value=float("-inf")).forward(device.asarray(np.ones((1, 2), np.float32)))
    assert (y.dtype, asnumpy(y).tolist()) == ("float32", [[float("-inf"), 1.0, 1.0]])
    whole = Pad([(1, 1), (0, 1)]).forward(device.asarray(np.ones((1, 1), np.int64)))
    assert (whole.dtype, asnumpy(whole).tolist()) == ("int64", [[0, 0], [1, 0], [0, 0]])


def test_pads_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="one of constant, edge, reflect, wrap, got 'symmetric'"):
        Pad([(1, 1)], "symmetric")
    with pytest.raises(ConfigError, match="1 pairs of pads for 2 axes"):
        Pad([(1, 1)], axes=(1, 2))
    with pytest.raises(ShapeError, match="samples cannot be padded with more samples"):
        Pad([(1, 1), (0, 0)]).output_shape((3,))
    with pytest.raises(ShapeError, match=r"do not fit an array of shape \(1, 3\)"):
        Pad([(-2, -2)]).output_shape((3,))
    with pytest.raises(ShapeError, match="an axis of no elements cannot be padded by 1 and 0 in mode 'edge'"):
        Pad([(1, 0)], "edge").forward(np.zeros((2, 0)))
    with pytest.raises(ShapeError, match="a padded array of shape .* would take"):
        Pad([(0, 2**50)]).output_shape((3,))


SOUND = [
    (Expand((4, 1, 5)), (2, 1, 3, 1), lambda x: np.broadcast_to(x, (2, 4, 3, 5))),
    (Expand((1, 4, 3)), (2, 1, 3), lambda x: np.broadcast_to(x, (2, 4, 3))),
    (Expand((2,)), (2, 3, 1), lambda x: np.broadcast_to(x, (2, 3, 2))),
    (Tile((1, 2, 3)), (2, 3, 2), lambda x: np.tile(x, (1, 2, 3))),
    (Tile((1, 0)), (2, 3), lambda x: x[:, :0]),
]


@pytest.mark.parametrize(("layer", "shape", "meaning"), SOUND)
def test_what_is_repeated(device: Device, layer: Layer, shape: tuple[int, ...], meaning) -> None:
    x = _x(*shape)
    np.testing.assert_array_equal(asnumpy(layer.forward(device.asarray(x))), meaning(x))
    check_sound(device, layer, x)


def test_repeating_whole_arrays(device: Device) -> None:
    x = _x(1, 3)
    for layer, want in [(Expand((2, 4, 3)), (2, 4, 3)), (Tile((3, 2)), (3, 6))]:
        assert layer.forward(device.asarray(x)).shape == want
        check_sound(device, layer, x, in_network=False)
        with pytest.raises(ShapeError, match="axis 0 is the batch's"):
            layer.output_shape((3,))
    with pytest.raises(ShapeError, match=r"an array of shape \(1, 3\) cannot be expanded to \(2,\)"):
        Expand((2,)).forward(x)
    with pytest.raises(ShapeError, match="an expanded array of shape .* would take"):
        Expand((2**60, 3)).forward(x)
    with pytest.raises(ShapeError, match="a tiled array of shape .* would take"):
        Tile((2**60, 1)).forward(x)
    with pytest.raises(ShapeError, match=r"wanted an array of 3 axes, N among them, got shape \(1, 3\)"):
        Tile((1, 2, 2)).forward(x)
    with pytest.raises(ConfigError, match="0 times or more often"):
        Tile((1, -1))


def test_a_pad_in_a_network() -> None:
    net = Sequential([pad((1, 0, 0, 2), "edge")], input_shape=(1, 1, 2))
    assert net.predict(np.array([[[[1.0, 2.0]]]], np.float32))[0, 0].tolist() == [[1, 2, 2, 2], [1, 2, 2, 2]]
