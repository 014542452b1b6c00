"""Taking along an axis, and padding, against NumPy and loops."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.ops.reference import pad, pad_backward, padded_places, take, take_backward

PLACES = [[0, 1, 2], [4, 2, 0], [1, 1, 1], [0, 2, 4, 0, 3, 3], [3], []]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_take_and_its_gradient(device: Device, places: list[int], axis: int, dtype: str) -> None:
    where = np.array(places, dtype=np.int64)
    x = np.random.default_rng(0).integers(-9, 10, (5, 5, 5)).astype(dtype)
    y = take(device.asarray(x), where, axis)
    assert y.dtype == dtype
    np.testing.assert_array_equal(asnumpy(y), np.take(x, where, axis))
    want = np.zeros_like(x)
    for i, place in enumerate(places):
        np.moveaxis(want, axis, 0)[place] += np.moveaxis(asnumpy(y), axis, 0)[i]
    dx = take_backward(y, where, axis, 5)
    assert dx.dtype == dtype
    np.testing.assert_array_equal(asnumpy(dx), want)  # whole numbers: exact


@pytest.mark.parametrize("mode", ["edge", "reflect", "wrap"])
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 3), (12, 7)])
def test_padded_places(mode: str, size: int, before: int, after: int) -> None:
    want = np.pad(np.arange(size), (before, after), mode)
    np.testing.assert_array_equal(padded_places(size, before, after, mode), want)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pad_keeps_the_dtype(device: Device, mode: str, dtype: str) -> None:
    x = np.array([[1, 0, 1], [0, 1, 1]]).astype(dtype)
    y = pad(device.asarray(x), [(1, 1), (0, 2)], mode)
    assert y.dtype == dtype
    np.testing.assert_array_equal(asnumpy(y), np.pad(x, [(1, 1), (0, 2)], mode))


def test_everything_may_be_cut_off(device: Device) -> None:
    x = device.asarray(np.ones((2, 3)))
    for pads in ([(0, 0), (-3, 0)], [(0, 0), (-1, -2)], [(0, 0), (-4, 1)]):
        y = pad(x, pads)
        assert y.shape == (2, 0)
        assert asnumpy(pad_backward(y, x.shape, pads)).tolist() == [[0.0] * 3] * 2
    assert asnumpy(pad(x, [(0, 0), (-5, 4)], value=7.0)).tolist() == [[7.0] * 2] * 2  # nothing of x is left


def test_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="one of constant, edge, reflect, wrap, got 'mirror'"):
        pad(np.zeros((2, 2)), [(0, 0), (1, 1)], "mirror")
    with pytest.raises(ShapeError, match="do not fit an array of shape"):
        pad(np.zeros((2, 2)), [(0, 0)])
    with pytest.raises(ShapeError, match="do not fit an array of shape"):
        pad(np.zeros((2, 2)), [(0, 0), (-2, -1)])
