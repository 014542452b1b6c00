"""The pooling layers: both modes with strides and pads, and the global mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Context, GlobalAveragePooling, Pooling
from xpcnn.ops.geometry import pair, quad
from xpcnn.ops.gradcheck import check_layer

VARIANTS: list[tuple[tuple[int, ...], tuple[int, int], Any, Any]] = [
    ((2, 3, 6, 6), (2, 2), 2, 0),
    ((2, 3, 7, 5), (2, 2), 2, 0),  # an odd size: the last row and column are seen by no window
    ((1, 2, 7, 5), (3, 3), 2, 1),  # overlapping
    ((1, 2, 5, 6), (3, 2), (1, 2), (1, 0)),
    ((1, 2, 5, 6), (3, 3), 2, (0, 2, 1, 0)),
    ((1, 1, 5, 4), (1, 1), 1, 0),
]
each_variant = pytest.mark.parametrize(("shape", "window", "stride", "pad"), VARIANTS, ids=lambda v: str(v))
each_mode = pytest.mark.parametrize(("mode", "count_pad"), [("max", True), ("average", True), ("average", False)])


@each_variant
@each_mode
def test_against_loops(
    device: Device, shape: tuple[int, ...], window: tuple[int, int], stride: Any, pad: Any, mode: str, count_pad: bool
) -> None:
    random = np.random.default_rng(0)
    x = random.integers(-9, 0, shape).astype(np.float64)  # negative and with ties: a pad of 0 would win
    layer = Pooling(*window, stride, pad, mode, count_pad)
    plain = (window, pair(stride, "stride"), quad(pad))
    y = layer.forward(device.asarray(x))
    dout = random.integers(-9, 10, y.shape).astype(np.float64)
    dx = layer.backward(device.asarray(dout))
    if mode == "max":
        np.testing.assert_array_equal(asnumpy(y), oracles.max_pool2d(x, *plain))
        np.testing.assert_array_equal(asnumpy(dx), oracles.max_pool2d(x, *plain, dout=dout))
    else:  # at most nine shares, each rounded once, then added up
        oracles.assert_close(asnumpy(y), oracles.average_pool2d(x, *plain, count_pad), 9, 81.0)
        oracles.assert_close(asnumpy(dx), oracles.average_pool2d(x, *plain, count_pad, dout=dout), 9, 81.0)


@each_variant
@each_mode
def test_gradients(
    shape: tuple[int, ...], window: tuple[int, int], stride: Any, pad: Any, mode: str, count_pad: bool
) -> None:
    # No two of these elements are nearer than 1e-3, so a step of 1e-5 never changes who wins; piecewise linear, so
    # only rounding is left, about 1e-9.
    x = np.random.default_rng(1).permutation(int(np.prod(shape))).reshape(shape) * 1e-3
    layer = Pooling(*window, stride, pad, mode, count_pad)
    assert max(check_layer(layer, x).values()) < 1e-6


def test_max_is_the_usual_mode() -> None:
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    assert Pooling(2, 2, 2).forward(x).tolist() == [[[[5.0, 7.0], [13.0, 15.0]]]]
    assert Pooling(2, 2).forward(x).shape == (1, 1, 3, 3)  # the book's stride of 1
    assert Pooling(2, 2, 2, mode="average").forward(x).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


def test_no_gradient_where_nobody_asks() -> None:
    ctx = Context(need_dx=False)
    layer = Pooling(2, 2)
    y = layer.forward_in(ctx, np.zeros((1, 1, 3, 3)))
    assert layer.backward_in(ctx, y) is None


def test_errors() -> None:
    with pytest.raises(ConfigError, match='"max" or "average", got \'mean\''):
        Pooling(2, 2, mode="mean")
    with pytest.raises(ShapeError, match="the pooling window"):
        Pooling(0, 2)
    with pytest.raises(ShapeError, match="stride"):
        Pooling(2, 2, stride=0)
    with pytest.raises(ShapeError, match=r"wanted pictures \(C, H, W\), got \(10,\)"):
        Pooling(2, 2).output_shape((10,))
    with pytest.raises(ShapeError, match="does not fit a picture of 2x2"):
        Pooling(3, 3).output_shape((1, 2, 2))
    with pytest.raises(ShapeError, match=r"wanted pictures \(C, H, W\), got \(10,\)"):
        GlobalAveragePooling().output_shape((10,))


def test_global_average(device: Device) -> None:
    x = np.random.default_rng(2).integers(-9, 10, (2, 3, 5, 3)).astype(np.float64)
    layer = GlobalAveragePooling()
    y = layer.forward(device.asarray(x))
    # Whole numbers sum exactly; the one division rounds alike on both sides.
    np.testing.assert_array_equal(asnumpy(y), x.sum(axis=(2, 3)) / 15.0)
    dx = layer.backward(device.xp.ones_like(y) * 15.0)
    np.testing.assert_array_equal(asnumpy(dx), np.ones(x.shape))
