"""Convolutions by Winograd's way in whole networks: where it is taken, and that scores and gradients stay right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpcnn import Sequential
from xpcnn.errors import ConfigError
from xpcnn.executors import EagerExecutor, plan
from xpcnn.executors.compiled_winograd_stage import CompiledWinogradStage
from xpcnn.executors.plan import COMPILED_TRANSFORM, TRANSFORM, winograd_pays
from xpcnn.executors.winograd_stage import WinogradStage
from xpcnn.layers import conv, max_pool
from xpcnn.models import DeepConvNet
from xpcnn.ops.cpu.compiled import available, why_not

# As in test_compiled_stage.py, where the sums are plain, and twice as much for Winograd's rounding (1.8 times in rms).
CLOSE = 4e-5


# Of DeepConvNet's six: all but the first, which has one channel; in NumPy those of 32 channels and more.
CHOSEN = {"compiled": 5, "numpy": 3}


def assert_close(got, expected, what):
    assert np.abs(got - expected).max() <= CLOSE * np.abs(expected).max() + 4e-6, what


def plain_copy(net):
    plain = net.copy("float64")
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    return plain


def batch(net, N):
    rng = np.random.default_rng(N)
    x = rng.standard_normal((N, *net.input_shape)).astype("float32")
    return x, rng.integers(0, net.output_shape[0], N)


def stages(net):
    return [stage for stage in net.executor.stages if isinstance(stage, WinogradStage | CompiledWinogradStage)]


def use(patch, kernels, mode):
    """kernels: "compiled" or "numpy"."""
    patch.setenv("XPCNN_COMPILED", "1" if kernels == "compiled" else "0")
    patch.setenv("XPCNN_WINOGRAD", mode)


KERNELS = [
    "numpy",
    pytest.param("compiled", marks=pytest.mark.skipif(not available(), reason=why_not())),
]


@pytest.fixture(params=KERNELS)
def kernels(request, monkeypatch):
    use(monkeypatch, request.param, "predict")
    return request.param


@pytest.fixture(params=["predict", "always"])
def mode(request, kernels, monkeypatch):
    use(monkeypatch, kernels, request.param)
    return request.param


@pytest.mark.parametrize("threads", [1, 2])
def test_deep_convnet(mode, kernels, threads):
    net = DeepConvNet(seed=2)
    net.use_threads(threads)
    assert len(stages(net)) == CHOSEN[kernels]
    plain = plain_copy(net)
    for N in (23, 1, 8):  # in memory that holds other pictures' numbers
        x, t = batch(net, N)
        loss, scores = net.train_pass(x, t)
        expected_loss, expected_scores = plain.train_pass(x, t)
        assert_close(scores, expected_scores, "scores")
        assert_close(loss, expected_loss, "loss")
        for name, g in plain.grads.items():
            assert_close(net.grads[name], g, name)
        assert_close(net.predict(x), plain.predict(x), "predict")


@pytest.mark.parametrize("kernels_used", KERNELS)
@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    C=st.integers(4, 9),
    H=st.integers(8, 13),
    W=st.integers(8, 17),
    filters=st.tuples(st.integers(8, 20), st.integers(8, 20)),
    pads=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    relu=st.booleans(),
    pool=st.booleans(),
    N=st.integers(1, 5),
    always=st.booleans(),
)
def test_two_convolutions_in_a_row(C, H, W, filters, pads, relu, pool, N, always, kernels_used):
    """Each writes into the other's margins, whether it goes Winograd's way or, being small, does not."""
    layers = [conv(filters[0], 3, pad=pads[0]), "relu" if relu else "tanh", conv(filters[1], 3, pad=pads[1])]
    layers += (["relu"] if relu else []) + ([max_pool(2)] if pool else []) + ["flatten"]
    with pytest.MonkeyPatch.context() as patch:
        use(patch, kernels_used, "always" if always else "predict")
        patch.setattr(plan, "TRANSFORM", 1)  # NumPy's way too for these few channels
        net = Sequential(layers, (C, H, W), seed=7)
    for layer in ("conv1", "conv2"):  # else an output that sees nothing but a pad is 0, and rounding decides about ReLU
        net.params[f"{layer}.b"] = np.linspace(0.1, 0.3, len(net.params[f"{layer}.b"]))
    plain = plain_copy(net)
    x, t = batch(net, N)
    for _ in range(2):
        assert_close(net.predict(x), plain.predict(x), "predict")
        _, scores = net.train_pass(x, t)
        plain.train_pass(x, t)
        assert_close(scores, plain.predict(x), "scores")
        for name, g in plain.grads.items():
            assert_close(net.grads[name], g, name)
    assert_close(net.predict(x[:1]), plain.predict(x[:1]), "one")


def test_training_is_untouched_unless_asked_for(kernels, monkeypatch):
    def trained():
        net = DeepConvNet(seed=0)
        net.predict(batch(net, 3)[0])
        loss, scores = net.train_pass(*batch(net, 12))
        return [loss, scores, *net.grads.values()], net

    usual, net = trained()
    assert len(stages(net)) == CHOSEN[kernels]
    monkeypatch.setenv("XPCNN_WINOGRAD", "never")
    without, net = trained()
    assert not stages(net)
    for a, b in zip(usual, without, strict=True):
        np.testing.assert_array_equal(a, b)


def test_equal_runs_give_equal_bits(mode):
    x, t = batch(DeepConvNet(seed=0), 20)

    def run():
        net = DeepConvNet(seed=0)
        net.use_threads(2)
        return net.predict(x), net.train_pass(x, t)[0], *net.grads.values()

    for a, b in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_changed_weights_are_noticed(kernels):
    net = DeepConvNet(seed=0)
    x, _ = batch(net, 2)
    before = net.predict(x)
    for stage in stages(net):
        stage.layer.params["W"][...] *= 0.5
    assert_close(net.predict(x), plain_copy(net).predict(x), "scores")
    assert np.abs(net.predict(x) - before).max() > 0.01 * np.abs(before).max()


def test_the_plan_says_so(kernels, monkeypatch):
    told = {}
    for word in ("", "predict", "always", "never"):
        monkeypatch.setenv("XPCNN_WINOGRAD", word)
        told[word] = DeepConvNet(seed=0).summary(plan=True)
    usual = {"compiled": "compiled", "numpy": "rows"}[kernels]
    assert told[""] == told["predict"]
    assert told["predict"].count(f": {usual}, for predictions winograd 4x4 + relu") == CHOSEN[kernels]
    assert told["always"].count(": winograd 4x4 + relu") == CHOSEN[kernels]
    assert "winograd" not in told["never"]
    monkeypatch.setenv("XPCNN_WINOGRAD", "sometimes")
    with pytest.raises(ConfigError, match="'sometimes'; it may be one of predict, always, never"):
        DeepConvNet(seed=0)


def test_where_it_is_not_taken(kernels):
    layers = [
        conv(8, 5, pad=2),
        conv(8, 3, stride=2, pad=1),
        conv(8, 3, dilation=2, pad=2),
        conv(8, 3, groups=2),
        "flatten",
    ]
    assert not stages(Sequential(layers, (8, 24, 24), seed=0))
    assert not stages(Sequential([conv(8, 3, pad=1), "flatten"], (8, 24, 24), seed=0, dtype="float64"))


@pytest.mark.parametrize(
    ("shape", "compiled", "numpy"),
    [  # the parts of the plain way's time are those measured
        ((64, 64, 32, 32), True, True),  # 0.30, 0.59
        ((32, 32, 16, 16), True, True),  # 0.33, 0.70
        ((16, 32, 14, 14), True, False),  # 0.48, 1.02
        ((16, 16, 28, 28), True, False),  # 0.41, 1.42
        ((8, 8, 28, 28), True, False),  # 0.58
        ((64, 64, 5, 5), True, False),  # 0.76
        ((32, 32, 5, 5), False, False),  # 0.85 to 0.90
        ((1, 16, 28, 28), False, False),  # 1.4 to 1.6
        ((64, 64, 3, 9), False, False),  # no whole tile
    ],
)
def test_the_rule(shape, compiled, numpy):
    assert winograd_pays(*shape, COMPILED_TRANSFORM) is compiled
    assert winograd_pays(*shape, TRANSFORM) is numpy
