from __future__ import annotations

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, assert_near, assert_same, normal, window
from xpcnn.device import Device
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cuda import columns

SEEDS = range(12)


def unfolded(x: np.ndarray, case: dict) -> np.ndarray:
    return reference.unfold(x, *case["window"], case["stride"], case["pad"], case["dilation"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_columns_copy_what_the_reference_copies(gpu: Device, seed: int, dtype: str) -> None:
    case = window(seed)
    x = normal(seed, case["shape"], dtype)
    where = (*case["window"], case["stride"], case["pad"], case["dilation"])
    windows = unfolded(x, case)
    N, C, FH, FW, OH, OW = windows.shape
    plain = windows.reshape(N, C * FH * FW, OH * OW)
    device_x = gpu.asarray(x)
    assert_same(gpu.asnumpy(columns.im2col_nchw(device_x, *where)), plain, dtype)
    inside = columns.im2col_nchw(device_x, *where, pictures_inside=True)
    assert_same(gpu.asnumpy(inside), plain.transpose(1, 0, 2), dtype)
    last = gpu.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    rows = windows.transpose(0, 4, 5, 2, 3, 1).reshape(N * OH * OW, FH * FW * C)
    assert_same(gpu.asnumpy(columns.im2col_nhwc(last, *where)), rows, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_col2im_sums_in_the_reference_order(gpu: Device, seed: int, dtype: str) -> None:
    case = window(seed)
    windows = normal(seed, unfolded(np.zeros(case["shape"]), case).shape, dtype)
    N, C, FH, FW, OH, OW = windows.shape
    shape, where = case["shape"], (*case["window"], case["stride"], case["pad"], case["dilation"])
    want = reference.fold(windows.astype(np.float32) if dtype == "float16" else windows, shape, *where[2:])
    plain = windows.reshape(N, C * FH * FW, OH * OW)
    inside = np.ascontiguousarray(plain.transpose(1, 0, 2))
    rows = np.ascontiguousarray(windows.transpose(0, 4, 5, 2, 3, 1)).reshape(N * OH * OW, FH * FW * C)
    last_shape = (N, *shape[2:], C)
    got = [
        columns.col2im_nchw(gpu.asarray(plain), shape, *where),
        columns.col2im_nchw(gpu.asarray(inside), shape, *where, pictures_inside=True),
        columns.col2im_nhwc(gpu.asarray(rows), last_shape, *where).transpose(0, 3, 1, 2),
    ]
    for dx in got:
        # One sum in one order: float32 and float64 agree to the bit, float16 is rounded once more.
        assert_near(gpu.asnumpy(dx), want, dtype, terms=4) if dtype == "float16" else assert_same(
            gpu.asnumpy(dx), want, dtype
        )


def test_no_pictures_and_given_buffers(gpu: Device) -> None:
    xp = gpu.xp
    assert columns.im2col_nchw(xp.zeros((0, 2, 4, 4), dtype="float32"), 3, 3).shape == (0, 18, 4)
    assert columns.col2im_nhwc(xp.zeros((0, 18), dtype="float32"), (0, 4, 4, 2), 3, 3).shape == (0, 4, 4, 2)
    x = gpu.asarray(normal(0, (2, 3, 5, 4), "float32"))
    room = xp.empty((2, 12, 12), dtype="float32")
    assert columns.im2col_nchw(x, 2, 2, out=room) is room
    np.testing.assert_array_equal(gpu.asnumpy(room), gpu.asnumpy(columns.im2col_nchw(x, 2, 2)))


def test_shapes_that_do_not_fit(gpu: Device) -> None:
    x = gpu.xp.zeros((1, 2, 3, 3), dtype="float32")
    with pytest.raises(ShapeError, match="a window of 4x4 does not fit"):
        columns.im2col_nchw(x, 4, 4)
    with pytest.raises(ShapeError, match=r"out must be \(1, 8, 4\) float32, got \(1, 8, 4\) float64"):
        columns.im2col_nchw(x, 2, 2, out=gpu.xp.zeros((1, 8, 4)))
    with pytest.raises(ShapeError, match=r"col must be \(1, 8, 4\)"):
        columns.col2im_nchw(gpu.xp.zeros((1, 8, 3)), x.shape, 2, 2)
