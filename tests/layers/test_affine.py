"""The affine layer: x @ W + b, pictures flattened going in and restored coming back."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import Affine, Context


def _by_hand(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array(
        [[sum(v * w for v, w in zip(row, W[:, m], strict=True)) + b[m] for m in range(len(b))] for row in x]
    )


@pytest.mark.parametrize("shape", [(3, 6), (3, 1, 2, 3), (1, 6), (5, 6, 1, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_against_sums(device: Device, shape: tuple[int, ...], bias: bool) -> None:
    random = np.random.default_rng(0)
    x, W, b = (random.integers(-5, 6, s).astype(np.float64) for s in (shape, (6, 4), (4,)))
    rows = x.reshape(len(x), -1)
    layer = Affine(device.asarray(W), device.asarray(b) if bias else None)
    y = layer.forward(device.asarray(x))
    np.testing.assert_array_equal(asnumpy(y), _by_hand(rows, W, b if bias else b * 0.0))  # whole numbers: exact
    dout = random.integers(-5, 6, (len(x), 4)).astype(np.float64)
    dx = layer.backward(device.asarray(dout))
    assert dx.shape == shape  # restored
    np.testing.assert_array_equal(asnumpy(dx).reshape(len(x), -1), _by_hand(dout, W.T, np.zeros(6)))
    np.testing.assert_array_equal(asnumpy(layer.dW), _by_hand(rows.T, dout, np.zeros(4)))
    if bias:
        assert asnumpy(layer.db).tolist() == [sum(column) for column in dout.T]
    else:
        assert layer.b is None
        assert layer.db is None
        assert list(layer.grads) == ["W"]


def test_one_layer_takes_rows_and_pictures_in_turn() -> None:
    layer = Affine(np.arange(12.0).reshape(6, 2), np.zeros(2))
    x = np.arange(12.0).reshape(2, 1, 2, 3)
    flat = layer.forward(x.reshape(2, 6))
    assert layer.backward(flat).shape == (2, 6)
    np.testing.assert_array_equal(layer.forward(x), flat)
    assert layer.backward(flat).shape == (2, 1, 2, 3)


def test_an_empty_batch() -> None:
    assert Affine(np.zeros((6, 2)), np.zeros(2)).forward(np.zeros((0, 1, 2, 3))).shape == (0, 2)


def test_a_first_layer_hands_no_gradient_back() -> None:
    ctx = Context(need_dx=False)
    layer = Affine(np.ones((2, 3)), np.zeros(3))
    assert layer.backward_in(ctx, layer.forward_in(ctx, np.ones((1, 2)))) is None
    assert sorted(ctx.grads) == ["W", "b"]


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"W has shape \(D, M\), got \(2, 3, 4\)"):
        Affine(np.zeros((2, 3, 4)))
    with pytest.raises(ShapeError, match=r"has b of shape \(3,\), got \(2,\)"):
        Affine(np.zeros((2, 3)), np.zeros(2))
    layer = Affine(np.zeros((6, 2)))
    with pytest.raises(ShapeError, match=r"wanted 6 inputs, got 8 \(shape \(2, 2, 2\)\)"):
        layer.output_shape((2, 2, 2))
    with pytest.raises(ShapeError, match=r"takes 6 inputs, got 8 from shape \(1, 2, 2, 2\)"):
        layer.forward(np.zeros((1, 2, 2, 2)))
