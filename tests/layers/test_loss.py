"""Softmax with cross-entropy against plain sums: both kinds of labels, smoothing, huge scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Context, SoftmaxWithLoss
from xpcnn.ops.gradcheck import relative_error


def _case(N: int = 5, K: int = 7) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.standard_normal((N, K)) * 3.0, random.integers(0, K, N)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("one_hot", [False, True])
def test_loss_and_gradient(device: Device, smoothing: float, one_hot: bool) -> None:
    x, t = _case()
    labels = device.asarray(np.eye(7)[t] if one_hot else t)
    layer = SoftmaxWithLoss(smoothing)
    loss = layer.forward(device.asarray(x), labels)
    assert loss.shape == ()
    # A few dozen roundings of numbers under 20.
    assert float(loss) == pytest.approx(oracles.cross_entropy(x, t.tolist(), smoothing), rel=0.0, abs=1e-13)
    slopes = oracles.central_difference(lambda: oracles.cross_entropy(x, t.tolist(), smoothing), x)
    # The difference errs by about 1e-10; 1e-6 as for every layer.
    assert relative_error(layer.backward(), slopes) < 1e-6
    np.testing.assert_allclose(asnumpy(layer.y).sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_two_kinds_of_labels_agree(device: Device, smoothing: float) -> None:
    x, t = _case()
    results = []
    for labels in (t, t.astype(np.uint8), np.eye(7)[t], np.eye(7, dtype=np.float32)[t], np.eye(7, dtype=bool)[t]):
        layer = SoftmaxWithLoss(smoothing)
        results.append((float(layer.forward(device.asarray(x), device.asarray(labels))), asnumpy(layer.backward())))
    for loss, gradient in results[1:]:
        # A row's other terms are exact zeros; a last bit may differ where the sum of five is ordered otherwise.
        assert loss == pytest.approx(results[0][0], rel=4e-16)
        np.testing.assert_allclose(gradient, results[0][1], rtol=0.0, atol=1e-16)


def test_huge_scores(device: Device) -> None:
    x = device.asarray([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], "float32")
    layer = SoftmaxWithLoss()
    assert float(layer.forward(x, device.asarray([0, 1]))) == 0.0
    assert asnumpy(layer.backward()).tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert float(layer.forward(x, device.asarray([1, 0]))) == 2e4
    assert asnumpy(layer.backward()).tolist() == [[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0]]


def test_float32_stays_float32(device: Device) -> None:
    x, t = _case()
    layer = SoftmaxWithLoss(0.1)
    for labels in (t, np.eye(7)[t]):
        loss = layer.forward(device.asarray(x, "float32"), device.asarray(labels))
        assert (loss.dtype, layer.backward().dtype, layer.y.dtype) == ("float32", "float32", "float32")


def test_the_incoming_gradient_scales(device: Device) -> None:
    x, t = _case()
    layer = SoftmaxWithLoss()
    layer.forward(device.asarray(x), device.asarray(t))
    one, three = asnumpy(layer.backward()), asnumpy(layer.backward(dout=3.0))
    np.testing.assert_allclose(three, 3.0 * one, rtol=4e-16)


def test_arguments_are_never_modified(device: Device) -> None:
    x, t = _case()
    for labels in (t, np.eye(7)[t]):
        given: list[Any] = [device.asarray(x.copy()), device.asarray(labels.copy())]
        layer = SoftmaxWithLoss(0.1)
        layer.forward(*given)
        kept = asnumpy(layer.y).copy()
        layer.backward()
        layer.backward()
        np.testing.assert_array_equal(asnumpy(given[0]), x)
        np.testing.assert_array_equal(asnumpy(given[1]), labels)
        np.testing.assert_array_equal(asnumpy(layer.y), kept)


def test_two_contexts_at_once() -> None:
    x, t = _case()
    layer = SoftmaxWithLoss()
    a, b = Context(), Context()
    layer.forward_in(a, x, t)
    layer.forward_in(b, -x, t)
    first, second = layer.backward_in(a), layer.backward_in(b)
    layer.forward(x, t)
    np.testing.assert_array_equal(layer.backward(), first)
    layer.forward(-x, t)
    np.testing.assert_array_equal(layer.backward(), second)


def test_errors() -> None:
    layer = SoftmaxWithLoss()
    assert layer.y is None
    with pytest.raises(ShapeError, match="backward was called before forward"):
        layer.backward()
    x, t = _case()
    for bad, words in (
        (t[:4], r"labels for 5 rows have shape \(5,\) or one-hot \(5, 7\), got \(4,\)"),
        (np.eye(6)[t % 6], r"have shape \(5, 7\), got \(5, 6\)"),
        (t.astype(float), "whole numbers, got dtype float64"),
        (np.full(5, 7), r"lie in 0..6, got values from 7 to 7"),
        (np.full(5, -1), r"lie in 0..6, got values from -1"),
    ):
        with pytest.raises(ShapeError, match=words):
            layer.forward(x, bad)
    with pytest.raises(ShapeError, match=r"scores have shape \(N, K\)"):
        layer.forward(x[0], t)
    with pytest.raises(ShapeError, match="empty batch"):
        layer.forward(x[:0], t[:0])
    for smoothing in (-0.1, 1.0, math.nan):
        with pytest.raises(ConfigError, match="0 <= label_smoothing < 1"):
            SoftmaxWithLoss(smoothing)
