"""A few samples, predicted by calls that are remembered, against the plain executor; changed parameters are seen."""

import threading

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xpcnn import Network, Sequential
from xpcnn.executors import EagerExecutor
from xpcnn.executors.cpu import FEW
from xpcnn.executors.prepared import Prepared
from xpcnn.layers import affine, average_pool, batch_norm, conv, dropout, max_pool
from xpcnn.models import AlexNet, DeepConvNet, LeNet5, SimpleConvNet

MODELS = {
    "simple": lambda dtype: SimpleConvNet(seed=1, dtype=dtype),
    "deep": lambda dtype: DeepConvNet(seed=2, dtype=dtype),
    "lenet5": lambda dtype: LeNet5(seed=3, dtype=dtype),
    "alexnet": lambda dtype: AlexNet((3, 32, 32), 10, seed=4, dtype=dtype),
    "book's dropout": lambda dtype: Sequential(
        [affine(30), "relu", dropout(0.5, inverted=False), affine(7), "sigmoid", "flatten", affine(3)],
        (2, 3, 4),
        seed=5,
        dtype=dtype,
    ),
    "branches": lambda dtype: Network(
        [
            ("a", conv(4, 3, pad=1), "input"),
            ("b", "relu", "a"),
            ("c", batch_norm(), "b"),
            ("d", conv(4, 1), "input"),
            ("sum", "add", ("c", "d")),
            ("both", "concatenate", ("sum", "a")),
            ("p", average_pool(2), "both"),
            ("big", affine(20), "p"),
        ],
        (2, 8, 8),
        seed=6,
        dtype=dtype,
    ),
    "feature maps": lambda dtype: Sequential([conv(3, 3), "relu"], (2, 6, 6), seed=7, dtype=dtype),
}
# Relative to the largest score: sums of a few thousand terms through at most eight layers, Winograd's among them.
CLOSE = {"float32": 1e-4, "float64": 1e-11}


def eager_twin(net):
    plain = net.copy("float64")
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    return plain


def batch(net, N, seed=0):
    return np.random.default_rng(seed).standard_normal((N, *net.input_shape)).astype(net.dtype)


def check(net, plain, x):
    got, expected = net.predict(x), plain.predict(x)
    assert got.dtype == net.dtype
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= CLOSE[net.dtype.name] * max(np.abs(expected).max(), 1.0)
    return got


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_equal_to_the_plain_executor_whatever_came_before(name, dtype, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setenv("XPCNN_COMPILED", "0")
    net = MODELS[name](dtype)
    plain = eager_twin(net)
    for i, N in enumerate([1, 1, 3, 1, FEW, 2, FEW + 1]):  # larger ones replace the smaller ones' memory
        check(net, plain, batch(net, N, seed=i))
    if len(net.output_shape) == 1:
        net.train_pass(batch(net, 5), np.zeros(5, dtype=int))  # its workspaces are others
        plain.load_arrays(net.arrays())
    check(net, plain, batch(net, 1))


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    C=st.integers(1, 3),
    H=st.integers(4, 10),
    W=st.integers(4, 10),
    filters=st.integers(1, 20),
    size=st.integers(1, 3),
    pad=st.integers(0, 2),
    pool=st.booleans(),
    hidden=st.integers(1, 70),
    middle=st.sampled_from(["relu", "tanh", dropout(0.3), batch_norm()]),
    Ns=st.lists(st.integers(1, FEW), min_size=1, max_size=4),
)
def test_random_networks(C, H, W, filters, size, pad, pool, hidden, middle, Ns):
    assume(min(H, W) + 2 * pad - size + 1 >= 2)
    layers = [conv(filters, size, pad=pad), "relu", *([max_pool(2)] if pool else []), affine(hidden), middle, affine(5)]
    net = Sequential(layers, (C, H, W), seed=1)
    plain = eager_twin(net)
    for N in Ns:
        check(net, plain, batch(net, N, seed=N))


@pytest.mark.parametrize("name", MODELS)
def test_the_result_is_the_callers_and_the_batch_stays(name):
    net = MODELS[name]("float32")
    x = batch(net, 1)
    given = x.copy()
    first = net.predict(x)
    kept = first.copy()
    net.predict(batch(net, 1, seed=1))
    assert first.tobytes() == kept.tobytes()
    first[...] = 7.0
    assert net.predict(x).tobytes() == kept.tobytes()
    assert x.tobytes() == given.tobytes()


@pytest.mark.parametrize("N", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_every_change_of_a_parameter_is_seen(name, N):
    net = MODELS[name]("float32")
    plain = eager_twin(net)
    x = batch(net, N)
    before = check(net, plain, x)
    for key, a in net.arrays().items():
        a.flat[-1] += 3.0  # in place, one number: nobody is told
        (plain.params if key in plain.params else plain.state)[key].flat[-1] += 3.0
        before = check(net, plain, x)
    assert np.isfinite(before).all()


def test_a_parameter_that_is_replaced_is_seen():
    net = SimpleConvNet(seed=0)
    plain = eager_twin(net)
    x = batch(net, 1)
    check(net, plain, x)
    for name, layer in net.layers.items():
        for parameter, a in list(layer.params.items()):
            layer.set_param(parameter, (a * 1.5 + 0.1).astype(a.dtype))
            plain.layers[name].params[parameter][...] = layer.params[parameter]
            check(net, plain, x)
    layer = net.layers["Affine1"]
    layer.set_param("W", np.asfortranarray(layer.W))  # which the kernels do not read
    check(net, plain, x)
    layer.params = {name: a * 0.5 for name, a in layer.params.items()}
    for name, a in layer.params.items():
        plain.layers["Affine1"].params[name][...] = a
    check(net, plain, x)


def test_one_picture_gives_the_same_bits_every_time_and_with_any_number_of_threads():
    x = batch(DeepConvNet(seed=0), 1)
    found = set()
    for threads in (1, 2, 1):
        net = DeepConvNet(seed=0)
        net.use_threads(threads)
        found |= {net.predict(x).tobytes() for _ in range(3)}
    assert len(found) == 1


def test_one_network_predicts_single_pictures_in_several_threads_while_its_weights_change():
    """Each round's weights are changed before its threads start: all of them must see the new ones, and whole."""
    net = DeepConvNet(seed=0)
    x = batch(net, 8)
    for round_ in range(5):
        for a in net.params.values():
            a *= 1.0 + 0.01 * round_
        fresh = net.copy()
        expected = [fresh.predict(x[i : i + 1]).tobytes() for i in range(8)]
        found = [None] * 8
        start = threading.Barrier(8)

        def work(i, found=found, start=start):
            start.wait()
            found[i] = {net.predict(x[i : i + 1]).tobytes() for _ in range(5)}

        workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert found == [{scores} for scores in expected]


def test_an_error_leaves_the_network_usable():
    net = Sequential([conv(2, 3), "relu", affine(3)], (1, 6, 6), seed=0)
    x = batch(net, 1)
    expected = net.predict(x).tobytes()
    layer = net.layers["affine1"]
    W = layer.W
    layer.params["W"] = W[:-1]  # set_param would refuse it
    with pytest.raises(ValueError):  # noqa: PT011 - NumPy's own, or ShapeError, which is one
        net.predict(x)
    layer.params["W"] = W
    assert net.predict(x).tobytes() == expected


def test_what_was_prepared_is_taken_over_where_it_still_holds():
    net = DeepConvNet(seed=0)
    stages = net.executor.stages
    first = Prepared(stages)
    assert first.holds()
    net.params["W2"][0, 0, 0, 0] += 1.0
    assert not first.holds()
    second = Prepared(stages, first)
    assert second.holds()
    changed = [stage.name for stage in stages if second.by_stage[stage] is not first.by_stage[stage]]
    assert changed == ["Pool1"]
    net.params["W2"][0, 0, 0, 0] = np.nan  # equal to itself in every bit
    third = Prepared(stages, second)
    assert third.holds()


def test_single_pictures_do_not_pile_up_memory():
    net = DeepConvNet(seed=0)
    for N in (1, 2, 1):
        net.predict(batch(net, N))
        net.params["W1"] *= 1.5
    (replays,) = net.executor._replays
    assert len(replays._known) == 1  # those of former weights are gone
