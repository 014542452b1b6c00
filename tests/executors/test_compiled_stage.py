"""Convolution stages by compiled kernels, in whole networks, against the plain executor."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xpcnn import Network, Sequential
from xpcnn.executors import EagerExecutor
from xpcnn.executors.compiled_stage import CompiledStage
from xpcnn.layers import affine, conv, max_pool
from xpcnn.models import AlexNet, DeepConvNet, LeNet5, SimpleConvNet
from xpcnn.ops.cpu.compiled import available, why_not

pytestmark = pytest.mark.skipif(not available(), reason=why_not())

# float32 sums of at most a few thousand terms, against float64: relative to the largest element of each array.
CLOSE = 2e-5


def assert_close(got, expected, what):
    largest = np.abs(expected).max()
    assert np.abs(got - expected).max() <= CLOSE * largest + 2e-6, what  # bias gradients may cancel to 0


def check(net, N):
    plain = net.copy("float64")
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    rng = np.random.default_rng(N)
    x = rng.standard_normal((N, *net.input_shape)).astype("float32")
    t = rng.integers(0, net.output_shape[0], N)
    for _ in range(2):  # the second time in memory that holds the first one's numbers
        loss, scores = net.train_pass(x, t)
        expected_loss, expected_scores = plain.train_pass(x, t)
        assert_close(scores, expected_scores, "scores")
        assert_close(loss, expected_loss, "loss")
        for name, g in plain.grads.items():
            assert_close(net.grads[name], g, name)
    assert_close(net.predict(x), plain.predict(x), "predict")
    # Fewer samples than before in the same buffers: their margins must still be zeros.
    assert_close(net.predict(x[: N // 2 + 1]), plain.predict(x[: N // 2 + 1]), "fewer")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda: SimpleConvNet(seed=1, weight_init_std="he"),
        lambda: DeepConvNet(seed=2),
        lambda: LeNet5(seed=3),
        lambda: AlexNet((3, 32, 32), 10, seed=4),
    ],
    ids=["simple", "deep", "lenet5", "alexnet"],
)
def test_models(make, threads):
    net = make()
    net.use_threads(threads)
    assert any(isinstance(stage, CompiledStage) for stage in net.executor.stages)
    check(net, 23)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    C=st.integers(1, 4),
    H=st.integers(4, 11),
    W=st.integers(4, 11),
    filters=st.integers(1, 9),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]),
    pad=st.tuples(*[st.integers(0, 3)] * 4),
    relu=st.booleans(),
    pool=st.booleans(),
    N=st.integers(1, 5),
)
def test_two_convolutions_in_a_row(C, H, W, filters, size, stride, pad, relu, pool, N):
    """The first writes into the second's padded input, the second into the first's padded gradient."""
    top, left, bottom, right = pad
    out = ((H + top + bottom - size[0]) // stride[0] + 1, (W + left + right - size[1]) // stride[1] + 1)
    assume(H + top + bottom >= size[0] and W + left + right >= size[1] and min(out) >= (2 if pool else 1))
    layers = [conv(3, 3, pad=1), "relu" if relu else "tanh", conv(filters, size, stride, pad)]
    layers += (["relu"] if relu else []) + ([max_pool(2)] if pool else []) + ["flatten"]
    check(Sequential(layers, (C, H, W), seed=7), N)


def test_equal_elements_in_a_pooling_window_go_to_the_first():
    net = Sequential([conv(1, 1), conv(4, 3), "relu", max_pool(2), "flatten"], (1, 12, 12), seed=1)
    for name in net.params:
        if name.endswith(".b"):
            net.params[name] = np.full(net.params[name].shape, 0.5)
    plain = net.copy("float64")
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    x = np.zeros((3, 1, 12, 12), dtype="float32")
    x[:, :, 5:8, 3:9] = 1.0
    t = np.array([0, 1, 2])
    net.train_pass(x, t)
    plain.train_pass(x, t)
    for name, g in plain.grads.items():
        assert_close(net.grads[name], g, name)


def test_equal_runs_give_equal_bits():
    def run():
        net = DeepConvNet(seed=0)
        net.use_threads(2)
        rng = np.random.default_rng(0)
        x, t = rng.random((30, 1, 28, 28), dtype="float32"), rng.integers(0, 10, 30)
        return [net.train_pass(x, t)[0].tobytes() for _ in range(2)] + [g.tobytes() for g in net.grads.values()]

    assert run() == run()


def test_float64_and_what_kernels_cannot_do_go_the_other_way():
    assert not any(isinstance(s, CompiledStage) for s in SimpleConvNet(seed=0, dtype="float64").executor.stages)
    net = Sequential([conv(2, 1), conv(2, 1, pad=1), conv(4, 3, groups=2), "flatten"], (1, 6, 6), seed=0)
    kinds = [isinstance(stage, CompiledStage) for stage in net.executor.stages]
    assert kinds == [True, True, False, False]  # groups, flatten


def test_switched_off_by_the_environment(monkeypatch):
    monkeypatch.setenv("XPCNN_COMPILED", "0")
    net = SimpleConvNet(seed=0)
    assert not any(isinstance(stage, CompiledStage) for stage in net.executor.stages)


def test_stages_of_two_segments_do_not_share_memory():
    """A large affine layer begins a new segment, and a convolution behind it takes another's output from before it."""
    layers = [
        ("a", conv(4, 3, pad=1), "input"),
        ("big", affine(300), "input"),
        ("b", conv(3, 3, pad=1), "a"),
        ("flat", "flatten", "b"),
        ("rows", affine(7), "flat"),
        ("small", affine(7), "big"),
        ("sum", "add", ("rows", "small")),
    ]
    net = Network(layers, (2, 12, 12), seed=3)
    net.use_threads(1)
    assert len(net.executor.segments) == 2
    net.executor.segments[0].piece_size = 2  # pieces that differ from the second segment's
    check(net, 11)


def test_gradients_stay_as_they_are_when_the_next_batch_comes():
    """The sums lie in memory that is used again; 1x1 filters would be handed out as a view of it."""
    net = Sequential([conv(4, 1), "relu", conv(3, 1), max_pool(2), "flatten"], (2, 6, 6), seed=4)
    net.use_threads(1)  # with more their gradients are added up in new memory
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((2, 9, 2, 6, 6)).astype("float32"), rng.integers(0, 27, (2, 9))
    net.train_pass(x[0], t[0])
    first = {name: (g, g.copy()) for name, g in net.grads.items()}
    net.train_pass(x[1], t[1])
    for name, (g, copy) in first.items():
        np.testing.assert_array_equal(g, copy)
        assert not np.array_equal(net.grads[name], copy), name


@pytest.mark.parametrize("threads", [1, 2])
def test_remembered_calls_see_new_weights_batches_and_sizes(threads):
    """Calls are remembered by where their arrays lie: not the numbers in them, nor how many samples there were."""
    net = Sequential(
        [conv(5, 3, pad=1), "relu", conv(4, 3, stride=2), "relu", max_pool(2), "flatten"], (3, 11, 9), seed=4
    )
    net.use_threads(threads)
    for N in (8, 3, 8, 30):
        for name, values in net.params.items():
            values += np.float32(0.01) * np.random.default_rng(N).standard_normal(values.shape).astype("float32")
            assert net.params[name] is values
        check(net, N)
