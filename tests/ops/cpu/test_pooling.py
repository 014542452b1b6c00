"""Pooling, bias and ReLU in one go against the three one after another."""

import numpy as np
import pytest

from xpcnn.ops.cpu.pooling import Choice, bias_relu, pool_bias_relu, pool_scatter

SHAPE = (3, 4, 10)


def some(dtype, *shape):
    """Whole numbers around 0, so that many are equal."""
    return np.random.default_rng(1).integers(-2, 3, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("floor", [None, 0.0, "zeros"])
@pytest.mark.parametrize("inplace", [True, False])
def test_bias_relu(dtype, bias, floor, inplace):
    z, b = some(dtype, *SHAPE), some(dtype, SHAPE[-1]) if bias else None
    expected = z + b if bias else z.copy()
    if floor is not None:
        expected = np.where(expected > 0, expected, 0)
    y = z if inplace else np.full(SHAPE, np.nan, dtype)
    bias_relu(z, b, np.zeros(SHAPE[1:], dtype) if floor == "zeros" else floor, y)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("chosen", [True, False])
def test_pool_bias_relu_and_its_scatter(bias, relu, chosen):
    corners = some(np.float32, 4, *SHAPE)
    given = corners.copy()
    b = some(np.float32, SHAPE[-1]) if bias else None
    y, room = np.empty(SHAPE, np.float32), np.empty((2, *SHAPE), np.float32)
    choice = Choice(*np.empty((3, *SHAPE), bool)) if chosen else None
    pool_bias_relu(tuple(corners), b, np.zeros(SHAPE[-1], np.float32) if relu else None, y, room, choice)
    expected = given.max(axis=0) + (b if bias else 0)
    np.testing.assert_array_equal(y, np.maximum(expected, 0) if relu else expected)
    np.testing.assert_array_equal(corners, given)
    if choice is None:
        return
    dy = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)
    spread = np.full((4, *SHAPE), np.nan, np.float32)
    pool_scatter(dy, choice, tuple(spread), room[0])
    first = given.argmax(axis=0)  # of equals the first
    for corner in range(4):
        np.testing.assert_array_equal(spread[corner], np.where(first == corner, dy, 0))
