"""Pooling over whole channels and into bins, and unpooling, against plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops import reference

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_shape = pytest.mark.parametrize("shape", [(2, 3, 5), (2, 2, 4, 3), (1, 2, 2, 3, 4), (3, 1, 1, 1)])


def _whole(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


@each_shape
@each_dtype
def test_global_average(device: Device, shape: tuple[int, ...], dtype: str) -> None:
    x = _whole(shape, dtype)
    y = reference.global_average_pool_forward(device.asarray(x))
    assert (y.dtype, y.shape) == (dtype, shape[:2] + (1,) * (len(shape) - 2))
    want = [[math.fsum(x[n, c].ravel().tolist()) / x[n, c].size for c in range(shape[1])] for n in range(shape[0])]
    # Sums of small whole numbers are exact; one division and its rounding to dtype.
    np.testing.assert_allclose(asnumpy(y).reshape(shape[:2]), want, rtol=2 * float(np.finfo(dtype).eps), atol=0.0)
    dx = reference.global_average_pool_backward(device.xp.ones_like(y) * math.prod(shape[2:]), shape)
    assert dx.dtype == dtype
    np.testing.assert_array_equal(asnumpy(dx), np.ones(shape))


@each_shape
@each_dtype
def test_global_max(device: Device, shape: tuple[int, ...], dtype: str) -> None:
    x = _whole(shape, dtype)  # with ties
    y, winner = reference.global_max_pool_forward(device.asarray(x))
    assert (y.dtype, y.shape) == (dtype, shape[:2] + (1,) * (len(shape) - 2))
    dout = _whole(y.shape, dtype, 1)
    dx = reference.global_max_pool_backward(device.asarray(dout), winner, shape)
    assert dx.dtype == dtype
    want = np.zeros(shape)
    for n, c in np.ndindex(*shape[:2]):
        values = x[n, c].ravel().tolist()
        want[n, c].reshape(-1)[values.index(max(values))] = dout[n, c].item()
        assert asnumpy(y)[n, c].item() == max(values)
    np.testing.assert_array_equal(asnumpy(dx), want)


def test_nan_is_the_largest() -> None:
    x = np.array([[[1.0, np.nan, 3.0, np.nan]]])
    y, winner = reference.global_max_pool_forward(x)
    assert np.isnan(y).all()
    assert winner.item() == 1


@each_shape
@each_dtype
@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp(device: Device, shape: tuple[int, ...], dtype: str, p: int) -> None:
    x = _whole(shape, dtype)
    x[0, 0] = 0.0
    y = reference.global_lp_pool_forward(device.asarray(x), p)
    assert (y.dtype, y.shape) == (dtype, shape[:2] + (1,) * (len(shape) - 2))
    norms = [[sum(abs(v) ** p for v in c.ravel().tolist()) ** (1 / p) for c in sample] for sample in x]
    # Powers of small whole numbers sum exactly; a root and its rounding to dtype, some ulps.
    np.testing.assert_allclose(asnumpy(y).reshape(shape[:2]), norms, rtol=8 * float(np.finfo(dtype).eps), atol=0.0)
    dx = reference.global_lp_pool_backward(device.xp.ones_like(y), device.asarray(x), y, p)
    assert dx.dtype == dtype
    assert not asnumpy(dx)[0, 0].any()  # no slope where all is 0


# ------------------------------------------------------------------------------------------------------ adaptive
BINS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((2, 2, 7), (3,)),
    ((1, 2, 6, 5), (3, 2)),
    ((1, 1, 5, 7), (5, 1)),
    ((2, 1, 2, 3), (4, 5)),  # more bins than places
    ((1, 2, 4, 3, 5), (2, 2, 3)),
]


@pytest.mark.parametrize(("shape", "sizes"), BINS, ids=str)
@each_dtype
def test_adaptive_average(device: Device, shape: tuple[int, ...], sizes: tuple[int, ...], dtype: str) -> None:
    x = _whole(shape, dtype)
    y = reference.adaptive_average_pool_forward(device.asarray(x), sizes)
    dout = _whole(y.shape, dtype, 1)
    dx = reference.adaptive_average_pool_backward(device.asarray(dout), shape)
    assert (y.dtype, y.shape, dx.dtype, dx.shape) == (dtype, (*shape[:2], *sizes), dtype, shape)
    want, want_dx = np.empty(y.shape), np.zeros(shape)
    for at in np.ndindex(*y.shape):
        bins = [
            slice(math.floor(i * size / count), math.ceil((i + 1) * size / count))
            for i, size, count in zip(at[2:], shape[2:], sizes, strict=True)
        ]
        seen = x[(*at[:2], *bins)]
        want[at] = math.fsum(seen.ravel().tolist()) / seen.size
        want_dx[(*at[:2], *bins)] += dout[at] / seen.size
    oracles.assert_close(asnumpy(y), want, math.prod(shape[2:]), 9.0)
    oracles.assert_close(asnumpy(dx), want_dx, math.prod(sizes), 9.0 * math.prod(sizes))


def test_as_many_bins_as_places_change_nothing(device: Device) -> None:
    x = _whole((2, 3, 4, 5), "float32")
    y = reference.adaptive_average_pool_forward(device.asarray(x), (4, 5))
    np.testing.assert_array_equal(asnumpy(y), x)


# ----------------------------------------------------------------------------------------------------- unpooling
@pytest.mark.parametrize("whole", [False, True])
def test_unpooling(device: Device, whole: bool) -> None:
    x = _whole((2, 2, 3), "float32")
    channel = np.array([[[0, 4, 2], [4, 3, 1]], [[2, 1, 0], [0, 2, 4]]])
    indices = channel + (np.arange(4).reshape(2, 2, 1) * 5 if whole else 0)
    y = reference.max_unpool_forward(device.asarray(x), device.asarray(indices), (5,), whole)
    want, dout = np.zeros((2, 2, 5)), _whole((2, 2, 5), "float32", 1)
    want_dx = np.zeros(x.shape)
    for at in np.ndindex(*x.shape):
        want[(*at[:2], channel[at])] = x[at]
        want_dx[at] = dout[(*at[:2], channel[at])]
    assert y.dtype == "float32"
    np.testing.assert_array_equal(asnumpy(y), want)
    dx = reference.max_unpool_backward(device.asarray(dout), device.asarray(indices), whole)
    assert dx.dtype == "float32"
    np.testing.assert_array_equal(asnumpy(dx), want_dx)


@pytest.mark.parametrize(("place", "whole"), [(6, False), (-1, False), (12, True)])
def test_places_outside(place: int, whole: bool) -> None:
    indices = np.array([[[0], [place]]])
    with pytest.raises(ShapeError, match=r"do not fit an output of shape \(1, 2, 6\)"):
        reference.max_unpool_forward(np.ones((1, 2, 1)), indices, (6,), whole)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: reference.global_average_pool_forward(np.ones((2, 3))), r"got one of shape \(2, 3\)"),
        (lambda: reference.global_max_pool_forward(np.ones((2, 3))), r"got one of shape \(2, 3\)"),
        (lambda: reference.global_lp_pool_forward(np.ones((2, 3))), r"got one of shape \(2, 3\)"),
        (lambda: reference.adaptive_average_pool_forward(np.ones((1, 1, 4)), (2, 2)), r"2 output sizes \(2, 2\)"),
        (lambda: reference.max_unpool_forward(np.ones((1, 1, 2)), np.ones((1, 1, 3), int), (9,)), "as many indices"),
    ],
)
def test_errors(act: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        act()
