"""Batch normalisation (statistics over N, H, W; running ones) and local response normalisation, against loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import BatchNormalization, Context, LocalResponseNormalization
from xpcnn.ops.gradcheck import check_layer


def _layer(device: Device, C: int, seed: int = 0, **options: Any) -> tuple[BatchNormalization, np.ndarray, np.ndarray]:
    gamma, beta = np.random.default_rng(seed).standard_normal((2, C))
    return BatchNormalization(device.asarray(gamma), device.asarray(beta), **options), gamma, beta


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 5, 3), (1, 3, 2, 2), (4, 3, 5), (2, 3, 3, 2, 2)])
def test_training_time_normalises_by_the_batch(device: Device, shape: tuple[int, ...]) -> None:
    layer, gamma, beta = _layer(device, 3)
    x = np.random.default_rng(1).standard_normal(shape) * 3.0 + 7.0
    y = asnumpy(layer.forward(device.asarray(x), train=True))
    # Sums of at most 60 elements of up to 20, then divided by a deviation of about 3.
    oracles.assert_close(y, oracles.batch_norm(x, gamma, beta)[0], 60, 20.0)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    np.testing.assert_allclose(y.mean(axis=axes), beta, rtol=0.0, atol=1e-13)


def test_running_statistics_follow_the_batches(device: Device) -> None:
    layer, gamma, beta = _layer(device, 3, momentum=0.8)
    mean, var = np.zeros(3), np.ones(3)
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((4, 3, 5, 3)) * (seed + 1.0) + seed
        layer.forward(device.asarray(x), train=True)
        _, batch_mean, batch_var = oracles.batch_norm(x, gamma, beta)
        mean, var = 0.8 * mean + 0.2 * batch_mean, 0.8 * var + 0.2 * batch_var
        # Sums of 60 elements, err by less than 60 * 1.1e-16 of numbers under 30.
        np.testing.assert_allclose(asnumpy(layer.state["running_mean"]), mean, rtol=0.0, atol=1e-12)
        np.testing.assert_allclose(asnumpy(layer.state["running_var"]), var, rtol=0.0, atol=1e-12)


def test_test_time_uses_the_running_statistics_and_leaves_them(device: Device) -> None:
    layer, gamma, beta = _layer(
        device, 2, running_mean=device.asarray([1.0, -2.0]), running_var=device.asarray([4.0, 9.0])
    )
    x = np.random.default_rng(2).standard_normal((3, 2, 3, 1))
    y = asnumpy(layer.forward(device.asarray(x)))
    for c, (mean, var) in enumerate([(1.0, 4.0), (-2.0, 9.0)]):
        want = (x[:, c] - mean) / math.sqrt(var + 1e-5) * gamma[c] + beta[c]
        np.testing.assert_allclose(y[:, c], want, rtol=0.0, atol=1e-14)  # four roundings of numbers under 10
    assert asnumpy(layer.state["running_mean"]).tolist() == [1.0, -2.0]
    assert asnumpy(layer.state["running_var"]).tolist() == [4.0, 9.0]


def test_each_sample_alone_at_test_time(device: Device) -> None:
    layer, _, _ = _layer(device, 3)
    x = device.asarray(np.random.default_rng(3).standard_normal((4, 3, 2, 2)))
    layer.forward(x, train=True)
    whole = asnumpy(layer.forward(x))
    alone = np.concatenate([asnumpy(layer.forward(x[i : i + 1])) for i in range(4)])
    np.testing.assert_array_equal(alone, whole)


def test_the_caller_keeps_its_running_arrays() -> None:
    mean, var = np.zeros(2), np.ones(2)
    layer = BatchNormalization(np.ones(2), np.zeros(2), running_mean=mean, running_var=var)
    layer.forward(np.random.default_rng(0).standard_normal((5, 2)) + 3.0, train=True)
    assert layer.state["running_mean"].max() > 0.1
    assert mean.tolist() == [0.0, 0.0]
    assert var.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 5, 3), (3, 3, 4), (2, 3, 2, 3, 1)])
@pytest.mark.parametrize("train", [True, False])
def test_gradients(device: Device, shape: tuple[int, ...], train: bool) -> None:
    layer, _, _ = _layer(device, 3)
    x = device.asarray(np.random.default_rng(4).standard_normal(shape))
    errors = check_layer(layer, x, train=train)  # truncation and rounding each leave about 1e-10
    assert errors.keys() == {"x", "gamma", "beta"}
    assert max(errors.values()) < 1e-6
    assert layer.dgamma.shape == layer.dbeta.shape == (3,)


def test_float32_is_stable_far_from_zero(device: Device) -> None:
    # E[x**2] - E[x]**2 would lose every digit of this variance.
    x = np.random.default_rng(5).standard_normal((200, 1)) + 3e3
    layer = BatchNormalization(device.xp.ones(1, dtype="float32"), device.xp.zeros(1, dtype="float32"))
    y = asnumpy(layer.forward(device.asarray(x, "float32"), train=True))
    # x itself is rounded by up to 1.2e-4 (half a unit in the last place of 3e3), the mean by some of these.
    np.testing.assert_allclose(y[:, 0], (x[:, 0] - x.mean()) / x.std(), rtol=0.0, atol=1e-3)


def test_the_constants_of_the_layer() -> None:
    layer = BatchNormalization(np.ones(2, dtype=np.float32), np.zeros(2, dtype=np.float32), 0.7, eps=1e-3)
    assert (layer.momentum, layer.eps) == (0.7, 1e-3)
    assert layer.gamma is layer.params["gamma"]
    assert layer.beta is layer.params["beta"]
    assert layer.needs_whole_batch
    assert layer.dgamma is None
    y = layer.forward(np.array([[3.0, 3.0], [3.0, 3.0]], dtype=np.float32), train=True)
    assert y.tolist() == [[0.0, 0.0], [0.0, 0.0]]  # a variance of 0 is held up by eps


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"have one shape \(C,\), got \(3,\) and \(2,\)"):
        BatchNormalization(np.ones(3), np.ones(2))
    with pytest.raises(ShapeError, match=r"have one shape \(C,\), got \(1, 3\)"):
        BatchNormalization(np.ones((1, 3)), np.ones((1, 3)))
    with pytest.raises(ConfigError, match=r"momentum lies in 0..1, got 1.5"):
        BatchNormalization(np.ones(3), np.ones(3), 1.5)
    layer = BatchNormalization(np.ones(3), np.ones(3))
    for shape in ((2,), (2, 4, 4), ()):
        with pytest.raises(ShapeError, match=r"wanted \(3,\) or \(3, ...\), got"):
            layer.output_shape(shape)
    with pytest.raises(ShapeError, match=r"takes \(N, D\) or \(N, C, ...\), got shape \(3,\)"):
        layer.forward(np.ones(3), train=True)
    with pytest.raises(ShapeError, match="statistics of an empty batch"):
        layer.forward(np.ones((0, 3)), train=True)
    assert layer.state["running_mean"].tolist() == [0.0] * 3


# ---------------------------------------------------------------------------------------------------------- LRN
@pytest.mark.parametrize("options", [{}, {"size": 3, "alpha": 0.5, "beta": 0.6, "k": 1.0}, {"size": 1}, {"size": 4}])
def test_lrn_against_its_formula(device: Device, options: dict[str, Any]) -> None:
    x = np.random.default_rng(6).standard_normal((2, 7, 2, 3)) * 3.0
    used = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0, **options}  # the paper's
    layer = LocalResponseNormalization(**options)
    y = asnumpy(layer.forward(device.asarray(x)))
    np.testing.assert_allclose(y, oracles.lrn(x, **used), rtol=1e-14)  # a dozen roundings of 1.1e-16
    assert max(check_layer(layer, device.asarray(x)).values()) < 1e-6


def test_lrn_without_the_gradient_being_asked() -> None:
    ctx = Context(keep=False)
    LocalResponseNormalization().forward_in(ctx, np.ones((1, 2, 3, 3)))
    assert ctx.saved is None


def test_lrn_errors() -> None:
    with pytest.raises(ConfigError, match="got size=0"):
        LocalResponseNormalization(0)
    with pytest.raises(ShapeError, match=r"wanted channels \(C, ...\), got \(\)"):
        LocalResponseNormalization().output_shape(())
