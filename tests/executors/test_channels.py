"""Constants behind a normalisation, as exporters write them: one pass in prediction, layer by layer in training."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import Sequential
from xpcnn.executors import EagerExecutor
from xpcnn.executors.norm_stage import AppliedStage
from xpcnn.layers import WithConstant, affine, conv


def network(relu, dtype="float64"):
    rng = np.random.default_rng(0)

    def constant(op, *shape):
        return WithConstant(op, rng.uniform(0.5, 1.5, shape))

    chain = [constant("multiply", 4, 1, 1), constant("add", 1, 4, 1, 1)]
    return Sequential(
        [conv(4, 3), "batch_norm", *chain, *(["relu"] if relu else []), affine(3)], (2, 7, 6), dtype=dtype
    )


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("N", [1, 5, 40])
def test_equal_to_the_plain_executor(relu, N):
    net = network(relu)
    assert sum(isinstance(stage, AppliedStage) for stage in net.executor.stages) == 2 + relu
    rng = np.random.default_rng(N)
    x, t = rng.standard_normal((N, 2, 7, 6)), rng.integers(0, 3, N)
    plain = net.copy()
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    for _ in range(3):
        np.testing.assert_allclose(net.predict(x), plain.predict(x), rtol=1e-10, atol=1e-12)  # a hundred terms
        net.train_pass(x, t)
        plain.train_pass(x, t)
        for name, g in plain.grads.items():
            np.testing.assert_allclose(net.grads[name], g, rtol=1e-9, atol=1e-12)
            for one in (net, plain):
                one.params[name] -= 0.1 * one.grads[name]
    for layer, twin in zip(net.layers.values(), plain.layers.values(), strict=True):  # any of them is looked at
        for name in layer.params:
            layer.params[name] *= 1.1
            twin.params[name] *= 1.1
            np.testing.assert_allclose(net.predict(x), plain.predict(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("N", [1, 5])
def test_a_constant_that_is_not_learned_is_looked_at_as_well(N):
    scale = WithConstant("multiply", np.array(2.0), learned=False)
    net = Sequential([conv(4, 3), "batch_norm", scale, affine(3)], (2, 7, 6), dtype="float64", seed=0)
    x = np.random.default_rng(N).standard_normal((N, 2, 7, 6))
    b = net.params["affine1.b"]
    before = net.predict(x) - b
    scale.constant[...] = 6.0
    np.testing.assert_allclose(net.predict(x) - b, 3.0 * before, rtol=1e-12, atol=1e-12)  # a hundred terms


def test_the_plan_says_so():
    assert "for predictions with withconstant1, withconstant2, relu1" in network(True).summary(plan=True)
