"""Winograd's kernels against `xpcnn.ops.reference` in float64, over random shapes, for this machine and lesser ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.cpu.compiled.test_kernels import HOSTS, Guarded, filters, nchw
from tests.ops.cpu.test_winograd import assert_close_winograd
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cpu.compiled import ConvKernels
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.winograd import WinogradKernels


class Case(NamedTuple):
    N: int
    C: int
    FN: int
    IH: int
    IW: int
    host: Host | None

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x (NHWC), W (FN, C, 3, 3), b; all values from -1 to 1."""
        rng = np.random.default_rng(0)
        x = rng.uniform(-1.0, 1.0, (self.N, self.IH, self.IW, self.C)).astype(np.float32)
        W = rng.uniform(-1.0, 1.0, (self.FN, self.C, 3, 3)).astype(np.float32)
        return x, W, rng.uniform(-1.0, 1.0, self.FN).astype(np.float32)

    def kernels(self) -> WinogradKernels:
        return WinogradKernels(self.C, self.FN, self.IH, self.IW, host=self.host)

    def out(self) -> Guarded:
        return Guarded((self.N, self.IH - 2, self.IW - 2, self.FN))


CHANNELS = st.one_of(st.integers(1, 20), st.integers(1, 70), st.just(130))
CASES = st.builds(
    Case,
    N=st.integers(1, 5),
    C=CHANNELS,
    FN=CHANNELS,
    IH=st.integers(6, 17),
    IW=st.integers(6, 23),
    host=st.sampled_from(HOSTS),
)
over_shapes = settings(derandomize=True, deadline=None, max_examples=50, database=None)


def scratch(kernels: WinogradKernels, N: int) -> np.ndarray:
    """Room that holds NaNs: whatever is read of it must have been written before."""
    return np.full(kernels.room(N), np.nan, np.float32)


@given(CASES)
@over_shapes
def test_forward_equals_the_reference(case: Case) -> None:
    x, W, b = case.arrays()
    want, _ = reference.conv2d_forward(nchw(x), W.astype(np.float64), b.astype(np.float64))
    kernels, out = case.kernels(), case.out()
    u = kernels.pack(W)
    kernels.forward(x, u, b, out.array, scratch(kernels, case.N))
    assert_close_winograd(nchw(out.check()), want, case.C)
    kernels.forward(x, u, None, out.array, scratch(kernels, case.N), relu=True)
    assert_close_winograd(nchw(out.check()), np.maximum(want - b[:, None, None], 0.0), case.C)


@given(CASES, st.booleans())
@over_shapes
def test_forward_pool_is_the_pooling_of_forward_to_the_bit(case: Case, relu: bool) -> None:
    x, W, b = case.arrays()
    kernels, plain = case.kernels(), case.out()
    u = kernels.pack(W)
    kernels.forward(x, u, b, plain.array, scratch(kernels, case.N))
    shape = (case.N, (case.IH - 2) // 2, (case.IW - 2) // 2, case.FN)
    out, index = Guarded(shape), Guarded(shape, np.uint8)
    kernels.forward_pool(x, u, b, out.array, index.array, scratch(kernels, case.N), relu)
    rows, columns = 2 * shape[1], 2 * shape[2]
    if (case.IH - rows - 2, case.IW - columns - 2) == (0, 0):
        # The tiles are the same ones, and so are the sums.
        windows = plain.array.reshape(case.N, shape[1], 2, shape[2], 2, case.FN).transpose(0, 1, 3, 5, 2, 4)
        windows = windows.reshape(*shape, 4)
        best = windows.max(axis=4)
        np.testing.assert_array_equal(out.check(), np.maximum(best, 0.0) if relu else best)
        np.testing.assert_array_equal(index.check(), windows.argmax(axis=4))
    else:
        want, _ = reference.conv2d_forward(nchw(x), W.astype(np.float64), b.astype(np.float64))
        want = want[:, :, :rows, :columns].reshape(case.N, case.FN, shape[1], 2, shape[2], 2).max(axis=(3, 5))
        assert_close_winograd(nchw(out.check()), np.maximum(want, 0.0) if relu else want, case.C)
        assert index.check().max() <= 3


@given(CASES)
@over_shapes
def test_forward_masked_is_forward_where_the_mask_is_positive_to_the_bit(case: Case) -> None:
    x, W, _ = case.arrays()
    kernels, plain, out, y = case.kernels(), case.out(), case.out(), case.out()
    y.array[...] = np.random.default_rng(3).integers(-1, 2, y.array.shape)
    u = kernels.pack(W)
    kernels.forward(x, u, None, plain.array, scratch(kernels, case.N))
    kernels.forward_masked(x, u, out.array, y.array, scratch(kernels, case.N))
    np.testing.assert_array_equal(out.check(), np.where(y.array > 0, plain.array, np.float32(0.0)))


def test_equal_sums_of_a_window_go_to_the_first() -> None:
    kernels = WinogradKernels(3, 5, 8, 8)
    out, index = np.empty((2, 3, 3, 5), np.float32), np.full((2, 3, 3, 5), 9, np.uint8)
    zeros = np.zeros((2, 8, 8, 3), np.float32)
    kernels.forward_pool(zeros, kernels.pack(np.ones((5, 3, 3, 3), np.float32)), None, out, index, scratch(kernels, 2))
    assert (index == 0).all()
    assert (out == 0).all()


def test_a_nan_stays_a_nan_and_wins_its_window() -> None:
    kernels = WinogradKernels(2, 20, 6, 6)
    x = np.ones((1, 6, 6, 2), np.float32)
    x[0, 0, 0, 0] = np.nan
    out, index = np.empty((1, 2, 2, 20), np.float32), np.empty((1, 2, 2, 20), np.uint8)
    kernels.forward_pool(x, kernels.pack(np.ones((20, 2, 3, 3), np.float32)), None, out, index, scratch(kernels, 1))
    assert np.isnan(out[0, 0, 0]).all()


@pytest.mark.parametrize("size", [10, 13])
def test_a_picture_s_result_does_not_depend_on_its_batch_and_equal_calls_give_equal_bits(size: int) -> None:
    x, W, b = Case(7, 20, 40, size, size, None).arrays()
    kernels = WinogradKernels(20, 40, size, size)
    u = kernels.pack(W)
    whole, again = np.empty((2, 7, size - 2, size - 2, 40), np.float32)
    kernels.forward(x, u, b, whole, scratch(kernels, 7))
    call = kernels.forward(x, u, b, again, scratch(kernels, 7))
    np.testing.assert_array_equal(whole, again)
    again[...] = 0.0
    call()
    np.testing.assert_array_equal(whole, again)
    one = np.empty((1, size - 2, size - 2, 40), np.float32)
    for n in range(7):
        kernels.forward(x[n : n + 1], u, b, one, scratch(kernels, 1))
        np.testing.assert_array_equal(one[0], whole[n])


def test_rounding_beside_that_of_plain_sums() -> None:
    """The root mean square of the error is 1.8 times that of the direct kernel; 3 leaves room for other processors."""
    x, W, b = Case(2, 64, 64, 18, 18, None).arrays()
    want, _ = reference.conv2d_forward(nchw(x), W.astype(np.float64), b.astype(np.float64))
    kernels, direct = WinogradKernels(64, 64, 18, 18), ConvKernels(64, 64, 3, 3, IW=18)
    out, plain = np.empty((2, 2, 16, 16, 64), np.float32)
    kernels.forward(x, kernels.pack(W), b, out, scratch(kernels, 2))
    direct.forward(x, np.ascontiguousarray(W.transpose(2, 3, 1, 0)), b, plain)
    error, usual = (np.sqrt(np.mean((nchw(y) - want) ** 2)) for y in (out, plain))
    assert error < 3.0 * usual


def test_the_room_is_bounded() -> None:
    assert WinogradKernels(64, 64, 514, 514).room(1000) * 4 < 2**20
    assert WinogradKernels(512, 512, 9, 9).room(1000) * 4 < 4 * 2**20


def test_no_pictures() -> None:
    kernels = WinogradKernels(2, 3, 6, 7)
    W = np.ones((3, 2, 3, 3), np.float32)
    x, out = np.empty((0, 6, 7, 2), np.float32), np.empty((0, 4, 5, 3), np.float32)
    kernels.forward(x, kernels.pack(W), None, out, scratch(kernels, 0))()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="6x6 padded pixels or more"):
        WinogradKernels(2, 3, 5, 9)
    kernels = WinogradKernels(2, 3, 8, 9)
    u, room = kernels.pack(np.ones((3, 2, 3, 3), np.float32)), scratch(kernels, 1)
    x, out = np.ones((1, 8, 9, 2), np.float32), np.empty((1, 6, 7, 3), np.float32)
    with pytest.raises(ShapeError, match="x must be"):
        kernels.forward(x[:, :7], u, None, out, room)
    with pytest.raises(ShapeError, match="rows must lie one after another"):
        kernels.forward(np.ones((1, 8, 10, 2), np.float32)[:, :, :9], u, None, out, room)
    with pytest.raises(ShapeError, match="out must be"):
        kernels.forward(x, u, None, out[:, 1:], room)
    with pytest.raises(ShapeError, match="u must be"):
        kernels.forward(x, u[:35], None, out, room)
    with pytest.raises(ShapeError, match="room must be"):
        kernels.forward(x, u, None, out, room[:-1])
    with pytest.raises(ShapeError, match="index must be uint8"):
        kernels.forward_pool(x, u, None, out[:, ::2, :3], out[:, ::2, :3], room)


def test_filters_are_packed_in_groups() -> None:
    """Their shapes come from `filters`, the reference's order, whatever the memory order."""
    kernels = WinogradKernels(4, 6, 6, 6)
    w = np.random.default_rng(0).uniform(-1, 1, (3, 3, 4, 6)).astype(np.float32)
    np.testing.assert_array_equal(kernels.pack(w.transpose(3, 2, 0, 1)), kernels.pack(filters(w).astype(np.float32)))
