from __future__ import annotations

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, assert_near, assert_same, judged, normal, window
from xpcnn.device import Device
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cuda import fused

SHAPES = [(3, 5), (1, 1), (2, 3, 4, 5), (1, 7, 3, 3), (70, 2, 9, 7)]  # the last one's sums are shared by blocks


def turned(a: np.ndarray, channel_first: bool) -> np.ndarray:
    return np.ascontiguousarray(a.swapaxes(0, 1)) if channel_first else a


def added(x: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    return x if b is None else x + b.reshape((-1,) + (1,) * (x.ndim - 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channel_first", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_bias_and_relu(gpu: Device, shape: tuple[int, ...], channel_first: bool, dtype: str) -> None:
    x, b = normal(0, shape, dtype), normal(1, shape[1:2], dtype)
    x.reshape(-1)[::17] = np.nan
    for bias in (b, None):
        for relu in (True, False):
            # One rounding an element on both sides: the same numbers.
            want = reference.relu_forward(added(x, bias)) if relu else added(x, bias)
            device_b = None if bias is None else gpu.asarray(bias)
            there = gpu.asarray(turned(x, channel_first))
            y = fused.bias_relu(there, device_b, relu=relu, channel_first=channel_first)
            assert_same(gpu.asnumpy(y), want, dtype)
            if not channel_first:
                assert fused.bias_relu(there, device_b, relu=relu, out=there) is there
                assert_same(gpu.asnumpy(there), want, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channel_first", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_bias_and_relu_backward(gpu: Device, shape: tuple[int, ...], channel_first: bool, dtype: str) -> None:
    dout, y = normal(0, shape, dtype), np.maximum(normal(1, shape, dtype), 0)
    axes = (0, *range(2, len(shape)))
    for given in (y, None):
        want = dout if given is None else reference.relu_backward(dout, given)
        device_y = None if given is None else gpu.asarray(given)
        dx, db = fused.bias_relu_backward(gpu.asarray(dout), device_y, channel_first=channel_first)
        assert_same(gpu.asnumpy(dx), turned(want, channel_first), dtype)
        magnitude = float(np.abs(judged(want)).sum(axis=axes).max())
        assert_near(gpu.asnumpy(db), judged(want).sum(axis=axes), dtype, want.size // shape[1], magnitude)
    place = gpu.asarray(dout)
    sums = gpu.xp.empty(fused.sums_size(shape), dtype="float64" if dtype == "float64" else "float32")
    dx, again = fused.bias_relu_backward(place, None, out=place, sums=sums)
    assert dx is place
    np.testing.assert_array_equal(gpu.asnumpy(again), gpu.asnumpy(db))  # equal calls, equal bits


def pool_cases() -> list[dict]:
    shared = {"shape": (60, 2, 12, 11), "window": (2, 2), "stride": (2, 2), "pad": (0, 0, 0, 0)}
    return [window(seed, most=4, dilated=False) for seed in range(10)] + [shared]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channel_first", [False, True])
def test_bias_relu_and_pooling(gpu: Device, channel_first: bool, dtype: str) -> None:
    for seed, case in enumerate(pool_cases()):
        x, b = normal(seed, case["shape"], dtype), normal(seed + 50, case["shape"][1:2], dtype)
        if seed % 3 == 0:
            x = np.round(x * 2)  # ties, of which some appear only when the bias is added
            x[..., ::5] = np.nan
        where = (*case["window"], case["stride"], case["pad"])
        there = gpu.asarray(turned(x, channel_first))
        for bias in (b, None):
            want, want_winner = reference.max_pool2d_forward(reference.relu_forward(added(x, bias)), *where)
            device_b = None if bias is None else gpu.asarray(bias)
            y, winner = fused.bias_relu_pool(there, device_b, *where, channel_first=channel_first)
            assert_same(gpu.asnumpy(y), want, dtype)
            assert_same(gpu.asnumpy(winner), want_winner, "uint8")
            silent, nothing = fused.bias_relu_pool(
                there, device_b, *where, channel_first=channel_first, note_winner=False
            )
            assert nothing is None
            assert_same(gpu.asnumpy(silent), want, dtype)

        dout = normal(seed + 100, want.shape, dtype)
        dx, db = fused.bias_relu_pool_backward(
            gpu.asarray(dout), y, winner, x.shape[2:], *where, channel_first=channel_first
        )
        masked = judged(reference.relu_backward(dout, want))
        want_dx = reference.max_pool2d_backward(masked, want_winner, x.shape, *where)
        assert_near(gpu.asnumpy(dx), turned(want_dx, channel_first), dtype, terms=4)
        magnitude = float(np.abs(want_dx).sum(axis=(0, 2, 3)).max())
        assert_near(gpu.asnumpy(db), want_dx.sum(axis=(0, 2, 3)), dtype, want_dx.size // x.shape[1], magnitude)


def test_no_pictures_have_no_bias_gradient(gpu: Device) -> None:
    dout = gpu.xp.zeros((0, 3, 4, 4), dtype="float32")
    dx, db = fused.bias_relu_backward(dout, None)
    assert dx.shape == dout.shape
    assert_same(gpu.asnumpy(db), np.zeros(3), "float32")
    assert fused.bias_relu(dout, None).shape == dout.shape


def test_shapes_that_do_not_fit(gpu: Device) -> None:
    x = gpu.xp.zeros((1, 2, 20, 20), dtype="float32")
    with pytest.raises(ShapeError, match=r"b must be \(2,\) float32, got \(3,\) float32"):
        fused.bias_relu(x, gpu.xp.zeros(3, dtype="float32"))
    with pytest.raises(ShapeError, match="at most 256 elements, got 17x17"):
        fused.bias_relu_pool(x, None, 17, 17)
    with pytest.raises(ShapeError, match="y must be"):
        fused.bias_relu_backward(x, x[:, :1].copy())
