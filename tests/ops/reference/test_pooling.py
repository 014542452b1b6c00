"""Max and average pooling against plain loops and central differences, and what a pad may not do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops.geometry import pair, quad
from xpcnn.ops.reference.pooling import (
    average_pool2d_backward,
    average_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)


@dataclass(frozen=True)
class Case:
    x: tuple[int, int, int, int]
    window: tuple[int, int]
    stride: Any = 1
    pad: Any = 0

    def plain(self) -> tuple[Any, Any, Any]:
        return self.window, pair(self.stride, "stride"), quad(self.pad)


def _random_case(seed: int) -> Case:
    r = np.random.default_rng(2000 + seed)
    window = tuple(r.integers(1, 5, 2).tolist())
    # A pad smaller than the window, so that no window is all pad.
    pad = tuple(int(r.integers(0, w)) for w in (window * 2))
    size = [int(w + r.integers(0, 5)) for w in window]
    return Case((*r.integers(1, 4, 2).tolist(), *size), window, tuple(r.integers(1, 4, 2).tolist()), pad)


CASES = [
    Case((1, 1, 1, 1), (1, 1)),
    Case((2, 3, 6, 6), (2, 2), 2),
    Case((2, 2, 7, 5), (2, 2), 2),  # odd sizes: the last row and column are seen by no window
    Case((1, 2, 6, 7), (3, 2), (2, 1), (1, 0)),
    Case((2, 1, 5, 6), (3, 3), (1, 2), (2, 0, 1, 2)),  # overlapping, all pads different
    Case((1, 3, 4, 4), (4, 4), 4),  # the whole picture
    Case((1, 1, 18, 17), (17, 16), 1),  # 272 places: the winner's index does not fit uint8
    Case((1, 1, 17, 16), (16, 16), 1),  # 256 places: it just does
    *(_random_case(seed) for seed in range(10)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.x}-{c.window}-{c.stride}-{c.pad}")
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _pictures(shape: tuple[int, ...], dtype: str, ties: bool = False) -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.integers(-2, 3, shape) if ties else random.standard_normal(shape)).astype(dtype)


# ---------------------------------------------------------------------------------------------------------- max
@each_case
@each_dtype
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool(device: Device, case: Case, dtype: str, ties: bool) -> None:
    x = _pictures(case.x, dtype, ties)
    given_x = device.asarray(x.copy())
    y, winner = max_pool2d_forward(given_x, *case.window, case.stride, case.pad)
    assert y.dtype == dtype
    np.testing.assert_array_equal(asnumpy(y), oracles.max_pool2d(x, *case.plain()))  # picks, never adds: exact
    np.testing.assert_array_equal(asnumpy(given_x), x)

    dout = np.random.default_rng(1).integers(-9, 10, y.shape).astype(dtype)  # small whole numbers: sums are exact
    given_dout, kept = device.asarray(dout.copy()), asnumpy(winner).copy()
    dx = max_pool2d_backward(given_dout, winner, case.x, *case.window, case.stride, case.pad)
    assert (dx.shape, dx.dtype) == (case.x, dtype)
    np.testing.assert_array_equal(asnumpy(dx), oracles.max_pool2d(x, *case.plain(), dout=dout))
    np.testing.assert_array_equal(asnumpy(given_dout), dout)
    np.testing.assert_array_equal(asnumpy(winner), kept)


@pytest.mark.parametrize(("window", "dtype"), [((16, 16), "uint8"), ((17, 16), "int32")])
def test_the_winner_is_kept_small(device: Device, window: tuple[int, int], dtype: str) -> None:
    x = np.zeros((1, 1, *window), dtype=np.float32)
    x[..., -1, -1] = 1.0
    _, winner = max_pool2d_forward(device.asarray(x), *window)
    assert winner.dtype == dtype
    assert int(winner[0, 0, 0, 0]) == window[0] * window[1] - 1


@each_case
def test_a_pad_never_wins_on_all_negative_pictures(device: Device, case: Case) -> None:
    x = -1.0 - abs(_pictures(case.x, "float32")) * 1e30
    y, winner = max_pool2d_forward(device.asarray(x), *case.window, case.stride, case.pad)
    assert float(y.max()) <= -1.0
    assert np.isfinite(asnumpy(y)).all()
    np.testing.assert_array_equal(asnumpy(y), oracles.max_pool2d(x, *case.plain()))
    # Nothing of the gradient falls into the pad.
    dx = max_pool2d_backward(device.xp.ones_like(y), winner, case.x, *case.window, case.stride, case.pad)
    assert float(dx.sum()) == y.size


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("rest", [1.0, np.inf, -np.inf])
def test_nan_wins_from_any_place(device: Device, place: tuple[int, int], rest: float) -> None:
    x = np.full((1, 1, 2, 4), rest, dtype=np.float32)
    x[0, 0, *place] = np.nan
    y, winner = max_pool2d_forward(device.asarray(x), 2, 2, 2)
    np.testing.assert_array_equal(asnumpy(y)[0, 0], [[np.nan, rest]])
    assert int(winner[0, 0, 0, 0]) == 2 * place[0] + place[1]


def test_nan_reaches_every_window_that_sees_it() -> None:
    x = _pictures((2, 2, 6, 6), "float64")
    x[0, 1, 2, 3] = x[1, 0, 5, 5] = x[1, 0, 5, 4] = np.nan
    y, winner = max_pool2d_forward(x, 3, 3, (1, 2), (1, 0, 2, 1))
    plain = ((3, 3), (1, 2), (1, 0, 2, 1))
    np.testing.assert_array_equal(y, oracles.max_pool2d(x, *plain))
    dx = max_pool2d_backward(np.ones_like(y), winner, x.shape, 3, 3, (1, 2), (1, 0, 2, 1))
    np.testing.assert_array_equal(dx, oracles.max_pool2d(x, *plain, dout=np.ones_like(y)))


def test_of_equals_the_first_wins(device: Device) -> None:
    x = device.asarray(np.ones((1, 1, 4, 4), dtype=np.float32))
    y, winner = max_pool2d_forward(x, 2, 2, 2)
    assert not asnumpy(winner).any()
    dx = max_pool2d_backward(y, winner, x.shape, 2, 2, 2)
    np.testing.assert_array_equal(asnumpy(dx)[0, 0], np.kron(np.ones((2, 2)), [[1.0, 0.0], [0.0, 0.0]]))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pad=st.tuples(*[st.integers(0, 3)] * 4),
    seed=st.integers(0, 2**16),
)
def test_any_geometry(size, window, stride, pad, seed: int) -> None:
    assume(all(p < w for p, w in zip(pad, window * 2, strict=True)))
    x = np.random.default_rng(seed).integers(-3, 4, (2, 1, *size)).astype(np.float64)
    assume(all(oracles.windows_of(x.shape, window, stride, pad)))
    np.testing.assert_array_equal(
        max_pool2d_forward(x, *window, stride, pad)[0], oracles.max_pool2d(x, window, stride, pad)
    )
    for count_pad in (True, False):
        # Sums of whole numbers are exact; one division each, and fsum's is the same one.
        np.testing.assert_array_equal(
            average_pool2d_forward(x, *window, stride, pad, count_pad),
            oracles.average_pool2d(x, window, stride, pad, count_pad),
        )


# ------------------------------------------------------------------------------------------------------ average
@each_case
@each_dtype
@pytest.mark.parametrize("count_pad", [True, False])
def test_average_pool(device: Device, case: Case, dtype: str, count_pad: bool) -> None:
    x = _pictures(case.x, dtype)
    given_x = device.asarray(x.copy())
    y = average_pool2d_forward(given_x, *case.window, case.stride, case.pad, count_pad)
    assert y.dtype == dtype
    terms = case.window[0] * case.window[1]
    # The sum of at most `terms` values over at least 1: its error is that of the sum before the division.
    oracles.assert_close(asnumpy(y), oracles.average_pool2d(x, *case.plain(), count_pad), terms, abs(x).max())
    np.testing.assert_array_equal(asnumpy(given_x), x)

    dout = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    given_dout = device.asarray(dout.copy())
    dx = average_pool2d_backward(given_dout, case.x, *case.window, case.stride, case.pad, count_pad)
    assert (dx.shape, dx.dtype) == (case.x, dtype)
    want = oracles.average_pool2d(x, *case.plain(), count_pad, dout=dout)
    magnitude = oracles.average_pool2d(x, *case.plain(), count_pad, dout=abs(dout)).max()
    oracles.assert_close(asnumpy(dx), want, terms, magnitude)
    np.testing.assert_array_equal(asnumpy(given_dout), dout)


def test_counting_the_pad_or_not(device: Device) -> None:
    x = device.asarray(np.full((1, 1, 2, 2), 4.0))
    counting = average_pool2d_forward(x, 2, 2, 1, (1, 1, 0, 0), count_pad=True)
    assert asnumpy(counting)[0, 0].tolist() == [[1.0, 2.0], [2.0, 4.0]]
    not_counting = average_pool2d_forward(x, 2, 2, 1, (1, 1, 0, 0), count_pad=False)
    assert asnumpy(not_counting)[0, 0].tolist() == [[4.0, 4.0], [4.0, 4.0]]


def test_a_window_of_nothing_but_pad_averages_to_zero(device: Device) -> None:
    x = device.asarray(np.ones((1, 1, 2, 2)))
    for count_pad in (True, False):
        y = average_pool2d_forward(x, 2, 2, 2, (2, 0, 0, 0), count_pad)
        assert asnumpy(y)[0, 0].tolist() == [[0.0], [1.0]]
        dx = average_pool2d_backward(device.xp.ones_like(y), x.shape, 2, 2, 2, (2, 0, 0, 0), count_pad)
        assert asnumpy(dx)[0, 0].tolist() == [[0.25, 0.25], [0.25, 0.25]]


# ---------------------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize("case", [CASES[2], CASES[3], CASES[4], CASES[8]], ids=str)
def test_gradients_by_central_differences(case: Case) -> None:
    # Distinct values at least 0.1 apart, so that a step of 1e-5 changes no winner: both poolings are then linear and
    # only rounding is left, some tens of eps / 1e-5.
    random = np.random.default_rng(3)
    x = (random.permutation(int(np.prod(case.x))) * 0.1).reshape(case.x)
    geometry = (*case.window, case.stride, case.pad)
    y, winner = max_pool2d_forward(x, *geometry)
    dout = random.standard_normal(y.shape)
    slope = oracles.central_difference(lambda: float((max_pool2d_forward(x, *geometry)[0] * dout).sum()), x)
    np.testing.assert_allclose(max_pool2d_backward(dout, winner, case.x, *geometry), slope, rtol=0.0, atol=1e-7)
    for count_pad in (True, False):
        slope = oracles.central_difference(
            lambda counted=count_pad: float((average_pool2d_forward(x, *geometry, counted) * dout).sum()), x
        )
        dx = average_pool2d_backward(dout, case.x, *geometry, count_pad)
        np.testing.assert_allclose(dx, slope, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("pool", [max_pool2d_forward, average_pool2d_forward])
@pytest.mark.parametrize(
    ("shape", "window", "words"),
    [
        ((3, 4, 4), (2, 2), r"\(N, C, H, W\), got an array of shape \(3, 4, 4\)"),
        ((1, 3, 4, 4), (5, 2), "a window of 5x2 does not fit a picture of 4x4"),
        ((1, 3, 4, 4), (0, 2), "window must be"),
    ],
)
def test_shapes_that_do_not_fit(pool, shape: tuple[int, ...], window: tuple[int, int], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        pool(np.zeros(shape), *window)


@pytest.mark.parametrize("pad", [2, (0, 0, 2, 0), (0, 2, 0, 0)])
def test_a_max_pooling_window_never_holds_nothing_but_pad(pad):
    with pytest.raises(ShapeError, match="smaller than itself"):
        max_pool2d_forward(np.zeros((1, 1, 4, 4)), 2, 2, 1, pad)
