"""Convolution over one to four spatial axes against sums over indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests import oracles, oracles_nd
from xpcnn.device import Device, asnumpy
from xpcnn.errors import DeviceError, ShapeError
from xpcnn.ops import reference

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    x: Ints  # N, C, *sizes
    FN: int
    window: Ints
    stride: Ints
    pads: Ints
    dilation: Ints
    groups: int = 1

    @property
    def W(self) -> Ints:
        return (self.FN, self.x[1] // self.groups, *self.window)

    @property
    def options(self) -> tuple[Any, ...]:
        return self.stride, self.pads, self.dilation, self.groups


def random_case(seed: int) -> Case:
    r = np.random.default_rng(seed)
    n, groups = 1 + seed % 4, int(r.integers(1, 4))
    axes = [[int(v) for v in r.integers((1, 1, 0, 0, 1), (4, 4, 3, 3, 3))] for _ in range(n)]
    if n == 4:
        axes = [[min(w, 2), s, min(b, 1), min(e, 1), 1] for w, s, b, e, _ in axes]
    window, stride, begin, end, dilation = (tuple(values) for values in zip(*axes, strict=True))
    room = 5 - n
    sizes = [d * (w - 1) + 1 + int(r.integers(0, 1 + room)) for w, d in zip(window, dilation, strict=True)]
    N, C, FN = (int(r.integers(1, 3)) for _ in range(3))
    return Case((N, C * groups, *sizes), FN * groups, window, stride, begin + end, dilation, groups)


CASES = [
    Case((1, 1, 1), 1, (1,), (1,), (0, 0), (1,)),
    Case((2, 3, 9), 4, (3,), (2,), (2, 0), (2,)),
    Case((1, 4, 6), 4, (3,), (1,), (1, 1), (1,), groups=4),  # depthwise
    Case((1, 2, 4, 5, 3), 3, (2, 3, 1), (2, 1, 3), (1, 0, 2, 0, 1, 0), (1, 2, 1)),
    Case((1, 2, 3), 2, (2,), (5,), (0, 0), (1,)),  # a stride that leaves one window
    *(random_case(seed) for seed in range(16)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.x}-{c.window}-g{c.groups}")
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def whole_numbers(shape: Ints, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


@each_case
@each_dtype
def test_against_sums(device: Device, case: Case, dtype: str) -> None:
    x, W, b = whole_numbers(case.x, 0), whole_numbers(case.W, 1), whole_numbers((case.FN,), 2)
    given = [device.asarray(a, dtype) for a in (x, W, b)]
    y, col = reference.conv_nd_forward(*given, *case.options)
    assert y.dtype == dtype
    # Sums of small whole numbers are exact, in float32 too.
    np.testing.assert_array_equal(asnumpy(y), oracles_nd.conv(x, W, b, *case.options))
    dout = whole_numbers(y.shape, 3)
    got = reference.conv_nd_backward(device.asarray(dout, dtype), col, given[1], case.x[2:], *case.options)
    for one, want in zip(got, oracles_nd.conv_gradients(dout, x, W, *case.options), strict=True):
        assert one.dtype == dtype
        np.testing.assert_array_equal(asnumpy(one), want)
    for a, kept in zip(given, (x, W, b), strict=True):
        np.testing.assert_array_equal(asnumpy(a), kept)  # nothing given is written into


@each_case
def test_fold_is_the_transpose_of_unfold(device: Device, case: Case) -> None:
    x = whole_numbers(case.x, 4)
    windows = reference.unfold_nd(device.asarray(x), case.window, case.stride, case.pads, case.dilation)
    c = whole_numbers(windows.shape, 5)
    back = reference.fold_nd(device.asarray(c), case.x[2:], case.stride, case.pads, case.dilation)
    assert back.shape == case.x
    assert (asnumpy(windows) * c).sum() == (x * asnumpy(back)).sum()  # whole numbers: exact


def test_two_axes_are_the_picture_convolution() -> None:
    random = np.random.default_rng(6)
    x, W, b = (random.standard_normal(s) for s in ((2, 4, 7, 6), (6, 2, 3, 2), (6,)))
    y, col = reference.conv_nd_forward(x, W, b, (2, 1), (1, 0, 2, 3), (1, 2), 2)
    want, want_col = reference.conv2d_forward(x, W, b, (2, 1), (1, 0, 2, 3), (1, 2), 2)
    np.testing.assert_array_equal(col, want_col)
    np.testing.assert_array_equal(y, want)  # the same products in the same order
    dout = random.standard_normal(y.shape)
    got = reference.conv_nd_backward(dout, col, W, (7, 6), (2, 1), (1, 0, 2, 3), (1, 2), 2)
    wanted = reference.conv2d_backward(dout, col, W, x.shape, (2, 1), (1, 0, 2, 3), (1, 2), 2)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rounding_stays_within_its_bound() -> None:
    random = np.random.default_rng(7)
    x, W = random.random((1, 8, 40)).astype(np.float32), random.random((2, 8, 9)).astype(np.float32)
    y, _ = reference.conv_nd_forward(x, W, None, (1,), (0, 0), (1,))
    want = oracles_nd.conv(x.astype(np.float64), W.astype(np.float64), None, (1,), (0, 0), (1,), 1)
    oracles.assert_close(y, want, terms=72, magnitude=72.0)


def test_no_bias_no_dx_and_no_samples(device: Device) -> None:
    x, W = device.asarray(np.ones((2, 1, 4))), device.asarray(np.ones((1, 1, 2)))
    y, col = reference.conv_nd_forward(x, W, None, (1,), (0, 0), (1,))
    assert asnumpy(y).tolist() == [[[2.0] * 3]] * 2
    assert reference.conv_nd_backward(y, col, W, (4,), (1,), (0, 0), (1,), need_dx=False)[0] is None
    y, col = reference.conv_nd_forward(x[:0], W, None, (1,), (0, 0), (1,))
    assert y.shape == (0, 1, 3)
    dx, dW, db = reference.conv_nd_backward(y, col, W, (4,), (1,), (0, 0), (1,))
    assert (dx.shape, asnumpy(dW).tolist(), asnumpy(db).tolist()) == ((0, 1, 4), [[[0.0, 0.0]]], [0.0])


def test_errors(cuda: Device) -> None:
    W = np.zeros((4, 2, 3))
    with pytest.raises(ShapeError, match=r"groups=2 needs an input \(N, 4, ...\) of 1 spatial axes"):
        reference.conv_nd_forward(np.zeros((1, 3, 5)), W, None, (1,), (0, 0), (1,), 2)
    with pytest.raises(ShapeError, match="of 1 spatial axes"):
        reference.conv_nd_forward(np.zeros((1, 2, 5, 5)), W, None, (1,), (0, 0), (1,))
    with pytest.raises(ShapeError, match="a window of 3 does not fit an input of 2 padded to 2"):
        reference.conv_nd_forward(np.zeros((1, 2, 2)), W, None, (1,), (0, 0), (1,))
    with pytest.raises(ShapeError, match=r"padded input of shape \(1, 2, 1099511627777\)"):
        reference.unfold_nd(np.zeros((1, 2, 1)), (1,), (2**50,), (2**40, 0), (1,))
    with pytest.raises(DeviceError):
        reference.conv_nd_forward(np.zeros((1, 2, 5)), cuda.asarray(W), None, (1,), (0, 0), (1,))
