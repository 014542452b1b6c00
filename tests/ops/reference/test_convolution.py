"""im2col, col2im and conv2d against plain loops, central differences and the definition of a transpose."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import DeviceError, ShapeError
from xpcnn.ops import reference
from xpcnn.ops.geometry import pair, quad
from xpcnn.ops.reference.convolution import (
    col2im,
    conv2d_backward,
    conv2d_forward,
    fold,
    im2col,
    unfold,
    window_slices,
)


@dataclass(frozen=True)
class Case:
    x: tuple[int, int, int, int]  # N, C, H, W
    FN: int
    window: tuple[int, int]
    stride: Any = 1
    pad: Any = 0
    dilation: Any = 1
    groups: int = 1

    def geometry(self) -> dict[str, Any]:
        return {"stride": self.stride, "pad": self.pad, "dilation": self.dilation}

    def plain(self) -> tuple[Any, Any, Any]:
        return pair(self.stride, "stride"), quad(self.pad), pair(self.dilation, "dilation")

    def arrays(self, dtype: str = "float64", seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        W_shape = (self.FN, self.x[1] // self.groups, *self.window)
        return tuple(random.standard_normal(shape).astype(dtype) for shape in (self.x, W_shape, (self.FN,)))


def _random_case(seed: int) -> Case:
    r = np.random.default_rng(1000 + seed)
    groups = int(r.integers(1, 4))
    window, dilation = tuple(r.integers(1, 4, 2).tolist()), tuple(r.integers(1, 3, 2).tolist())
    pad = tuple(r.integers(0, 3, 4).tolist())
    # At least one window must fit even without the pad.
    size = [int(d * (w - 1) + 1 + r.integers(0, 5)) for w, d in zip(window, dilation, strict=True)]
    N, C, FN = (int(r.integers(1, 4)) for _ in range(3))
    return Case((N, C * groups, *size), FN * groups, window, tuple(r.integers(1, 4, 2).tolist()), pad, dilation, groups)


CASES = [
    Case((1, 1, 1, 1), 1, (1, 1)),
    Case((2, 3, 7, 7), 4, (5, 5)),
    Case((2, 2, 6, 5), 3, (3, 2), stride=(2, 1), pad=(1, 0)),
    Case((1, 2, 5, 8), 2, (2, 3), stride=(1, 3), pad=(1, 0, 2, 3)),  # top, left, bottom, right all different
    Case((2, 1, 9, 8), 2, (3, 2), stride=2, pad=(0, 2, 1, 0), dilation=(2, 3)),
    Case((2, 4, 5, 5), 4, (3, 3), pad=1, groups=4),  # depthwise
    Case((1, 3, 6, 4), 6, (2, 2), stride=(2, 1), groups=3),  # depthwise, two filters a channel
    Case((2, 4, 6, 5), 6, (3, 2), stride=(1, 2), pad=(2, 1, 0, 1), dilation=(1, 2), groups=2),
    Case((1, 2, 3, 3), 2, (2, 2), stride=5),  # a stride that leaves one window and most of the picture unseen
    *(_random_case(seed) for seed in range(12)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.x}-{c.window}-g{c.groups}")
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


# ------------------------------------------------------------------------------------------------ im2col, col2im
@pytest.mark.parametrize(("shape", "want"), [((1, 3, 7, 7), (9, 75)), ((10, 3, 7, 7), (90, 75))])
def test_the_books_shapes(device: Device, shape: tuple[int, ...], want: tuple[int, int]) -> None:
    x = device.asarray(np.random.default_rng(0).random(shape))
    assert im2col(x, 5, 5, stride=1, pad=0).shape == want
    assert im2col(x, 5, 5).shape == want


@each_case
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_im2col(device: Device, case: Case, dtype: str) -> None:
    x = np.random.default_rng(1).integers(0, 200, case.x).astype(dtype)
    given = device.asarray(x.copy())
    got = im2col(given, *case.window, **case.geometry())
    assert got.dtype == dtype
    np.testing.assert_array_equal(asnumpy(got), oracles.im2col(x, case.window, *case.plain()))  # only moves: exact
    np.testing.assert_array_equal(asnumpy(given), x)


@each_case
@each_dtype
def test_col2im_is_the_transpose_of_im2col(device: Device, case: Case, dtype: str) -> None:
    # Small whole numbers: sums and dot products below 2**24 are exact in float32, so <im2col(x), c> == <x, col2im(c)>
    # has to hold to the bit.
    random = np.random.default_rng(2)
    x = random.integers(-8, 9, case.x).astype(dtype)
    col = im2col(device.asarray(x), *case.window, **case.geometry())
    c = random.integers(-8, 9, col.shape).astype(dtype)
    given = device.asarray(c.copy())
    back = col2im(given, case.x, *case.window, **case.geometry())
    assert (back.shape, back.dtype) == (case.x, dtype)
    left = (asnumpy(col).astype(np.int64) * c.astype(np.int64)).sum()
    right = (x.astype(np.int64) * asnumpy(back).astype(np.int64)).sum()
    assert left == right
    np.testing.assert_array_equal(asnumpy(given), c)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pad=st.tuples(*[st.integers(0, 3)] * 4),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 2**16),
)
def test_any_geometry(size, window, stride, pad, dilation, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.integers(-9, 10, (2, 2, *size)).astype(np.float32)
    rows, columns = oracles.windows_of(x.shape, window, stride, pad, dilation)
    if not (rows and columns):
        with pytest.raises(ShapeError, match="does not fit"):
            im2col(x, *window, stride, pad, dilation)
        return
    col = im2col(x, *window, stride, pad, dilation)
    np.testing.assert_array_equal(col, oracles.im2col(x, window, stride, pad, dilation))
    c = random.integers(-9, 10, col.shape).astype(np.float32)
    assert (col * c).sum() == (x * col2im(c, x.shape, *window, stride, pad, dilation)).sum()


@each_case
def test_col2im_counts_the_windows_over_each_pixel(case: Case) -> None:
    # With ones, col2im counts how many windows see each pixel; so does im2col of a picture of pixel numbers.
    numbers = np.arange(1, np.prod(case.x) + 1, dtype=np.float64).reshape(case.x)  # 0 is the pad
    seen = oracles.im2col(numbers, case.window, *case.plain())
    counts = np.bincount(seen.astype(int).ravel(), minlength=numbers.size + 1)[1:].reshape(case.x)
    np.testing.assert_array_equal(col2im(np.ones(seen.shape), case.x, *case.window, **case.geometry()), counts)


@each_case
def test_unfold_and_fold_are_im2col_and_col2im_in_another_order(case: Case) -> None:
    x = np.random.default_rng(3).integers(-9, 10, case.x).astype(np.float64)
    windows = unfold(x, *case.window, **case.geometry())
    assert windows.shape[:4] == (*case.x[:2], *case.window)
    col = im2col(x, *case.window, **case.geometry())
    np.testing.assert_array_equal(windows.transpose(0, 4, 5, 1, 2, 3).reshape(col.shape), col)
    np.testing.assert_array_equal(
        fold(windows, case.x, **case.geometry()), col2im(col, case.x, *case.window, **case.geometry())
    )


def test_window_slices_name_what_each_place_sees() -> None:
    row = np.arange(20)
    for fh, fw, (rows, columns) in window_slices((3, 2), (4, 3), (2, 1), (1, 5)):
        assert row[rows].tolist() == [fh + 2 * k for k in range(4)]
        assert row[columns].tolist() == [5 * fw + k for k in range(3)]
    assert [place[:2] for place in window_slices((2, 2), (1, 1), 1)] == [(0, 0), (0, 1), (1, 0), (1, 1)]


# -------------------------------------------------------------------------------------------------------- conv2d
@each_case
@each_dtype
@pytest.mark.parametrize("bias", [True, False])
def test_conv2d_forward(device: Device, case: Case, dtype: str, bias: bool) -> None:
    x, W, b = case.arrays(dtype)
    given = [device.asarray(a.copy()) for a in (x, W, b)]
    y, col = conv2d_forward(*given[:2], given[2] if bias else None, **case.geometry(), groups=case.groups)
    assert y.dtype == col.dtype == dtype
    plain = (*case.plain(), case.groups)
    want = oracles.conv2d(x, W, b if bias else None, *plain)
    magnitude = oracles.conv2d(abs(x), abs(W), abs(b), *plain).max()
    oracles.assert_close(asnumpy(y), want, W[0].size + 1, magnitude)
    for before, after in zip((x, W, b), given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


@each_case
@each_dtype
def test_conv2d_backward(device: Device, case: Case, dtype: str) -> None:
    x, W, b = case.arrays(dtype)
    y, col = conv2d_forward(
        device.asarray(x), device.asarray(W), device.asarray(b), **case.geometry(), groups=case.groups
    )
    dout = np.random.default_rng(5).standard_normal(y.shape).astype(dtype)
    given = [device.asarray(dout.copy()), col, device.asarray(W)]
    kept = asnumpy(col).copy()
    got = conv2d_backward(*given, case.x, **case.geometry(), groups=case.groups)
    plain = (*case.plain(), case.groups)
    wants = oracles.conv2d_gradients(dout, x, W, *plain)
    magnitudes = oracles.conv2d_gradients(abs(dout), abs(x), abs(W), *plain)
    # A sum over at most every output element of a picture's worth of filters, or every window of the batch.
    terms = max(dout.size, W.size)
    for gradient, want, magnitude in zip(got, wants, magnitudes, strict=True):
        assert gradient.dtype == dtype
        oracles.assert_close(asnumpy(gradient), want, terms, magnitude.max())
    for before, after in zip((dout, kept, W), given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


@pytest.mark.parametrize("case", [CASES[3], CASES[4], CASES[6], CASES[7]], ids=str)
def test_conv2d_gradients_by_central_differences(case: Case) -> None:
    x, W, b = case.arrays()
    geometry = case.geometry() | {"groups": case.groups}
    y, col = conv2d_forward(x, W, b, **geometry)
    dout = np.random.default_rng(6).standard_normal(y.shape)
    gradients = conv2d_backward(dout, col, W, case.x, **geometry)
    for a, gradient in zip((x, W, b), gradients, strict=True):
        # Linear in each argument: no truncation, only rounding of a sum of some hundreds over h = 1e-5.
        slope = oracles.central_difference(lambda: float((conv2d_forward(x, W, b, **geometry)[0] * dout).sum()), a)
        np.testing.assert_allclose(gradient, slope, rtol=0.0, atol=1e-7)


def test_a_first_layer_needs_no_dx(device: Device) -> None:
    case = CASES[7]
    x, W, b = (device.asarray(a) for a in case.arrays())
    geometry = case.geometry() | {"groups": case.groups}
    y, col = conv2d_forward(x, W, b, **geometry)
    full = conv2d_backward(y, col, W, case.x, **geometry)
    dx, dW, db = conv2d_backward(y, col, W, case.x, **geometry, need_dx=False)
    assert dx is None
    np.testing.assert_array_equal(asnumpy(dW), asnumpy(full[1]))
    np.testing.assert_array_equal(asnumpy(db), asnumpy(full[2]))


def test_groups_do_not_hear_each_other() -> None:
    x, W, _ = Case((1, 4, 5, 5), 4, (3, 3), groups=2).arrays()
    before, _ = conv2d_forward(x, W, groups=2)
    x[:, 2:] = 100.0
    after, _ = conv2d_forward(x, W, groups=2)
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    assert (after[:, 2:] != before[:, 2:]).all()


def test_filters_are_not_flipped() -> None:
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    W = np.zeros((1, 1, 3, 3))
    W[0, 0, 0, 2] = 1.0
    assert conv2d_forward(x, W)[0].item() == x[0, 0, 0, 2]


def test_an_empty_batch(device: Device) -> None:
    x, W, b = (device.asarray(a) for a in Case((0, 2, 5, 5), 3, (3, 3)).arrays())
    y, col = conv2d_forward(x, W, b)
    assert y.shape == (0, 3, 3, 3)
    dx, dW, db = conv2d_backward(y, col, W, x.shape)
    assert dx.shape == x.shape
    assert not asnumpy(dW).any()
    assert not asnumpy(db).any()


def test_pictures_that_are_not_contiguous() -> None:
    case = CASES[3]
    x, W, b = case.arrays()
    mirrored = x[:, ::-1, :, ::-1]
    got, _ = conv2d_forward(mirrored, W, b, **case.geometry())
    np.testing.assert_array_equal(got, conv2d_forward(mirrored.copy(), W, b, **case.geometry())[0])


# -------------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: im2col(np.zeros((3, 7, 7)), 5, 5), r"\(N, C, H, W\), got an array of shape \(3, 7, 7\)"),
        (lambda: im2col(np.zeros((1, 3, 4, 4)), 5, 5), "a window of 5x5 does not fit a picture of 4x4"),
        (lambda: im2col(np.zeros((1, 3, 4, 4)), 0, 2), "window"),
        (lambda: col2im(np.zeros((9, 74)), (1, 3, 7, 7), 5, 5), r"needs col of shape \(9, 75\), got \(9, 74\)"),
        (lambda: conv2d_forward(np.zeros((2, 9)), np.zeros((1, 1, 3, 3))), r"got an array of shape \(2, 9\)"),
        (lambda: conv2d_forward(np.zeros((1, 3, 7, 7)), np.zeros((30, 75))), r"filters W .* got an array of shape"),
        (lambda: conv2d_forward(np.zeros((1, 3, 7, 7)), np.zeros((4, 2, 3, 3))), "2 channels .* got 3 channels"),
        (lambda: conv2d_forward(np.zeros((1, 4, 7, 7)), np.zeros((3, 2, 3, 3)), groups=2), "3 filters"),
        (lambda: conv2d_forward(np.zeros((1, 4, 7, 7)), np.zeros((3, 4, 3, 3)), groups=0), "groups=0"),
        (
            lambda: conv2d_forward(np.zeros((1, 1, 7, 7)), np.zeros((4, 1, 3, 3)), np.zeros(1)),
            r"bias b of shape \(4,\), got \(1,\)",
        ),
    ],
)
def test_shapes_that_do_not_fit(call, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        call()


class _ElsewhereArray:
    """Enough of a CuPy array to be recognised as one."""

    def __init__(self, *shape: int) -> None:
        self.shape, self.ndim = shape, len(shape)


@pytest.mark.parametrize("elsewhere", [0, 1, 2])
def test_arrays_of_two_devices(monkeypatch: pytest.MonkeyPatch, elsewhere: int) -> None:
    cupy = ModuleType("cupy")
    cupy.ndarray = _ElsewhereArray
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    arguments: list[Any] = [np.zeros((1, 1, 5, 5)), np.zeros((2, 1, 3, 3)), np.zeros(2)]
    arguments[elsewhere] = _ElsewhereArray(*arguments[elsewhere].shape)
    with pytest.raises(DeviceError, match="arrays of two devices"):
        conv2d_forward(*arguments)


def test_the_reference_package_offers_every_operation() -> None:
    assert reference.conv2d_forward is conv2d_forward
    for name in (
        "max_pool2d_forward",
        "relu_forward",
        "batch_norm_forward",
        "lrn_forward",
        "affine_forward",
        "softmax",
    ):
        assert callable(getattr(reference, name))
