from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, assert_near, judged, normal
from xpcnn.device import Device
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cuda import convolution
from xpcnn.ops.cuda.geometry import COLUMN_BUDGET, Way, choose_way, conv

CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 9, 8), (4, 3, 3, 3), {}),
    ((2, 3, 9, 8), (4, 3, 3, 2), {"stride": (2, 1), "pad": (1, 2)}),
    ((1, 2, 8, 9), (3, 2, 2, 3), {"stride": (1, 3), "pad": (2, 0, 1, 3), "dilation": (3, 2)}),
    ((2, 6, 7, 7), (4, 3, 3, 3), {"pad": 1, "groups": 2}),
    ((2, 12, 5, 6), (12, 2, 3, 2), {"stride": 2, "pad": (0, 1, 2, 0), "groups": 6}),
    ((2, 5, 6, 6), (5, 1, 3, 3), {"dilation": 2, "groups": 5}),  # depthwise
    ((3, 1, 14, 14), (6, 1, 5, 5), {}),
    ((2, 5, 6, 7), (9, 5, 1, 1), {}),  # pointwise
    ((1, 6, 6, 7), (9, 2, 1, 1), {"groups": 3}),
    ((2, 4, 7, 7), (3, 4, 1, 1), {"stride": 2}),
    ((3, 20, 9, 9), (70, 20, 3, 3), {"pad": 1}),  # several tiles in every direction, none of them full
]


def ways(c: Any) -> list[Way]:
    return [Way.POINTWISE, Way.IMPLICIT] if c.is_pointwise else [Way.COLUMNS, Way.IMPLICIT]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_forward(gpu: Device, case: tuple, dtype: str) -> None:
    x_shape, W_shape, options = case
    x, W, b = (normal(i, shape, dtype) for i, shape in enumerate((x_shape, W_shape, W_shape[:1])))
    device_x, device_W, device_b = (gpu.asarray(a) for a in (x, W, b))
    magnitude = float(reference.conv2d_forward(np.abs(judged(x)), np.abs(judged(W)), None, **options)[0].max()) + 3.0
    terms = int(np.prod(W_shape[1:]))
    c = conv(x_shape, W_shape, **{"stride": 1, "pad": 0, "dilation": 1, "groups": 1, **options})
    for way in (*ways(c), None):
        for bias, relu in ((b, False), (b, True), (None, False)):
            want = reference.conv2d_forward(judged(x), judged(W), None if bias is None else judged(bias), **options)[0]
            want = reference.relu_forward(want) if relu else want
            y = convolution.conv2d_forward(
                device_x, device_W, None if bias is None else device_b, **options, relu=relu, way=way
            )
            assert_near(gpu.asnumpy(y), want, dtype, terms, magnitude)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_backward(gpu: Device, case: tuple, dtype: str) -> None:
    x_shape, W_shape, options = case
    x, W = (normal(i, shape, dtype) for i, shape in enumerate((x_shape, W_shape)))
    clear, col = reference.conv2d_forward(judged(x), judged(W), None, **options)
    dout, y = normal(3, clear.shape, dtype), np.maximum(clear, 0).astype(dtype)
    # Any order of summing is off by what the magnitudes' sums allow.
    sums = reference.conv2d_backward(np.abs(judged(dout)), np.abs(col), np.abs(judged(W)), x_shape, **options)
    terms = dout.shape[0] * dout.shape[2] * dout.shape[3] + W.size
    # All the pictures' columns at once, and pieces of two of them.
    c = conv(x_shape, W_shape, **{"stride": 1, "pad": 0, "dilation": 1, "groups": 1, **options})
    for given, budget in ((None, COLUMN_BUDGET), (y, COLUMN_BUDGET), (y, 2 * c.K * c.P * x.itemsize)):
        used = judged(dout if given is None else reference.relu_backward(dout, given))
        want = reference.conv2d_backward(used, col, judged(W), x_shape, **options)
        got = convolution.conv2d_backward(
            *(gpu.asarray(a) for a in (dout, x, W)),
            None if given is None else gpu.asarray(given),
            **options,
            budget=budget,
        )
        for mine, wanted, sum_ in zip(got, want, sums, strict=True):
            assert_near(gpu.asnumpy(mine), wanted, dtype, terms, float(sum_.max()))


def test_given_buffers_are_used_and_nothing_else_is_allocated(gpu: Device) -> None:
    x, W, b = (gpu.asarray(normal(i, s, "float32")) for i, s in enumerate(((3, 4, 8, 8), (6, 4, 3, 3), (6,))))
    c, xp = conv(x.shape, W.shape, 1, 1, 1, 1), gpu.xp
    assert choose_way(c, 4) is Way.COLUMNS
    room = xp.empty(convolution.room_size(c, 4, backward=True), dtype="float32")
    z, y = xp.empty((6, 3, 8, 8), dtype="float32"), xp.empty(c.y, dtype="float32")
    got = convolution.conv2d_forward(x, W, b, pad=1, relu=True, out=y, room=room, product=z)
    assert got is y
    buffers = {"dx": xp.empty_like(x), "dW": xp.empty_like(W), "db": xp.empty_like(b)}
    used = convolution.conv2d_backward(y.copy(), x, W, y, pad=1, **buffers, room=room, dproduct=z)
    assert all(a is given for a, given in zip(used, buffers.values(), strict=True))
    fresh = convolution.conv2d_backward(y.copy(), x, W, y, pad=1)
    for mine, other in zip(used, fresh, strict=True):
        np.testing.assert_array_equal(gpu.asnumpy(mine), gpu.asnumpy(other))


def test_a_first_layer_hands_no_gradient_on(gpu: Device) -> None:
    x, W = (gpu.asarray(normal(i, s, "float32")) for i, s in enumerate(((2, 1, 6, 6), (3, 1, 3, 3))))
    y = convolution.conv2d_forward(x, W)
    dx, dW, db = convolution.conv2d_backward(y, x, W, need_dx=False)
    assert dx is None
    assert dW.shape == W.shape
    assert db.shape == (3,)


@pytest.mark.parametrize(("W_shape", "pad"), [((4, 5, 3, 3), 1), ((4, 5, 1, 1), 0)])
def test_no_pictures(gpu: Device, W_shape: tuple[int, ...], pad: int) -> None:
    x, W = gpu.xp.zeros((0, 5, 6, 6), dtype="float32"), gpu.xp.ones(W_shape, dtype="float32")
    y = convolution.conv2d_forward(x, W, pad=pad)
    assert y.shape == (0, 4, 6, 6)
    dx, dW, db = convolution.conv2d_backward(y, x, W, pad=pad)
    assert dx.shape == x.shape
    assert not gpu.asnumpy(dW).any()
    assert not gpu.asnumpy(db).any()


def test_the_rule() -> None:
    def chosen(x: tuple[int, ...], W: tuple[int, ...], **more: Any) -> Way:
        budget = more.pop("budget", COLUMN_BUDGET)
        return choose_way(conv(x, W, **{"stride": 1, "pad": 0, "dilation": 1, "groups": 1, **more}), 4, budget)

    assert chosen((100, 1, 28, 28), (30, 1, 5, 5)) is Way.IMPLICIT  # 25 products
    assert chosen((100, 3, 32, 32), (64, 3, 3, 3), pad=1) is Way.IMPLICIT  # 27
    assert chosen((100, 64, 14, 14), (64, 64, 3, 3), pad=1) is Way.COLUMNS
    assert chosen((100, 64, 14, 14), (64, 64, 3, 3), pad=1, budget=2**20) is Way.IMPLICIT
    assert chosen((100, 64, 14, 14), (128, 64, 1, 1)) is Way.POINTWISE
    assert chosen((100, 64, 14, 14), (128, 64, 1, 1), stride=2) is Way.COLUMNS
    assert chosen((100, 64, 14, 14), (64, 1, 3, 3), groups=64) is Way.IMPLICIT


def test_shapes_that_do_not_fit(gpu: Device) -> None:
    x, W = gpu.xp.zeros((1, 3, 6, 6), dtype="float32"), gpu.xp.zeros((4, 2, 3, 3), dtype="float32")
    with pytest.raises(ShapeError, match="needs pictures of 2 channels"):
        convolution.conv2d_forward(x, W)
    with pytest.raises(ShapeError, match=r"expected pictures \(N, C, H, W\) and filters"):
        convolution.conv2d_forward(x[0], W)
    with pytest.raises(ShapeError, match="the room for columns needs 432 float32 numbers, got 3"):
        convolution.conv2d_forward(
            x, gpu.xp.zeros((3, 1, 3, 3), dtype="float32"), groups=3, room=x.reshape(-1)[:3], way=Way.COLUMNS
        )
