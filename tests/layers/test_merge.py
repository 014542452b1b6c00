"""Layers that join branches."""

from __future__ import annotations

import numpy as np
import pytest

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
