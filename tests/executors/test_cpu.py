"""The CPU executor gives what the plain one gives, whatever the pieces and threads."""

import threading

import numpy as np
import pytest

from xpcnn import Network, Sequential
from xpcnn.executors import CpuExecutor, EagerExecutor
from xpcnn.executors.passage import pieces_of
from xpcnn.layers import average_pool, conv, dropout, max_pool
from xpcnn.models import AlexNet, DeepConvNet, LeNet5, SimpleConvNet

# float64: pieces change only the order in which at most a few thousand terms are added.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}

MODELS = {
    "simple": lambda dtype: SimpleConvNet(seed=1, dtype=dtype),
    "deep": lambda dtype: DeepConvNet(seed=2, dtype=dtype),
    "lenet5": lambda dtype: LeNet5(seed=3, dtype=dtype),
    "alexnet": lambda dtype: AlexNet((3, 32, 32), 10, seed=4, dtype=dtype),
    "branches": lambda dtype: Network(
        [
            ("a", conv(6, 3, pad=1)),
            ("r", "relu"),
            ("b", conv(6, 3, pad=(0, 0, 2, 2), groups=2), "r"),
            ("s", "add", ("b", "r")),
            ("p", average_pool(3, stride=2, pad=1, count_pad=False), "s"),
            ("q", max_pool(3, stride=2, pad=1), "s"),
            ("c", "concatenate", ("p", "q")),
            ("d", dropout(0.3)),
            ("g", "global_average_pool"),
        ],
        input_shape=(2, 9, 7),
        seed=5,
        dtype=dtype,
    ),
    "batch norm": lambda dtype: Sequential(
        [conv(5, 3), "batch_norm", "relu", max_pool(2), "flatten"], input_shape=(1, 9, 9), seed=6, dtype=dtype
    ),
}


def batch(net, N, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, *net.input_shape)).astype(net.dtype)
    return x, rng.integers(0, net.output_shape[0], N)


def eager_twin(net):
    twin = net.copy()
    twin.executor = EagerExecutor(twin.nodes, twin.loss_layer, twin.seed)
    return twin


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("threads", "N"), [(1, 7), (2, 7), (3, 1), (2, 26)])
def test_loss_scores_and_gradients_equal_the_plain_executors(name, threads, N):
    net = MODELS[name]("float64")
    net.use_threads(threads)
    assert isinstance(net.executor, CpuExecutor)
    plain = eager_twin(net)
    x, t = batch(net, N)
    for step in range(2):  # the second with another dropout mask
        loss, scores = net.train_pass(x, t)
        expected_loss, expected_scores = plain.train_pass(x, t)
        np.testing.assert_allclose(loss, expected_loss, **CLOSE)
        np.testing.assert_allclose(scores, expected_scores, **CLOSE)
        for key, g in plain.grads.items():
            np.testing.assert_allclose(net.grads[key], g, **CLOSE, err_msg=f"{key} in step {step}")
        for key, a in plain.state.items():
            np.testing.assert_allclose(net.state[key], a, **CLOSE)
    np.testing.assert_allclose(net.predict(x), plain.predict(x), **CLOSE)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_equal_runs_give_equal_bits(threads):
    def run():
        net = SimpleConvNet(seed=0)
        net.use_threads(threads)
        x, t = batch(net, 50)
        loss, _ = net.train_pass(x, t)
        return loss.tobytes(), {name: g.tobytes() for name, g in net.grads.items()}

    assert run() == run()


def test_float32_stays_float32():
    net = SimpleConvNet(seed=0)
    x, t = batch(net, 10)
    loss, scores = net.train_pass(x, t)
    assert loss.dtype == scores.dtype == np.float32
    assert {g.dtype for g in net.grads.values()} == {np.dtype("float32")}


def test_the_batch_is_not_changed():
    net = DeepConvNet(seed=0)
    x, t = batch(net, 6)
    kept = x.copy(), t.copy()
    net.train_pass(x, t)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(t, kept[1])


@pytest.mark.parametrize("N", [1, 2, 3, 10, 100, 257])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_pieces_cover_the_share_once_and_evenly(N, size):
    pieces = pieces_of(slice(5, 5 + N), size)
    assert [i for piece in pieces for i in range(5 + N)[piece]] == list(range(5, 5 + N))
    lengths = [piece.stop - piece.start for piece in pieces]
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1
    assert len(pieces) == -(-N // size)


def test_two_networks_train_in_two_threads_as_they_do_alone():
    def train(seed):
        net = SimpleConvNet(seed=seed)
        net.use_threads(2)
        x, t = batch(net, 40, seed)
        for _ in range(3):
            for key, g in net.gradient(x, t).items():
                net.params[key] -= 0.1 * g
        return {key: a.tobytes() for key, a in net.params.items()}

    alone = [train(0), train(1)]
    together = [None, None]

    def work(i):
        together[i] = train(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert together == alone


def test_an_error_inside_a_piece_reaches_the_caller():
    net = SimpleConvNet(seed=0)
    net.use_threads(2)
    net.layers["Affine1"].params["W"] = np.zeros((3, 3), dtype="float32")  # as a careless caller might
    x, t = batch(net, 20)
    with pytest.raises(ValueError):  # noqa: PT011  (NumPy's own words)
        net.train_pass(x, t)


def test_an_error_inside_a_piece_ends_the_threads_that_wait_for_it():
    net = MODELS["batch norm"]("float64")
    net.use_threads(3)
    x, t = batch(net, 9)
    stage = net.executor.stages[1]
    honest = stage.forward

    def fail(job, *xs):
        if job.thread == 1:
            raise ZeroDivisionError("thread 1")
        return honest(job, *xs)

    stage.forward = fail
    with pytest.raises(ZeroDivisionError, match="thread 1"):
        net.train_pass(x, t)
    stage.forward = honest
    net.train_pass(x, t)  # and the executor is as good as new


def residual(dtype):
    """Two blocks with batch normalisation: values cross the segments, and are used in several of them."""
    return Network(
        [
            ("c0", conv(4, 3, pad=1)),
            ("n0", "batch_norm"),
            ("r0", "relu"),
            ("c1", conv(4, 3, pad=1)),
            ("n1", "batch_norm"),
            ("r1", "relu"),
            ("c2", conv(4, 3, pad=1)),
            ("n2", "batch_norm"),
            ("s", "add", ("n2", "r0")),
            ("r2", "relu"),
            ("p", conv(6, 1, stride=2), "r0"),
            ("q", conv(6, 3, stride=2, pad=1), "r2"),
            ("t", "add", ("p", "q")),
            ("n3", "batch_norm"),
            ("g", "global_average_pool"),
            ("n4", "batch_norm"),
        ],
        input_shape=(2, 7, 8),
        seed=8,
        dtype=dtype,
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("N", [3, 20])
def test_a_residual_network_with_batch_normalisation(threads, N):
    net = residual("float64")
    net.use_threads(threads)
    plain = eager_twin(net)
    x, t = batch(net, N)
    for _ in range(2):
        loss, scores = net.train_pass(x, t)
        expected_loss, expected_scores = plain.train_pass(x, t)
        # Dividing by small standard deviations costs digits, three times in a row.
        loose = {"rtol": 1e-8, "atol": 1e-10}
        np.testing.assert_allclose(loss, expected_loss, **loose)
        np.testing.assert_allclose(scores, expected_scores, **loose)
        for key, g in plain.grads.items():
            np.testing.assert_allclose(net.grads[key], g, **loose, err_msg=key)
        for key, a in plain.state.items():
            np.testing.assert_allclose(net.state[key], a, **loose)
    np.testing.assert_allclose(net.predict(x), plain.predict(x), **loose)


def test_networks_whose_threads_meet_train_in_two_threads_at_once():
    def train(seed):
        net = residual("float32")
        net.use_threads(2)
        x, t = batch(net, 12, seed)
        for _ in range(5):
            net.train_pass(x, t)
        return {key: g.tobytes() for key, g in net.grads.items()}

    shared = residual("float32")  # one network in two threads: whose gradients are left is open, but nothing hangs
    shared.use_threads(2)
    x, t = batch(shared, 12)
    alone = [train(0), train(1)]
    together = [None, None]

    def work(i):
        together[i] = train(i)
        shared.train_pass(x, t)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert together == alone


@pytest.mark.parametrize("name", ["simple", "deep", "batch norm"])
def test_prediction_sees_every_change_of_a_parameter(name):
    net = MODELS[name]("float32")
    plain = eager_twin(net)
    x, t = batch(net, 4)
    for key in [None, *net.arrays()]:
        if key is not None:
            for side in (net, plain):
                a = side.params[key] if key in side.params else side.state[key]
                a[...] = a * 1.5 + 0.1  # in place: nobody is told
        got, expected = net.predict(x), plain.predict(x)
        # float32: rounding of a few thousand terms through eight layers; a change missed is a thousand times more.
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), key
    net.train_pass(x, t)


def test_one_network_predicts_in_several_threads_at_once():
    net = DeepConvNet(seed=0)
    x, _ = batch(net, 30)
    expected = [net.predict(x[i : i + 3]).tobytes() for i in range(0, 30, 3)]
    fresh = net.copy()
    found = [None] * 10

    def work(i):
        found[i] = fresh.predict(x[3 * i : 3 * i + 3]).tobytes()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert found == expected
