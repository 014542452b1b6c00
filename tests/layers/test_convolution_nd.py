"""Convolution layers over any number of spatial axes: every option reaches the operation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests import oracles_nd
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import Context, Convolution1D, Convolution3D, ConvolutionND
from xpcnn.ops.gradcheck import check_layer
from xpcnn.ops.windows import as_tuple, pads_of

# x, W, and the layer's options: each option alone, then together.
VARIANTS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 7), (4, 3, 3), {}),
    ((2, 3, 7), (4, 3, 3), {"stride": 2}),
    ((2, 1, 4), (3, 1, 3), {"pad": (2, 1)}),  # begin and end
    ((1, 2, 9), (2, 2, 3), {"dilation": 3}),
    ((2, 4, 5), (4, 1, 3), {"groups": 4, "pad": 1}),  # depthwise
    ((1, 2, 5, 4), (3, 2, 2, 3), {"stride": (1, 2), "pad": (1, 0, 2, 1)}),
    ((1, 2, 3, 4, 3), (2, 2, 2, 3, 1), {"pad": (0, 1, 2), "stride": (1, 2, 3)}),
    ((1, 4, 4, 5, 4), (4, 2, 2, 2, 2), {"pad": (1, 0, 0, 0, 2, 1), "dilation": (1, 2, 1), "groups": 2}),
]
each_variant = pytest.mark.parametrize(("x_shape", "W_shape", "options"), VARIANTS, ids=str)


@each_variant
@pytest.mark.parametrize("bias", [True, False])
def test_against_sums(
    device: Device, x_shape: tuple[int, ...], W_shape: tuple[int, ...], options: dict[str, Any], bias: bool
) -> None:
    random = np.random.default_rng(0)
    x, W, b = (random.integers(-4, 5, shape).astype(np.float64) for shape in (x_shape, W_shape, W_shape[:1]))
    n = len(W_shape) - 2
    plain = (
        as_tuple(options.get("stride", 1), n, "stride"),
        pads_of(options.get("pad", 0), n),
        as_tuple(options.get("dilation", 1), n, "dilation"),
        options.get("groups", 1),
    )
    layer = ConvolutionND(device.asarray(W, "float32"), device.asarray(b, "float32") if bias else None, **options)
    y = layer.forward(device.asarray(x, "float32"))
    # Sums of small whole numbers are exact even in float32.
    np.testing.assert_array_equal(asnumpy(y), oracles_nd.conv(x, W, b if bias else None, *plain))
    assert y.dtype == np.float32
    assert y.shape[1:] == layer.output_shape(x_shape[1:])
    dout = random.integers(-4, 5, y.shape).astype(np.float64)
    dx = layer.backward(device.asarray(dout, "float32"))
    want = oracles_nd.conv_gradients(dout, x, W, *plain)
    np.testing.assert_array_equal(asnumpy(dx), want[0])
    np.testing.assert_array_equal(asnumpy(layer.dW), want[1])
    if bias:
        np.testing.assert_array_equal(asnumpy(layer.db), want[2])
    assert list(layer.grads) == (["W", "b"] if bias else ["W"])


@each_variant
def test_gradients(device: Device, x_shape: tuple[int, ...], W_shape: tuple[int, ...], options: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    W, b, x = (device.asarray(random.standard_normal(s)) for s in (W_shape, W_shape[:1], x_shape))
    # Linear in each argument: central differences have no truncation error, rounding leaves about 1e-9.
    assert max(check_layer(ConvolutionND(W, b, **options), x).values()) < 1e-6


def test_one_and_three_axes() -> None:
    layer = Convolution1D(np.ones((2, 1, 3)), pad=1)
    assert layer.output_shape((1, 8)) == (2, 8)
    assert layer.forward(np.ones((5, 1, 8))).shape == (5, 2, 8)
    assert (layer.stride, layer.pad, layer.dilation, layer.groups) == ((1,), (1, 1), (1,), 1)
    assert repr(layer) == "Convolution1D(W=(2, 1, 3))"
    volumes = Convolution3D(np.ones((2, 1, 3, 2, 1)), stride=(1, 2, 3))
    assert volumes.output_shape((1, 4, 4, 4)) == (2, 2, 2, 2)


def test_a_first_layer_hands_no_gradient_back() -> None:
    ctx = Context(need_dx=False)
    layer = Convolution1D(np.ones((1, 1, 2)), np.zeros(1))
    assert layer.backward_in(ctx, layer.forward_in(ctx, np.ones((1, 1, 3)))) is None
    assert sorted(ctx.grads) == ["W", "b"]


def test_a_copy_may_have_other_parameters() -> None:
    layer = Convolution1D(np.ones((1, 1, 2)), np.zeros(1))
    other = copy.copy(layer)
    other.params = {"W": np.full((1, 1, 2), 2.0), "b": np.ones(1)}
    assert other.forward(np.ones((1, 1, 2))).tolist() == [[[5.0]]]
    assert layer.forward(np.ones((1, 1, 2))).tolist() == [[[2.0]]]


def test_parameters_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"W of a Convolution1D has shape \(FN, C/groups, F1\), got \(2, 1, 3, 3\)"):
        Convolution1D(np.zeros((2, 1, 3, 3)))
    with pytest.raises(ShapeError, match=r"W of a Convolution3D has shape \(FN, C/groups, F1, F2, F3\)"):
        Convolution3D(np.zeros((2, 1, 3)))
    with pytest.raises(ShapeError, match=r"W of a ConvolutionND has shape \(FN, C/groups, F1, ..., Fn\), got \(2, 1\)"):
        ConvolutionND(np.zeros((2, 1)))
    with pytest.raises(ShapeError, match="groups=3 does not divide the 4 filters"):
        ConvolutionND(np.zeros((4, 1, 3)), groups=3)
    with pytest.raises(ShapeError, match=r"has b of shape \(4,\), got \(3,\)"):
        ConvolutionND(np.zeros((4, 1, 3)), np.zeros(3))


@pytest.mark.parametrize("options", [{"stride": 0}, {"pad": -1}, {"dilation": (1, 2)}, {"stride": 1.5}])
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match=next(iter(options))):
        Convolution1D(np.zeros((1, 1, 3)), **options)


def test_inputs_that_do_not_fit() -> None:
    layer = Convolution1D(np.zeros((4, 2, 3)), groups=2)
    with pytest.raises(ShapeError, match=r"wanted an input of 4 channels and 1 spatial axes, got \(2, 5\)"):
        layer.output_shape((2, 5))
    with pytest.raises(ShapeError, match=r"1 spatial axes, got \(4, 5, 5\)"):
        layer.output_shape((4, 5, 5))
    with pytest.raises(ShapeError, match="a window of 3 does not fit an input of 2"):
        layer.output_shape((4, 2))
