"""The fully connected product against a double loop and central differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops.reference.affine import affine_backward, affine_forward

each_shape = pytest.mark.parametrize(
    ("x_shape", "M"), [((1, 1), 1), ((4, 3), 5), ((7, 6), 2), ((3, 2, 4, 5), 6), ((2, 30, 3, 2), 10)]
)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.array([[math.fsum(a[i] * b[:, j]) for j in range(b.shape[1])] for i in range(a.shape[0])])


def _arrays(x_shape: tuple[int, ...], M: int, dtype: str) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    D = math.prod(x_shape[1:])
    return [random.standard_normal(s).astype(dtype) for s in (x_shape, (D, M), (M,), (x_shape[0], M))]


@each_shape
@each_dtype
@pytest.mark.parametrize("bias", [True, False])
def test_forward(device: Device, x_shape: tuple[int, ...], M: int, dtype: str, bias: bool) -> None:
    x, W, b, _ = _arrays(x_shape, M, dtype)
    given = [device.asarray(a.copy()) for a in (x, W, b)]
    y = affine_forward(*given[:2], given[2] if bias else None)
    assert y.dtype == dtype
    rows = x.reshape(x_shape[0], -1)
    want = _product(rows, W) + (b.astype(np.float64) if bias else 0.0)
    oracles.assert_close(asnumpy(y), want, len(W) + 1, (_product(abs(rows), abs(W)) + abs(b)).max())
    for before, after in zip((x, W, b), given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


@each_shape
@each_dtype
def test_backward(device: Device, x_shape: tuple[int, ...], M: int, dtype: str) -> None:
    x, W, _, dout = _arrays(x_shape, M, dtype)
    given = [device.asarray(a.copy()) for a in (dout, x, W)]
    dx, dW, db = affine_backward(*given)
    assert dx.dtype == dW.dtype == db.dtype == dtype
    rows, ones = x.reshape(x_shape[0], -1), np.ones((1, x_shape[0]))
    for got, (left, right), terms in (
        (asnumpy(dx).reshape(rows.shape), (dout, W.T), M),
        (asnumpy(dW), (rows.T, dout), len(x)),
        (asnumpy(db)[None], (ones, dout), len(x)),
    ):
        oracles.assert_close(got, _product(left, right), terms, _product(abs(left), abs(right)).max())
    assert dx.shape == x_shape
    for before, after in zip((dout, x, W), given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


@each_shape
def test_gradients_by_central_differences(x_shape: tuple[int, ...], M: int) -> None:
    x, W, b, dout = _arrays(x_shape, M, "float64")
    gradients = affine_backward(dout, x, W)
    for a, gradient in zip((x, W, b), gradients, strict=True):
        slope = oracles.central_difference(lambda: float((affine_forward(x, W, b) * dout).sum()), a)
        np.testing.assert_allclose(gradient, slope, rtol=0.0, atol=1e-7)  # linear: rounding of some hundreds over 1e-5


def test_a_first_layer_needs_no_dx(device: Device) -> None:
    x, W, _, dout = (device.asarray(a) for a in _arrays((3, 2, 2, 2), 4, "float32"))
    full = affine_backward(dout, x, W)
    dx, dW, db = affine_backward(dout, x, W, need_dx=False)
    assert dx is None
    np.testing.assert_array_equal(asnumpy(dW), asnumpy(full[1]))
    np.testing.assert_array_equal(asnumpy(db), asnumpy(full[2]))


@pytest.mark.parametrize("x_shape", [(0, 6), (0, 2, 3, 1)])
def test_an_empty_batch(device: Device, x_shape: tuple[int, ...]) -> None:
    x, W, b, dout = (device.asarray(a) for a in _arrays(x_shape, 4, "float32"))
    assert affine_forward(x, W, b).shape == (0, 4)
    dx, dW, db = affine_backward(dout, x, W)
    assert dx.shape == x_shape
    assert dW.shape == W.shape
    assert not asnumpy(dW).any()
    assert not asnumpy(db).any()


def test_inputs_that_do_not_fit() -> None:
    # The notebook's own slip: W2 of shape (30, 100) for 4320 inputs.
    with pytest.raises(
        ShapeError, match=r"W of shape \(30, 100\) takes 30 inputs, got 4320 from shape \(2, 30, 12, 12\)"
    ):
        affine_forward(np.zeros((2, 30, 12, 12)), np.zeros((30, 100)))
