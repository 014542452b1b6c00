"""Pooling stages, and convolutions of single channels, without compiled kernels: predictions and training."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import Sequential
from xpcnn.executors import EagerExecutor
from xpcnn.layers import Pooling, affine, average_pool, conv, depthwise_conv, max_pool

NETS = {
    "groups": [conv(6, 1), "relu", conv(8, 1, groups=2), "relu", conv(4, 3, groups=4), affine(4)],
    "max": [conv(4, 3, pad=1), "relu", max_pool(3, 2, pad=1), conv(5, 3), max_pool(2, 1), affine(6)],
    "average": [
        average_pool(3, 1, pad=1),
        conv(4, 3),
        Pooling(2, 3, (2, 1), (1, 0, 0, 2), "average", False),
        affine(6),
    ],
    "single channels": [
        conv(6, 1),
        depthwise_conv(3, 2, 1),
        "relu",
        depthwise_conv(3, 1, 1),
        "relu",
        max_pool(2),
        affine(4),
    ],
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("N", [1, 3, 40])
def test_equal_to_the_plain_executor(name, N):
    net = Sequential(NETS[name], (3, 11, 10), seed=0, dtype="float64")  # compiled kernels are for float32 only
    plain = EagerExecutor(net.nodes, net.loss_layer, net.seed)
    rng = np.random.default_rng(N)
    x, t = rng.standard_normal((N, 3, 11, 10)), rng.integers(0, 4, N)
    wanted = plain.predict(x)
    for _ in range(2):  # on new memory, then again on the same
        np.testing.assert_allclose(net.predict(x), wanted, rtol=1e-10, atol=1e-12)  # sums of a few hundred terms
    net.train_pass(x, t)
    got = {name: g.copy() for name, g in net.grads.items()}
    plain.gradient(x, t)
    for name, g in net.grads.items():
        np.testing.assert_allclose(got[name], g, rtol=1e-9, atol=1e-12)
    net.params[next(iter(net.params))] *= 1.5
    np.testing.assert_allclose(net.predict(x), plain.predict(x), rtol=1e-10, atol=1e-12)


def test_the_plan_says_so():
    assert "reference, for predictions rows and columns" in Sequential(
        NETS["max"], (3, 11, 10), seed=0, dtype="float64"
    ).summary(plan=True)
