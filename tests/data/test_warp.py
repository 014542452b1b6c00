"""Bilinear warps: the slow way, edges, several channels, and that the size of a batch changes nothing."""

import math

import numpy as np
import pytest

from xpcnn.data import warp as module
from xpcnn.data.warp import affine_places, bend_places, warp


def places_of(n, height, width, reach, seed=0):
    """Any sums of a row's and a column's part, some of them outside the picture."""
    rng = np.random.default_rng(seed)
    sizes = (height, width, height, width)
    return tuple(rng.uniform(-reach, reach, (n, size)) for size in sizes)


def slowly(x, places):
    result = np.zeros_like(x)
    height, width = x.shape[2:]
    for k, c, i, j in np.ndindex(x.shape):
        row, column = places[0][k, i] + places[1][k, j], places[2][k, i] + places[3][k, j]
        for m in (math.floor(row), math.floor(row) + 1):
            for o in (math.floor(column), math.floor(column) + 1):
                if 0 <= m < height and 0 <= o < width:
                    result[k, c, i, j] += x[k, c, m, o] * (1 - abs(row - m)) * (1 - abs(column - o))
    return result


# In float32 a place near 10 is rounded to 1e-6, and so are the shares that follow from it.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("shape", [(3, 1, 7, 7), (4, 3, 5, 8), (1, 2, 1, 6), (2, 1, 1, 1)])
def test_against_the_slow_way(shape, dtype, tolerance):
    x = np.random.default_rng(1).uniform(0.5, 1, shape).astype(dtype)
    places = places_of(shape[0], *shape[2:], reach=max(shape))
    kept = [part.copy() for part in places]
    y = warp(x, places)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    np.testing.assert_allclose(y, slowly(x, places), rtol=0, atol=tolerance)
    assert (y == 0).any() or shape == (2, 1, 1, 1)  # some places lay outside
    for part, before in zip(places, kept, strict=True):
        np.testing.assert_array_equal(part, before)


def test_whole_places_are_taken_exactly():
    x = np.random.default_rng(1).uniform(0, 1, (2, 1, 4, 6)).astype(np.float32)
    identity = affine_places(4, 6, np.tile(np.eye(2), (2, 1, 1)))
    np.testing.assert_array_equal(warp(x, identity), x)
    half_turn = affine_places(4, 6, np.tile(-np.eye(2), (2, 1, 1)))
    np.testing.assert_array_equal(warp(x, half_turn), x[..., ::-1, ::-1])
    moved = (identity[0] + 1, *identity[1:])
    np.testing.assert_array_equal(warp(x, moved)[:, :, :-1], x[:, :, 1:])
    assert (warp(x, moved)[:, :, -1] == 0).all()


@pytest.mark.parametrize("far", [1e3, 1e30])
def test_far_outside_is_zero(far):
    x = np.ones((1, 1, 3, 3), np.float32)
    places = affine_places(3, 3, np.tile(np.eye(2), (1, 1, 1)))
    for part in range(4):
        for sign in (1.0, -1.0):
            moved = [*places]
            moved[part] = moved[part] + sign * far
            assert (warp(x, tuple(moved)) == 0).all()


@pytest.mark.parametrize("together", [1, 50, 127, 10**6])
def test_pictures_at_a_time_change_no_bit(together, monkeypatch):
    x = np.random.default_rng(1).uniform(0, 1, (9, 2, 5, 5)).astype(np.float32)
    places = places_of(9, 5, 5, 4.0)
    expected = warp(x, places)
    monkeypatch.setattr(module, "_TOGETHER", together)
    np.testing.assert_array_equal(warp(x, places), expected)


def test_no_pictures():
    x = np.zeros((0, 1, 4, 4), np.float32)
    assert warp(x, places_of(0, 4, 4, 1.0)).shape == x.shape


def test_bends_are_drawn_for_each_part_and_picture():
    places = tuple(np.zeros((50, 30)) for _ in range(4))
    bent = bend_places(places, 2.0, np.random.default_rng(0))
    for part in bent:
        assert np.abs(part).max() <= 2.0
        assert len(np.unique(part, axis=0)) == 50
    assert len({part.tobytes() for part in bent}) == 4
    # Heights are drawn evenly from 0..2, and a sine of half a wave or more nearly reaches its own: mean of 50 about 1.
    assert 0.6 < np.mean([np.abs(part).max(axis=1) for part in bent]) < 1.2
