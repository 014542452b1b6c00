"""Gradients go to the other processes in buckets, while the backward pass still runs."""

import numpy as np
import pytest

from tests.communication.together import together
from xpcnn import Network, Sequential
from xpcnn.communication import Alone
from xpcnn.executors import EagerExecutor
from xpcnn.executors.exchange import GradientExchange, HandOver
from xpcnn.layers import Affine, affine, conv

FIGURES = 3


def net_of(*sizes, dtype="float32"):
    return Sequential([affine(n) for n in sizes], (5,), seed=0, dtype=dtype)


def layers_of(net):
    return list(net.layers.values())


def random_grads(layer, seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(a.shape).astype(a.dtype) for name, a in layer.params.items()}


# Layers of 24, 35 and 24 numbers: 96, 140 and 96 bytes; the last one's come first.
@pytest.mark.parametrize(
    ("bucket", "numbers"),
    [
        (1, [24, 35, 24 + FIGURES]),
        (96, [24, 35, 24 + FIGURES]),
        (97, [59, 24 + FIGURES]),
        (300, [83 + FIGURES]),
        (10**6, [83 + FIGURES]),
    ],
)
def test_buckets_hold_whole_layers_and_the_figures_ride_with_the_last(bucket, numbers):
    net = net_of(4, 7, 3)
    exchange = GradientExchange(layers_of(net), Alone(), net.param_dtype, bucket=bucket)
    assert exchange.buckets == [4 * n for n in numbers]
    assert exchange.size == 83


@pytest.mark.parametrize("bucket", [1, 100, 10**6])
@pytest.mark.parametrize("order", [(2, 1, 0), (0, 1, 2), (1, 2, 0)])
def test_sums_whatever_the_order_in_which_layers_are_ready(bucket, order):
    def work(ranks):
        net = net_of(4, 7, 3)
        layers = layers_of(net)
        exchange = GradientExchange(layers, ranks, net.param_dtype, bucket=bucket)
        for step in range(2):
            exchange.stop = ranks.rank == 1 and step == 1
            exchange.begin()
            for i in order if ranks.rank else reversed(order):
                exchange.put(layers[i], random_grads(layers[i], 100 * step + 10 * ranks.rank + i))
            figures = exchange.finish(0.5 + ranks.rank, 2 * ranks.rank + 1, 1 / 3)
        return figures, exchange.stop, [exchange.grads(layer) for layer in layers], ranks.begun

    found = together(3, work)
    expected = [
        [random_grads(layer, 100 + 10 * r + i) for i, layer in enumerate(layers_of(net_of(4, 7, 3)))] for r in range(3)
    ]
    for figures, stop, grads, begun in found:
        assert figures == (4.5, 9)
        assert stop is True
        assert begun == found[0][3]
        for i, by_name in enumerate(grads):
            for name, g in by_name.items():
                total = expected[0][i][name] + expected[1][i][name] + expected[2][i][name]
                assert g.tobytes() == total.tobytes()


def test_a_gradient_that_is_not_there_is_zero_and_not_the_last_steps():
    net = net_of(4)
    (layer,) = layers_of(net)
    exchange = GradientExchange([layer], Alone(), net.param_dtype)
    for grads in (random_grads(layer, 0), {"b": np.ones(4, np.float32)}):
        exchange.begin()
        exchange.put(layer, grads)
        exchange.finish(0.0, 0, 1.0)
    assert not exchange.grads(layer)["W"].any()
    assert (exchange.grads(layer)["b"] == 1.0).all()


class Recorder(Alone):
    """Notes when sums begin, among what else happens."""

    def __init__(self, events):
        super().__init__()
        self.events = events

    def start_sum(self, a):
        self.events.append(f"sum of {a.size}")
        return super().start_sum(a)


@pytest.mark.parametrize("eager", [True, False])
def test_sums_begin_before_the_backward_pass_is_over(eager, monkeypatch):
    net = Sequential([conv(2, 3), "relu", affine(3)], (1, 90, 90), seed=0)  # an affine layer that ends a segment
    net.use_threads(1)
    events = []
    if eager:
        net.executor = EagerExecutor(net.nodes, net.loss_layer, net.seed)
    monkeypatch.setattr("xpcnn.executors.exchange.BUCKET", 1)
    net.executor.exchange = GradientExchange(layers_of(net), Recorder(events), net.param_dtype)
    conv_layer = net.layers["conv1"]
    if eager:
        back = conv_layer.backward_in
        monkeypatch.setattr(conv_layer, "backward_in", lambda *a: (events.append("convolution"), back(*a))[1])
    else:
        stage = net.executor.stages[0]
        back = stage.backward
        monkeypatch.setattr(stage, "backward", lambda *a: (events.append("convolution"), back(*a))[1])
    x = np.random.default_rng(0).standard_normal((8, 1, 90, 90)).astype(np.float32)
    net.train_pass(x, np.arange(8) % 3, part=slice(0, 8))
    first = next(e for e in events if e.startswith("sum"))
    assert first == f"sum of {net.layers['affine1'].W.size + 3}"
    assert events.index(first) < events.index("convolution")
    assert events[-1] == f"sum of {conv_layer.W.size + 2 + FIGURES}"


def test_a_layer_at_two_nodes_is_ready_when_both_are_done():
    shared = Affine(np.eye(5), np.zeros(5))
    net = Network([("a", shared), ("b", shared), ("c", affine(3))], (5,), seed=0, dtype="float64")
    events = []
    exchange = GradientExchange(layers_of(net), Recorder(events), net.param_dtype, bucket=1)
    hand = HandOver(exchange, list(net.nodes.values()), 2, [["c"], ["b"], ["a"]])
    one = {name: np.ones_like(a) for name, a in shared.params.items()}
    hand.done(0, 1, {"c": random_grads(net.layers["c"], 0)})
    hand.done(0, 0, {"c": random_grads(net.layers["c"], 1)})
    assert events == ["sum of 18"]
    hand.done(1, 0, {"b": one})
    hand.done(1, 1, {"b": one})
    hand.done(2, 0, {"a": one})
    assert len(events) == 1  # the second thread has still its part to bring
    hand.done(2, 1, {"a": one})
    hand.finish(0.0, 0, 1.0)
    assert events == ["sum of 18", f"sum of {30 + FIGURES}"]
    assert (shared.grads["W"] == 4.0).all()


@pytest.mark.parametrize("N", [0, 3])
def test_the_plain_executor_with_its_part(N):
    """Two ranks, of which one may have nothing; the whole batch's gradients on both."""
    x = np.random.default_rng(0).standard_normal((7, 2, 5, 5))
    t = np.arange(7) % 3

    def make():
        return Sequential([conv(3, 3), "batch_norm", "relu", affine(3)], (2, 5, 5), seed=0, dtype="float64")

    def work(ranks):
        net = make()
        net.executor = EagerExecutor(net.nodes, net.loss_layer, net.seed)
        net.executor.exchange = GradientExchange(layers_of(net), ranks, net.param_dtype)
        net.executor.across = ranks.sum
        part = slice(0, N) if ranks.rank == 0 else slice(N, 7)
        loss, scores = net.train_pass(x[part], t, part=part)
        assert scores.shape == (part.stop - part.start, 3)
        return float(loss), {name: g.copy() for name, g in net.grads.items()}, net.arrays()

    single = make()
    loss, _ = single.train_pass(x, t)
    for found, grads, arrays in together(2, work):
        assert found == pytest.approx(float(loss), rel=1e-12)
        for name, g in grads.items():
            np.testing.assert_allclose(g, single.grads[name], rtol=1e-9, atol=1e-13, err_msg=name)
        for name, a in arrays.items():
            np.testing.assert_allclose(a, single.arrays()[name], rtol=1e-12, err_msg=name)
