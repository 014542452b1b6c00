"""Layers that join branches."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.soundness import check_sound
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import Add, Concatenate


@pytest.mark.parametrize("count", [1, 2, 4])
def test_add(device: Device, count: int) -> None:
    xs = [np.random.default_rng(i).integers(-9, 10, (2, 3, 5, 3)).astype(np.float32) for i in range(count)]
    layer = Add()
    y = layer.forward(*(device.asarray(x) for x in xs))
    np.testing.assert_array_equal(asnumpy(y), np.sum(xs, axis=0))  # whole numbers: exact
    dxs = layer.backward(y)
    assert len(dxs) == count
    for dx in dxs:
        np.testing.assert_array_equal(asnumpy(dx), asnumpy(y))


@pytest.mark.parametrize("widths", [(2,), (1, 3), (2, 1, 4)])
@pytest.mark.parametrize("rest", [(), (3, 5)])
def test_concatenate(device: Device, widths: tuple[int, ...], rest: tuple[int, ...]) -> None:
    xs = [np.random.default_rng(i).standard_normal((2, w, *rest)).astype(np.float32) for i, w in enumerate(widths)]
    layer = Concatenate()
    y = layer.forward(*(device.asarray(x) for x in xs))
    assert y.shape == (2, sum(widths), *rest)
    start = 0
    for x, dx in zip(xs, layer.backward(y), strict=True):
        np.testing.assert_array_equal(asnumpy(y)[:, start : start + x.shape[1]], x)
        np.testing.assert_array_equal(asnumpy(dx), x)  # each part of the gradient goes where its part came from
        start += x.shape[1]


def test_shapes_that_do_not_fit() -> None:
    a, b = np.zeros((2, 3, 4, 4)), np.zeros((2, 3, 4, 5))
    with pytest.raises(ShapeError, match=r"wanted inputs of one shape, got \(2, 3, 4, 4\), \(2, 3, 4, 5\)"):
        Add().forward(a, b)
    with pytest.raises(ShapeError, match=r"wanted inputs of one shape"):
        Add().forward(a, a[:1])  # broadcasting one sample over the batch would be a silent mistake
    with pytest.raises(ShapeError, match=r"alike but for their channels, got \(3, 4, 4\), \(3, 4, 5\)"):
        Concatenate().forward(a, b)
    with pytest.raises(ShapeError, match="alike but for their channels"):
        Concatenate().output_shape((3,), (3, 4, 4))
    assert Concatenate().output_shape((3, 4, 4), (2, 4, 4)) == (5, 4, 4)
    assert Add().output_shape((3, 4, 4), (3, 4, 4)) == (3, 4, 4)


def test_add_may_broadcast_where_it_is_told_to(device: Device) -> None:
    a, b, c = (np.random.default_rng(i).standard_normal(s) for i, s in enumerate([(2, 3, 4), (2, 1, 4), (2, 3, 1)]))
    layer = Add(broadcast=True)
    y = layer.forward(*map(device.asarray, (a, b, c)))
    np.testing.assert_array_equal(asnumpy(y), a + b + c)
    check_sound(device, layer, a, b, c)


@pytest.mark.parametrize("axis", [2, -1, 3])
def test_concatenate_along_another_axis(device: Device, axis: int) -> None:
    shapes = [(2, 3, 4, 5), (2, 3, 4, 5)]
    shapes[1] = tuple(n + 2 if i == axis % 4 else n for i, n in enumerate(shapes[1]))
    a, b = (np.random.default_rng(i).standard_normal(s) for i, s in enumerate(shapes))
    layer = Concatenate(axis)
    y = layer.forward(device.asarray(a), device.asarray(b))
    np.testing.assert_array_equal(asnumpy(y), np.concatenate([a, b], axis))
    check_sound(device, layer, a, b)


def test_concatenate_whole_arrays_along_their_first_axis(device: Device) -> None:
    a, b = np.ones((2, 3)), np.zeros((4, 3))
    layer = Concatenate(0)
    assert asnumpy(layer.forward(device.asarray(a), device.asarray(b))).tolist() == [[1.0] * 3] * 2 + [[0.0] * 3] * 4
    check_sound(device, layer, a, b, in_network=False)
    with pytest.raises(ShapeError, match="axis 0 is the batch's"):
        layer.output_shape((3,), (3,))
    with pytest.raises(ShapeError, match="axis 2 of arrays of 2 axes"):
        Concatenate(2).output_shape((3,), (3,))
    with pytest.raises(ShapeError, match=r"alike but for axis 2, got \(3, 4\), \(2, 4\)"):
        Concatenate(2).output_shape((3, 4), (2, 4))
