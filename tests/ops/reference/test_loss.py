"""Softmax and cross-entropy against sums in Python's exact fsum, at sizes of scores where naive ones overflow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops.reference.loss import (
    check_labels,
    count_right,
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_shape = pytest.mark.parametrize("shape", [(1, 1), (4, 10), (7, 3), (2, 100)])
each_size = pytest.mark.parametrize("size", [1.0, 30.0, 1e4])  # of the scores
each_smoothing = pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])


def _scores(shape: tuple[int, int], dtype: str = "float64", size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return (random.uniform(-1.0, 1.0, shape) * size).astype(dtype), random.integers(0, shape[1], shape[0])


def _one_hot(t: np.ndarray, K: int, dtype: Any = "float64") -> np.ndarray:
    return np.array([[k == label for k in range(K)] for label in t.tolist()]).astype(dtype)


# ------------------------------------------------------------------------------------------ softmax, log_softmax
@each_shape
@each_size
@each_dtype
def test_softmax_and_its_logarithm(device: Device, shape: tuple[int, int], size: float, dtype: str) -> None:
    x, _ = _scores(shape, dtype, size)
    given = device.asarray(x.copy())
    p, log_p = softmax(given), log_softmax(given)
    assert p.dtype == log_p.dtype == dtype
    want = np.array([oracles.log_softmax(row) for row in x.tolist()])
    # x - max rounds to eps * 2 * size, which exp passes on times p <= 1; K terms are summed.
    oracles.assert_close(asnumpy(log_p), want, shape[1] + 4, 2.0 * size + 1.0)
    oracles.assert_close(asnumpy(p), np.exp(want), shape[1] + 4, 2.0 * size + 1.0)
    np.testing.assert_array_equal(asnumpy(given), x)


@each_dtype
def test_scores_of_ten_thousand(device: Device, dtype: str) -> None:
    x = device.asarray(np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]], dtype=dtype))
    third = float(np.dtype(dtype).type(1.0) / np.dtype(dtype).type(3.0))
    np.testing.assert_array_equal(asnumpy(softmax(x)), [[1.0, 0.0, 0.0], [third] * 3, [0.5, 0.5, 0.0]])
    assert asnumpy(log_softmax(x))[0].tolist() == [0.0, -2e4, -1e4]  # exp(-2e4) is 0, its logarithm is kept


def test_softmax_along_other_axes(device: Device) -> None:
    x = np.random.default_rng(1).standard_normal((3, 4, 2))
    for axis in range(-3, 3):
        for function in (softmax, log_softmax):
            along = asnumpy(function(device.asarray(x), axis))
            last = asnumpy(function(device.asarray(np.moveaxis(x, axis, -1).copy())))
            # The same few terms, summed in another order at most.
            np.testing.assert_allclose(np.moveaxis(along, axis, -1), last, rtol=0.0, atol=1e-15)


@each_dtype
@pytest.mark.parametrize(("forward", "backward"), [(softmax, softmax_backward), (log_softmax, log_softmax_backward)])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_gradients(device: Device, forward, backward, axis: int, dtype: str) -> None:
    random = np.random.default_rng(2)
    x, dout = random.standard_normal((2, 4, 3)).astype(dtype), random.standard_normal((2, 4, 3)).astype(dtype)
    exact = x.astype(np.float64)

    def weighted_sum() -> float:
        rows, weights = (np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis]) for a in (exact, dout))
        values = [oracles.log_softmax(row) for row in rows.tolist()]
        if forward is softmax:
            values = [[math.exp(v) for v in row] for row in values]
        return float((np.array(values) * weights).sum())

    slope = oracles.central_difference(weighted_sum, exact)
    y = forward(device.asarray(x), axis)
    given = [device.asarray(dout.copy()), y]
    kept = [asnumpy(a).copy() for a in given]
    dx = backward(*given, axis)
    assert dx.dtype == dtype
    # Differences: 1e-9 for sums of tens; float32: sums of at most 4 terms, each below 10.
    tolerance = 1e-8 + (40.0 * float(np.finfo(np.float32).eps) if dtype == "float32" else 0.0)
    np.testing.assert_allclose(asnumpy(dx), slope, rtol=0.0, atol=tolerance)
    for before, after in zip(kept, given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


# ------------------------------------------------------------------------------------------------ cross-entropy
@each_shape
@each_size
@each_dtype
@each_smoothing
def test_cross_entropy(device: Device, shape: tuple[int, int], size: float, dtype: str, smoothing: float) -> None:
    x, t = _scores(shape, dtype, size)
    given = [device.asarray(x.copy()), device.asarray(t.copy())]
    loss, p = softmax_cross_entropy_forward(*given, smoothing)
    assert (loss.shape, loss.dtype, p.shape, p.dtype) == ((), dtype, shape, dtype)
    want = oracles.cross_entropy(x, t.tolist(), smoothing)
    # Means over N (and K) of numbers up to 2 * size + log K, each with the error of log_softmax.
    oracles.assert_close(asnumpy(loss), np.array(want), sum(shape) + 8, 2.0 * size + 5.0)
    oracles.assert_close(asnumpy(p), np.exp([oracles.log_softmax(r) for r in x.tolist()]), shape[1] + 4, 2 * size + 1)
    for before, after in zip((x, t), given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


@each_shape
@each_dtype
@each_smoothing
@pytest.mark.parametrize("dout", [1.0, -2.5])
def test_cross_entropy_gradient(
    device: Device, shape: tuple[int, int], dtype: str, smoothing: float, dout: float
) -> None:
    x, t = _scores(shape, dtype)
    exact = x.astype(np.float64)
    slope = dout * oracles.central_difference(lambda: oracles.cross_entropy(exact, t.tolist(), smoothing), exact)
    labels = device.asarray(t)
    _, p = softmax_cross_entropy_forward(device.asarray(x), labels, smoothing)
    kept = asnumpy(p).copy()
    # Differences: 1e-9 for losses below 10; float32: p itself is right to some K * eps, at most 2.5 times that here.
    tolerance = 1e-8 + (3.0 * shape[1] * float(np.finfo(np.float32).eps) if dtype == "float32" else 0.0)
    for targets in (labels, device.asarray(_one_hot(t, shape[1], dtype)), device.asarray(_one_hot(t, shape[1], bool))):
        dx = softmax_cross_entropy_backward(p, targets, dout, smoothing)
        assert dx.dtype == dtype
        np.testing.assert_allclose(asnumpy(dx), slope, rtol=0.0, atol=tolerance)
    np.testing.assert_array_equal(asnumpy(p), kept)
    np.testing.assert_array_equal(asnumpy(labels), t)


@each_size
@each_dtype
@each_smoothing
@pytest.mark.parametrize("one_hot_dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_one_hot_is_the_same_as_whole_numbers(
    device: Device, size: float, dtype: str, smoothing: float, one_hot_dtype: str
) -> None:
    x, t = _scores((6, 5), dtype, size)
    hot = _one_hot(t, 5, one_hot_dtype)
    given = [device.asarray(a.copy()) for a in (x, t, hot)]
    loss, p = softmax_cross_entropy_forward(given[0], given[1], smoothing)
    hot_loss, hot_p = softmax_cross_entropy_forward(given[0], given[2], smoothing)
    assert hot_loss.dtype == dtype
    assert float(loss) == float(hot_loss)  # a row's sum adds nothing but zeros: the same bits
    np.testing.assert_array_equal(asnumpy(p), asnumpy(hot_p))
    dx, hot_dx = (softmax_cross_entropy_backward(p, labels, 1.0, smoothing) for labels in given[1:])
    assert hot_dx.dtype == dtype
    np.testing.assert_array_equal(asnumpy(dx), asnumpy(hot_dx))
    np.testing.assert_array_equal(asnumpy(given[2]), hot)


@each_dtype
def test_losses_at_scores_of_ten_thousand(device: Device, dtype: str) -> None:
    x = np.array([[1e4, -1e4], [1e4, -1e4], [-1e4, -1e4]], dtype=dtype)
    t = np.array([0, 1, 1])
    for labels in (t, _one_hot(t, 2)):
        loss, p = softmax_cross_entropy_forward(device.asarray(x), device.asarray(labels))
        want = (0.0 + 2e4 + math.log(2.0)) / 3.0
        assert float(loss) == pytest.approx(want, rel=4 * float(np.finfo(dtype).eps))
        dx = asnumpy(softmax_cross_entropy_backward(p, device.asarray(labels)))
        np.testing.assert_allclose(dx * 3.0, [[0.0, 0.0], [1.0, -1.0], [0.5, -0.5]], rtol=0.0, atol=1e-6)


def test_a_class_ruled_out_by_a_score_of_minus_infinity(device: Device) -> None:
    x = device.asarray(np.array([[0.0, -np.inf, 0.0]]))
    for labels in (np.array([2]), np.array([[0, 0, 1]]), np.array([[0.0, 0.0, 1.0]])):
        loss, _ = softmax_cross_entropy_forward(x, device.asarray(labels))
        assert float(loss) == pytest.approx(math.log(2.0))


def test_targets_shared_between_classes(device: Device) -> None:
    x, _ = _scores((3, 4))
    share = np.array([[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.1, 0.9]])
    loss, _ = softmax_cross_entropy_forward(device.asarray(x), device.asarray(share))
    rows = [oracles.log_softmax(row) for row in x.tolist()]
    want = (
        -math.fsum(float(q) * v for qs, row in zip(share, rows, strict=True) for q, v in zip(qs, row, strict=True)) / 3
    )
    assert float(loss) == pytest.approx(want, rel=1e-13)  # twelve products


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_whole_numbers_of_any_kind(device: Device, dtype: str) -> None:
    x, t = _scores((5, 4), "float32")
    loss, p = softmax_cross_entropy_forward(device.asarray(x), device.asarray(t.astype(dtype)))
    assert loss.dtype == np.float32
    assert float(loss) == pytest.approx(oracles.cross_entropy(x, t.tolist()), rel=1e-6)  # some 10 roundings
    assert softmax_cross_entropy_backward(p, device.asarray(t.astype(dtype))).dtype == np.float32


# ------------------------------------------------------------------------------------------------------- labels
@pytest.mark.parametrize(
    ("t", "words"),
    [
        (np.array([0, 1, 10]), r"lie in 0\.\.9, got values from 0 to 10"),
        (np.array([0, -1, 3]), r"lie in 0\.\.9, got values from -1 to 3"),
        (np.array([255, 1, 2], dtype=np.uint8), "got values from 1 to 255"),
        (np.array([0, 1]), r"labels for 3 rows have shape \(3,\) or one-hot \(3, 10\), got \(2,\)"),
        (np.array(3), r"got \(\)"),
        (np.zeros((3, 1, 1), dtype=int), r"got \(3, 1, 1\)"),
        (np.zeros((3, 9)), r"one-hot labels .* have shape \(3, 10\), got \(3, 9\)"),
        (np.zeros((3, 1), dtype=int), r"one-hot labels .* got \(3, 1\)"),
        (np.array([0.0, 1.0, 2.0]), r"whole numbers, got dtype float64; use t.astype\(int\)"),
        (np.array([True, False, True]), "whole numbers, got dtype bool"),
    ],
)
def test_wrong_labels(t: np.ndarray, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        check_labels(t, 3, 10)
    with pytest.raises(ShapeError, match=words):
        softmax_cross_entropy_forward(np.zeros((3, 10)), t)


@pytest.mark.parametrize("t", [np.array([0, 9, 5]), np.array([9, 9, 9], dtype=np.uint8), np.eye(10)[:3]])
def test_right_labels(t: np.ndarray) -> None:
    check_labels(t, 3, 10)


@pytest.mark.parametrize(
    ("x", "t", "words"),
    [
        (np.zeros((2, 3, 1, 1)), np.zeros(2, dtype=int), r"\(N, K\): .* got shape \(2, 3, 1, 1\)"),
        (np.zeros(3), np.zeros(3, dtype=int), r"got shape \(3,\)"),
        (np.zeros((0, 3)), np.zeros(0, dtype=int), "empty batch"),
    ],
)
def test_wrong_scores(x: np.ndarray, t: np.ndarray, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        softmax_cross_entropy_forward(x, t)


@pytest.mark.parametrize("one_hot", [False, True])
def test_count_right(one_hot: bool) -> None:
    x = np.array([[0.1, 0.9, 0.0], [2.0, -1.0, 1.0], [0.0, 0.0, 3.0], [5.0, 4.0, 4.5]], dtype=np.float32)
    t = np.array([1, 2, 2, 0])  # the second is wrong
    assert int(count_right(x, np.eye(3)[t] if one_hot else t)) == 3
