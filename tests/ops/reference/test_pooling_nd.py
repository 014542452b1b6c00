"""Pooling over any number of axes against plain loops: dilation, ceil, pads that count and that do not, Lp norms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import oracles, pooling_oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops.reference.pooling_nd import (
    Windows,
    average_pool_nd_backward,
    average_pool_nd_forward,
    lp_pool_nd_backward,
    lp_pool_nd_forward,
    max_pool_nd_backward,
    max_pool_nd_forward,
    max_pool_places,
)


def _windows(window: Any, stride: Any = None, pads: Any = None, dilation: Any = None, ceil: bool = False) -> Windows:
    ones = (1,) * len(window)
    return Windows(window, stride or ones, pads or (0,) * (2 * len(window)), dilation or ones, ceil)


CASES: list[tuple[tuple[int, ...], Windows]] = [
    ((2, 3, 9), _windows((3,), (2,))),
    ((1, 2, 8), _windows((3,), (2,), (1, 1), ceil=True)),
    ((2, 1, 7), _windows((2,), (3,), (1, 0), (2,))),
    ((2, 2, 6, 7), _windows((3, 2), (2, 3), (1, 0, 2, 1))),
    ((1, 2, 8, 7), _windows((3, 3), (2, 2), ceil=True)),
    ((1, 2, 8, 6), _windows((3, 2), (2, 4), (1, 1, 0, 0), ceil=True)),
    ((1, 1, 4, 4), _windows((2, 2), (4, 3), (1, 1, 1, 1), ceil=True)),  # a window that would begin in the end pad
    ((2, 1, 9, 8), _windows((2, 3), (1, 2), (1, 2, 0, 3), (3, 2), ceil=True)),
    ((1, 1, 2, 2), _windows((3, 3), (2, 2), ceil=True)),  # larger than the input
    ((1, 2, 4, 5, 3), _windows((2, 3, 2), (2, 1, 1), (0, 1, 1, 1, 0, 0))),
    ((1, 1, 5, 4, 6), _windows((2, 2, 3), (2, 3, 2), (1, 0, 1, 0, 1, 1), (2, 1, 1), ceil=True)),
    ((1, 1, 3, 3, 3, 3), _windows((2,) * 4, (1,) * 4)),
    ((1, 1, 18, 17), _windows((17, 16))),  # 272 places: the winner's does not fit uint8
]
each_case = pytest.mark.parametrize(("shape", "windows"), CASES, ids=str)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@each_case
@each_dtype
def test_max(device: Device, shape: tuple[int, ...], windows: Windows, dtype: str) -> None:
    random = np.random.default_rng(0)
    x = random.integers(-9, 0, shape).astype(dtype)  # negative and with ties: a pad of 0 would win
    given_x = device.asarray(x.copy())
    y, winner = max_pool_nd_forward(given_x, windows)
    dout = random.integers(-9, 10, y.shape).astype(dtype)
    want_y, want_places, want_dx = pooling_oracles.max_pool(x, windows, dout)
    assert y.dtype == dtype
    assert winner.dtype == ("int32" if math.prod(windows.window) > 256 else "uint8")
    np.testing.assert_array_equal(asnumpy(y), want_y)
    np.testing.assert_array_equal(asnumpy(given_x), x)

    dx = max_pool_nd_backward(device.asarray(dout), winner, shape, windows)
    assert (dx.dtype, dx.shape) == (dtype, shape)
    np.testing.assert_array_equal(asnumpy(dx), want_dx)  # sums of small whole numbers are exact

    sizes = shape[2:]
    places = max_pool_places(winner, sizes, windows)
    assert places.dtype == "int64"
    np.testing.assert_array_equal(asnumpy(places), want_places)
    turned = asnumpy(max_pool_places(winner, sizes, windows, column_major=True))
    where = np.unravel_index(want_places, sizes)
    np.testing.assert_array_equal(turned, np.ravel_multi_index(where, sizes, order="F"))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16"])
def test_max_of_other_numbers(device: Device, dtype: str) -> None:
    x = np.random.default_rng(1).integers(0, 100, (2, 2, 5, 6))
    x = (x - (50 if dtype != "uint8" else 0)).astype(dtype)
    windows = _windows((2, 3), (2, 2), (1, 1, 0, 1), ceil=True)
    y, _ = max_pool_nd_forward(device.asarray(x), windows)
    assert y.dtype == dtype
    np.testing.assert_array_equal(asnumpy(y), pooling_oracles.max_pool(x, windows)[0])


def test_nan_reaches_every_window_that_sees_it() -> None:
    x = np.random.default_rng(2).standard_normal((1, 2, 5, 6))
    x[0, 0, 2, 3] = x[0, 1, 4, 5] = x[0, 1, 4, 4] = np.nan
    windows = _windows((2, 2), (1, 2), (1, 0, 1, 1), (2, 1))
    y, winner = max_pool_nd_forward(x, windows)
    want, _, dx = pooling_oracles.max_pool(x, windows, np.ones_like(y))
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(max_pool_nd_backward(np.ones_like(y), winner, x.shape, windows), dx)


@each_case
@each_dtype
@pytest.mark.parametrize("count_pad", [True, False])
def test_average(device: Device, shape: tuple[int, ...], windows: Windows, dtype: str, count_pad: bool) -> None:
    random = np.random.default_rng(3)
    x = random.integers(-9, 10, shape).astype(dtype)
    y = average_pool_nd_forward(device.asarray(x), windows, count_pad)
    dout = random.integers(-9, 10, y.shape).astype(dtype)
    want, want_dx = pooling_oracles.average_pool(x, windows, count_pad, dout)
    assert y.dtype == dtype
    # Sums of small whole numbers are exact in both; one division, then its rounding to dtype, twice at most.
    np.testing.assert_allclose(asnumpy(y), want, rtol=2 * float(np.finfo(dtype).eps), atol=0.0)
    dx = average_pool_nd_backward(device.asarray(dout), shape, windows, count_pad)
    assert (dx.dtype, dx.shape) == (dtype, shape)
    terms = math.prod(windows.window)  # as many shares as windows see an element, at most; each below 9
    oracles.assert_close(asnumpy(dx), want_dx, terms, 9.0 * terms)


def test_what_hangs_over_the_end_never_counts(device: Device) -> None:
    x = device.asarray(np.full((1, 1, 4), 6.0))
    hanging = _windows((3,), (2,), (1, 1), ceil=True)  # pads at -1 and 4; the last window sees 3, 4 and beyond
    counted = average_pool_nd_forward(x, hanging, count_pad=True)
    assert asnumpy(counted).tolist() == [[[4.0, 6.0, 3.0]]]
    assert asnumpy(average_pool_nd_forward(x, hanging, count_pad=False)).tolist() == [[[6.0, 6.0, 6.0]]]


@each_case
@each_dtype
@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_lp(device: Device, shape: tuple[int, ...], windows: Windows, dtype: str, p: float) -> None:
    x = np.random.default_rng(4).standard_normal(shape).astype(dtype)
    y = lp_pool_nd_forward(device.asarray(x), windows, p)
    assert y.dtype == dtype
    # Powers are right to an ulp or two, sums of positive numbers to `terms` ulps, and a root divides errors by p.
    rtol = (math.prod(windows.window) + 8) * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(asnumpy(y), pooling_oracles.lp_pool(x, windows, p), rtol=rtol, atol=0.0)
    dx = lp_pool_nd_backward(device.xp.ones_like(y), device.asarray(x), y, windows, p)
    assert (dx.dtype, dx.shape) == (dtype, shape)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_lp_of_nothing_but_zeros_has_no_slope(device: Device, p: float) -> None:
    x = device.xp.zeros((1, 1, 2, 2))
    windows = _windows((2, 2))
    y = lp_pool_nd_forward(x, windows, p)
    assert asnumpy(lp_pool_nd_backward(device.xp.ones_like(y), x, y, windows, p)).tolist() == [[[[0.0] * 2] * 2]]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    axes=st.lists(
        st.tuples(*(st.integers(1, most) for most in (6, 3, 4, 3)), st.integers(0, 3), st.integers(0, 3)),
        min_size=1,
        max_size=3,
    ),
    ceil=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_geometry(axes: list[tuple[int, ...]], ceil: bool, seed: int) -> None:
    sizes, window, stride, dilation, begins, ends = (tuple(v) for v in zip(*axes, strict=True))
    spread = [d * (w - 1) + 1 for d, w in zip(dilation, window, strict=True)]
    assume(all(max(b, e) < s for b, e, s in zip(begins, ends, spread, strict=True)))  # what layers ask for
    windows = Windows(window, stride, begins + ends, dilation, ceil)
    x = np.random.default_rng(seed).integers(-3, 4, (1, 2, *sizes)).astype(np.float64)
    out, every = pooling_oracles.seen_by(x.shape, windows)
    assume(all(out))
    for count_pad in (True, False):
        np.testing.assert_array_equal(
            average_pool_nd_forward(x, windows, count_pad), pooling_oracles.average_pool(x, windows, count_pad)[0]
        )
    assume(all(seen.places for seen in every))
    np.testing.assert_array_equal(max_pool_nd_forward(x, windows)[0], pooling_oracles.max_pool(x, windows)[0])


def test_errors() -> None:
    windows = _windows((3, 3))
    with pytest.raises(ShapeError, match=r"a window over 2 axes needs .* got one of shape \(1, 2, 5\)"):
        max_pool_nd_forward(np.zeros((1, 2, 5)), windows)
    with pytest.raises(ShapeError, match=r"a window over 2 axes needs .* got one of shape \(1, 2, 5\)"):
        average_pool_nd_forward(np.zeros((1, 2, 5)), windows)
    with pytest.raises(ShapeError, match="a window of 3x3 does not fit an input of 2x5"):
        lp_pool_nd_forward(np.zeros((1, 2, 2, 5)), windows)
