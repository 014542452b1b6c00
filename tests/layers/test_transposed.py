"""The transposed convolution layer: every option reaches the operation; its shapes are a convolution's, reversed."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests import oracles_nd
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import Context, ConvolutionND, TransposedConvolution
from xpcnn.ops.gradcheck import check_layer
from xpcnn.ops.windows import as_tuple, pads_of

VARIANTS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 4), (3, 2, 3), {}),
    ((2, 3, 4), (3, 2, 3), {"stride": 2}),
    ((2, 1, 4), (1, 3, 3), {"pad": (2, 1)}),
    ((1, 2, 4), (2, 2, 3), {"dilation": 3}),
    ((1, 2, 3), (2, 2, 2), {"stride": 3, "output_pad": 2}),
    ((2, 4, 3), (4, 1, 3), {"groups": 4, "pad": 1}),
    ((1, 2, 3, 2), (2, 3, 2, 3), {"stride": (1, 2), "pad": (1, 0, 0, 1), "output_pad": (0, 1)}),
    ((1, 4, 2, 2, 3), (4, 1, 2, 2, 1), {"stride": (1, 2, 2), "dilation": (2, 1, 1), "groups": 2, "pad": (1, 0, 0)}),
]
each_variant = pytest.mark.parametrize(("x_shape", "W_shape", "options"), VARIANTS, ids=str)


@each_variant
@pytest.mark.parametrize("bias", [True, False])
def test_against_sums(
    device: Device, x_shape: tuple[int, ...], W_shape: tuple[int, ...], options: dict[str, Any], bias: bool
) -> None:
    random = np.random.default_rng(0)
    n, groups = len(W_shape) - 2, options.get("groups", 1)
    shapes = (x_shape, W_shape, (W_shape[1] * groups,))
    x, W, b = (random.integers(-4, 5, shape).astype(np.float64) for shape in shapes)
    stride, pads = as_tuple(options.get("stride", 1), n, "stride"), pads_of(options.get("pad", 0), n)
    dilation = as_tuple(options.get("dilation", 1), n, "dilation")
    output_pad = as_tuple(options.get("output_pad", 0), n, "output_pad", 0)
    layer = TransposedConvolution(
        device.asarray(W, "float32"), device.asarray(b, "float32") if bias else None, **options
    )
    y = layer.forward(device.asarray(x, "float32"))
    want = oracles_nd.conv_transpose(x, W, b if bias else None, stride, pads, output_pad, dilation, groups)
    np.testing.assert_array_equal(asnumpy(y), want)  # whole numbers: exact
    assert y.dtype == np.float32
    assert y.shape[1:] == layer.output_shape(x_shape[1:])
    dout = random.integers(-4, 5, y.shape).astype(np.float64)
    dx = layer.backward(device.asarray(dout, "float32"))
    dx_want, dW_want, db_want = oracles_nd.conv_transpose_gradients(dout, x, W, stride, pads, dilation, groups)
    np.testing.assert_array_equal(asnumpy(dx), dx_want)
    np.testing.assert_array_equal(asnumpy(layer.dW), dW_want)
    if bias:
        np.testing.assert_array_equal(asnumpy(layer.db), db_want)
    assert list(layer.grads) == (["W", "b"] if bias else ["W"])


@each_variant
def test_gradients(device: Device, x_shape: tuple[int, ...], W_shape: tuple[int, ...], options: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    shapes = (W_shape, (W_shape[1] * options.get("groups", 1),), x_shape)
    W, b, x = (device.asarray(random.standard_normal(s)) for s in shapes)
    # Linear in each argument: central differences have no truncation error, rounding leaves about 1e-9.
    assert max(check_layer(TransposedConvolution(W, b, **options), x).values()) < 1e-6


@pytest.mark.parametrize("size", range(4, 9))
def test_output_pad_brings_back_any_size(size: int) -> None:
    W = np.ones((2, 3, 3))
    (out,) = ConvolutionND(W, stride=2, pad=1).output_shape((3, size))[1:]
    back = TransposedConvolution(W, stride=2, pad=1, output_pad=(size - 1) % 2)
    assert back.output_shape((2, out)) == (3, size)


def test_a_first_layer_hands_no_gradient_back() -> None:
    ctx = Context(need_dx=False)
    layer = TransposedConvolution(np.ones((1, 1, 2)), np.zeros(1))
    assert layer.backward_in(ctx, layer.forward_in(ctx, np.ones((1, 1, 3)))) is None
    assert sorted(ctx.grads) == ["W", "b"]


def test_a_copy_may_have_other_parameters() -> None:
    layer = TransposedConvolution(np.ones((1, 1, 2)))
    other = copy.copy(layer)
    other.params = {"W": np.full((1, 1, 2), 3.0)}
    assert other.forward(np.ones((1, 1, 1))).tolist() == [[[3.0, 3.0]]]
    assert layer.forward(np.ones((1, 1, 1))).tolist() == [[[1.0, 1.0]]]
    assert layer.b is None


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"W has shape \(C, FN/groups, F1, ..., Fn\), got \(2, 3\)"):
        TransposedConvolution(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="groups=3 does not divide the 4 channels"):
        TransposedConvolution(np.zeros((4, 1, 3)), groups=3)
    with pytest.raises(ShapeError, match=r"groups=2 has b of shape \(6,\), got \(3,\)"):
        TransposedConvolution(np.zeros((4, 3, 3)), np.zeros(3), groups=2)
    with pytest.raises(ShapeError, match="output_pad must be a whole number of at least 0"):
        TransposedConvolution(np.zeros((4, 3, 3)), output_pad=-1)
    layer = TransposedConvolution(np.zeros((4, 3, 3)), pad=3)
    with pytest.raises(ShapeError, match=r"wanted an input of 4 channels and 1 spatial axes, got \(3, 5\)"):
        layer.output_shape((3, 5))
    with pytest.raises(ShapeError, match="use less pad"):
        layer.output_shape((4, 4))
