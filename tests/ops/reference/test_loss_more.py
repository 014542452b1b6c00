"""Weighted and ignored labels, labels at places, regression and yes-or-no losses, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.ops.gradcheck import relative_error
from xpcnn.ops.reference import (
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    class_losses_backward,
    class_losses_forward,
    count_right_signs,
    label_weights,
    log_softmax,
    mean_squared_error_backward,
    mean_squared_error_forward,
    target_masses,
)

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _eps(dtype: str) -> float:
    return float(np.finfo(dtype).eps)


def _by_hand(
    log_p: np.ndarray, t: np.ndarray, weights: list[float] | None, ignore: int | None, smoothing: float
) -> np.ndarray:
    """Each place's loss, one label after another."""
    K = log_p.shape[1]
    w = [1.0] * K if weights is None else weights
    losses = np.zeros(t.shape)
    for place in np.ndindex(*t.shape):
        label = int(t[place])
        if label == ignore:
            continue
        scores = [float(log_p[(place[0], k, *place[1:])]) for k in range(K)]
        even = sum(w[k] * scores[k] for k in range(K)) / K
        losses[place] = -(1.0 - smoothing) * w[label] * scores[label] - smoothing * even
    return losses


@each_dtype
@pytest.mark.parametrize("places", [(), (3,), (2, 3)])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 1.25]])
@pytest.mark.parametrize("ignore", [None, 2, -100])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses_of_classes(
    device: Device,
    dtype: str,
    places: tuple[int, ...],
    weights: list[float] | None,
    ignore: int | None,
    smoothing: float,
) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((5, 4, *places)).astype(dtype)
    t = random.integers(0, 4, (5, *places))
    if ignore is not None:
        t.reshape(-1)[::3] = ignore
    log_p = log_softmax(device.asarray(x), axis=1)
    w = None if weights is None else device.asarray(weights, dtype)
    labels = device.asarray(t)
    masses = target_masses(log_p, labels, w, ignore, smoothing)
    losses = class_losses_forward(log_p, masses)
    assert masses.dtype == losses.dtype == dtype
    want = _by_hand(asnumpy(log_p), t, weights, ignore, smoothing)
    # A few products of numbers up to 10, added up.
    np.testing.assert_allclose(asnumpy(losses), want, rtol=0.0, atol=100.0 * _eps(dtype))
    np.testing.assert_array_equal(asnumpy(labels), t)
    counts = asnumpy(label_weights(labels, False, w, ignore))
    by_hand = [0.0 if v == ignore else 1.0 if weights is None else weights[v] for v in t.reshape(-1).tolist()]
    np.testing.assert_array_equal(counts.reshape(-1), by_hand)
    # Linear in log_p: the gradient is the coefficient.
    dout = device.asarray(random.standard_normal(t.shape), dtype)
    exact = asnumpy(log_p).astype(np.float64)
    slopes = oracles.central_difference(
        lambda: float((_by_hand(exact, t, weights, ignore, smoothing) * asnumpy(dout)).sum()), exact
    )
    got = class_losses_backward(dout, masses)
    assert got.dtype == dtype
    # Differences of sums below 100 with h = 1e-5 err by about 1e-9; float32 rounds products of numbers below 10.
    np.testing.assert_allclose(asnumpy(got), slopes, rtol=0.0, atol=1e-7 + 20.0 * _eps(dtype) * (dtype == "float32"))


@each_dtype
def test_rows_weigh_as_their_classes_do(device: Device, dtype: str) -> None:
    x = device.asarray(np.random.default_rng(1).standard_normal((4, 3)), dtype)
    t, w = np.array([0, 2, 1, 2]), device.asarray([1.0, 3.0, 0.5], dtype)
    rows = device.asarray(np.eye(3)[t])
    numbers = device.asarray(t)
    for smoothing in (0.0, 0.3):
        np.testing.assert_array_equal(
            asnumpy(target_masses(x, rows, w, None, smoothing)), asnumpy(target_masses(x, numbers, w, None, smoothing))
        )
    np.testing.assert_array_equal(asnumpy(label_weights(rows, True, w)), asnumpy(label_weights(numbers, False, w)))
    np.testing.assert_array_equal(asnumpy(label_weights(rows, True)), [1.0] * 4)


def test_a_label_of_no_class_is_seen_in_the_loss(device: Device) -> None:
    log_p = log_softmax(device.asarray(np.zeros((3, 2))), axis=1)
    masses = target_masses(log_p, device.asarray(np.array([1, 7, -1])), None, -1)
    losses = asnumpy(class_losses_forward(log_p, masses))
    assert math.isnan(losses[1])
    np.testing.assert_allclose(losses[[0, 2]], [math.log(2.0), 0.0], rtol=1e-15)


def test_a_class_ruled_out_does_not_spoil_the_others(device: Device) -> None:
    log_p = log_softmax(device.asarray(np.array([[0.0, -np.inf, 0.0]])), axis=1)
    losses = class_losses_forward(log_p, target_masses(log_p, device.asarray(np.array([2]))))
    assert float(losses[0]) == pytest.approx(math.log(2.0), rel=1e-15)


@each_dtype
def test_mean_squared_error(device: Device, dtype: str) -> None:
    random = np.random.default_rng(2)
    x, t = (random.standard_normal((4, 3, 2)).astype(dtype) for _ in range(2))
    given = [device.asarray(x.copy()), device.asarray(t.copy())]
    loss = mean_squared_error_forward(*given)
    assert (loss.shape, loss.dtype) == ((), dtype)
    want = math.fsum((a - b) ** 2 for a, b in zip(x.reshape(-1).tolist(), t.reshape(-1).tolist(), strict=True)) / 24.0
    assert float(loss) == pytest.approx(want, rel=30.0 * _eps(dtype))  # 24 squares, each with three roundings, added up
    exact = x.astype(np.float64)
    slopes = oracles.central_difference(lambda: -1.5 * float(((exact - t) ** 2).mean()), exact)
    dx = mean_squared_error_backward(*given, -1.5)
    assert dx.dtype == dtype
    assert relative_error(dx, slopes) < 1e-6
    for before, after in zip((x, t), given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


def _binary_by_hand(x: np.ndarray, t: np.ndarray, p: np.ndarray) -> float:
    total = 0.0
    for v, y, w in zip(x.reshape(-1).tolist(), t.reshape(-1).tolist(), p.reshape(-1).tolist(), strict=True):
        yes = math.log1p(math.exp(-v)) if v > 0 else math.log1p(math.exp(v)) - v  # -log(sigmoid(v))
        total += w * y * yes + (1.0 - y) * (yes + v)
    return total / x.size


@each_dtype
@pytest.mark.parametrize("pos_weight", [None, 3.0, "array"])
def test_binary_cross_entropy(device: Device, dtype: str, pos_weight: float | str | None) -> None:
    random = np.random.default_rng(3)
    x = (random.standard_normal((5, 3)) * 4.0).astype(dtype)
    t = random.uniform(0.0, 1.0, (5, 3)).astype(dtype)
    t[0], t[1] = 0.0, 1.0
    weights = np.broadcast_to(
        np.array([0.5, 1.0, 2.0]) if pos_weight == "array" else np.array(1.0 if pos_weight is None else pos_weight),
        x.shape,
    )
    p = device.asarray(weights[0], dtype) if pos_weight == "array" else pos_weight
    given = [device.asarray(x.copy()), device.asarray(t.copy())]
    loss = binary_cross_entropy_forward(*given, p)
    assert (loss.shape, loss.dtype) == ((), dtype)
    # 15 terms below 30, with some ten roundings each.
    assert float(loss) == pytest.approx(_binary_by_hand(x, t, weights), rel=0.0, abs=300.0 * _eps(dtype))
    exact = x.astype(np.float64)
    slopes = oracles.central_difference(lambda: 2.0 * _binary_by_hand(exact, t, weights), exact)
    dx = binary_cross_entropy_backward(*given, 2.0, p)
    assert dx.dtype == dtype
    # As every gradient; in float32 the sigmoid is right to an eps of 1.
    assert relative_error(dx, slopes) < (1e-6 if dtype == "float64" else 3e-6)
    for before, after in zip((x, t), given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


@each_dtype
def test_binary_cross_entropy_of_huge_scores(device: Device, dtype: str) -> None:
    x = device.asarray(np.array([[1e4, -1e4, 1e4, -1e4]]), dtype)
    t = device.asarray(np.array([[1.0, 0.0, 0.0, 1.0]]), dtype)
    for p in (None, 1.0):
        assert float(binary_cross_entropy_forward(x, t, p)) == 5e3
        np.testing.assert_array_equal(asnumpy(binary_cross_entropy_backward(x, t, 1.0, p)), [[0.0, 0.0, 0.25, -0.25]])


def test_right_signs(device: Device) -> None:
    x = np.array([[1.0, -1.0], [1.0, 1.0], [np.nan, 1.0], [0.0, -0.0]])
    t = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.2]])
    assert int(count_right_signs(device.asarray(x), device.asarray(t))) == 2
    assert int(count_right_signs(device.asarray(x[:, 0]), device.asarray(t[:, 0]))) == 3
