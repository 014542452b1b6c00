"""The convolution layer: every option reaches the operation, and the book's attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import Context, Convolution
from xpcnn.ops.geometry import pair, quad
from xpcnn.ops.gradcheck import check_layer

# x, W, and the layer's options: each option alone, then together.
VARIANTS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((2, 3, 5, 7), (4, 3, 3, 3), {}),
    ((2, 3, 7, 5), (4, 3, 3, 3), {"stride": 2}),
    ((2, 3, 7, 5), (2, 3, 3, 2), {"stride": (3, 1)}),
    ((2, 1, 5, 3), (3, 1, 3, 3), {"pad": 1}),
    ((2, 1, 5, 3), (3, 1, 3, 3), {"pad": (2, 0)}),
    ((2, 1, 5, 3), (3, 1, 3, 3), {"pad": (0, 1, 2, 3)}),
    ((1, 2, 9, 7), (2, 2, 3, 2), {"dilation": 2}),
    ((1, 2, 9, 7), (2, 2, 3, 2), {"dilation": (1, 3)}),
    ((2, 4, 5, 5), (6, 2, 3, 3), {"groups": 2}),
    ((2, 3, 5, 5), (6, 1, 3, 3), {"groups": 3}),  # depthwise, two filters a channel
    ((2, 4, 9, 8), (4, 2, 3, 2), {"stride": (2, 3), "pad": (1, 0, 2, 3), "dilation": (2, 1), "groups": 2}),
]
each_variant = pytest.mark.parametrize(("x_shape", "W_shape", "options"), VARIANTS, ids=lambda v: str(v))


def _whole_numbers(device: Device, shape: tuple[int, ...], seed: int, dtype: str = "float32") -> tuple[Any, np.ndarray]:
    host = np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)
    return device.asarray(host, dtype), host


@each_variant
@pytest.mark.parametrize("bias", [True, False])
def test_against_loops(
    device: Device, x_shape: tuple[int, ...], W_shape: tuple[int, ...], options: dict[str, Any], bias: bool
) -> None:
    (x, x_host), (W, W_host) = _whole_numbers(device, x_shape, 0), _whole_numbers(device, W_shape, 1)
    b, b_host = _whole_numbers(device, W_shape[:1], 2)
    layer = Convolution(W, b if bias else None, **options)
    plain = (
        pair(options.get("stride", 1), "stride"),
        quad(options.get("pad", 0)),
        pair(options.get("dilation", 1), "dilation"),
        options.get("groups", 1),
    )
    y = layer.forward(x)
    # Sums of small whole numbers are exact even in float32.
    np.testing.assert_array_equal(asnumpy(y), oracles.conv2d(x_host, W_host, b_host if bias else None, *plain))
    dout, dout_host = _whole_numbers(device, y.shape, 3)
    dx = layer.backward(dout)
    for got, want in zip(
        (dx, layer.dW, layer.db if bias else None),
        oracles.conv2d_gradients(dout_host, x_host, W_host, *plain),
        strict=True,
    ):
        if got is not None:
            np.testing.assert_array_equal(asnumpy(got), want)
    assert list(layer.grads) == (["W", "b"] if bias else ["W"])


@each_variant
def test_gradients(x_shape: tuple[int, ...], W_shape: tuple[int, ...], options: dict[str, Any]) -> None:
    random = np.random.default_rng(4)
    W, b, x = (random.standard_normal(s) for s in (W_shape, W_shape[:1], x_shape))
    # Linear in each argument: central differences have no truncation error, rounding leaves about 1e-9.
    assert max(check_layer(Convolution(W, b, **options), x).values()) < 1e-6


def test_the_books_attributes() -> None:
    W, b = np.ones((2, 1, 3, 3)), np.zeros(2)
    layer = Convolution(W, b, stride=2, pad=(1, 0))
    assert layer.W is W
    assert layer.b is b
    assert layer.dW is None
    assert layer.db is None
    layer.backward(np.ones_like(layer.forward(np.ones((1, 1, 5, 5)))))
    assert layer.dW.shape == W.shape
    assert layer.db.tolist() == [6.0, 6.0]  # three rows of two outputs
    assert (layer.stride, layer.pad, layer.dilation, layer.groups) == ((2, 2), (1, 0, 1, 0), (1, 1), 1)
    assert Convolution(W).b is None


def test_a_first_layer_hands_no_gradient_back() -> None:
    layer = Convolution(np.ones((1, 1, 2, 2)), np.zeros(1))
    ctx = Context(need_dx=False)
    y = layer.forward_in(ctx, np.ones((1, 1, 3, 3)))
    assert layer.backward_in(ctx, y) is None
    assert sorted(ctx.grads) == ["W", "b"]


@pytest.mark.parametrize(
    ("W", "b", "groups", "words"),
    [
        ((3, 3), None, 1, r"W has shape \(FN, C/groups, FH, FW\), got \(3, 3\)"),
        ((4, 1, 3, 3), (3,), 1, r"has b of shape \(4,\), got \(3,\)"),
        ((4, 1, 3, 3), (4, 1), 1, r"has b of shape \(4,\), got \(4, 1\)"),
        ((4, 1, 3, 3), None, 3, "groups=3 does not divide the 4 filters"),
        ((4, 1, 3, 3), None, 0, "groups=0"),
    ],
)
def test_parameters_that_do_not_fit(W: tuple[int, ...], b: tuple[int, ...] | None, groups: int, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        Convolution(np.zeros(W), None if b is None else np.zeros(b), groups=groups)


@pytest.mark.parametrize("options", [{"stride": 0}, {"pad": -1}, {"dilation": (1, 2, 3)}, {"stride": 1.5}])
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match=next(iter(options))):
        Convolution(np.zeros((1, 1, 3, 3)), **options)


def test_pictures_that_do_not_fit() -> None:
    layer = Convolution(np.zeros((4, 2, 3, 3)), groups=2)
    with pytest.raises(ShapeError, match=r"wanted pictures of 4 channels \(C, H, W\), got \(2, 5, 5\)"):
        layer.output_shape((2, 5, 5))
    with pytest.raises(ShapeError, match=r"wanted pictures of 4 channels \(C, H, W\), got \(100,\)"):
        layer.output_shape((100,))
    with pytest.raises(ShapeError, match="3x3 does not fit a picture of 2x5"):
        layer.output_shape((4, 2, 5))
    with pytest.raises(ShapeError, match="needs pictures of 4 channels"):
        layer.forward(np.zeros((1, 3, 5, 5)))
    with pytest.raises(ShapeError, match=r"expected pictures of shape \(N, C, H, W\)"):
        layer.forward(np.zeros((4, 5, 5)))
