"""Networks through pickle and copy: parameters and places travel, threads, buffers and gradients do not."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys

import numpy as np
import pytest

from xpcnn import layers
from xpcnn.device import asnumpy, get_device
from xpcnn.errors import InputWarning
from xpcnn.layers import Relu, affine, average_pool, batch_norm, conv, dropout, lrn, max_pool
from xpcnn.layers.spec import Spec
from xpcnn.models import SimpleConvNet
from xpcnn.network import Network, Sequential


def by_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


WAYS = pytest.mark.parametrize("way", [by_pickle, copy.deepcopy, copy.copy], ids=["pickle", "deepcopy", "copy"])


def small_network(device="cpu"):
    layers = [conv(3, 3, pad=1), "relu", "batch_norm", max_pool(2), dropout(0.5), affine(4)]
    return Sequential(layers, (2, 6, 6), seed=3, device=device)


def batch(N=20):
    rng = np.random.default_rng(0)
    return rng.random((N, 2, 6, 6), dtype=np.float32), rng.integers(0, 4, N)


@WAYS
def test_a_copy_goes_on_to_the_same_bits_on_its_own(device, way):
    network = small_network(device)
    x, t = batch()
    network.train_pass(x, t)
    network.predict(x)
    twin = way(network)
    assert type(twin) is Sequential
    assert twin.device.name == device.name
    assert (twin.step, twin.seed, twin.input_shape) == (network.step, network.seed, network.input_shape)
    np.testing.assert_array_equal(asnumpy(twin.predict(x)), asnumpy(network.predict(x)))
    mine, others = network.gradient(x, t), twin.gradient(x, t)  # the same dropout masks
    for name in mine:
        np.testing.assert_array_equal(asnumpy(mine[name]), asnumpy(others[name]))
    before = asnumpy(network.params["conv1.W"]).copy()
    twin.params["conv1.W"][...] = 0.0
    np.testing.assert_array_equal(asnumpy(network.params["conv1.W"]), before)


def test_what_travels_is_numpy_without_gradients(device):
    network = small_network(device)
    network.train_pass(*batch())
    state = network.__getstate__()
    assert all(type(a) is np.ndarray for node in state["nodes"].values() for a in node.layer.params.values())
    assert all(node.layer.grads == {} for node in state["nodes"].values())
    assert network.grads["conv1.W"] is not None  # the network itself keeps them


@WAYS
def test_a_shared_layer_stays_one(way):
    shared = Sequential([affine(5)], (5,), seed=0).layers["affine1"]
    network = way(Network([("a", shared), ("r", Relu()), ("b", shared)], (5,), seed=0))
    assert network.nodes["a"].layer is network.nodes["b"].layer
    assert network.nodes["a"].layer is not shared


def test_threads_and_models_travel():
    network = SimpleConvNet(seed=0)
    network.use_threads(2)
    twin = by_pickle(network)
    assert type(twin) is SimpleConvNet
    assert twin.threads == twin.executor.threads == 2
    assert twin.config == network.config
    assert list(twin.params) == ["W1", "b1", "W2", "b2", "W3", "b3"]


def test_without_its_gpu_a_network_comes_to_the_cpu(cuda, monkeypatch):
    state = pickle.dumps(small_network(cuda))
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.warns(InputWarning, match="comes to the CPU"):
        network = pickle.loads(state)
    assert network.device == get_device("cpu")
    np.testing.assert_array_equal(network.params["conv1.W"], small_network().params["conv1.W"])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (conv(4, (3, 2), pad=1, bias=False), "conv(4, (3, 2), pad=1, bias=False)"),
        (affine(3, init="zeros"), "affine(3, init='zeros')"),
        (max_pool(2, stride=1), "max_pool(2, stride=1)"),
        (average_pool(2), "average_pool(2)"),
        (batch_norm(momentum=0.5), "batch_norm(momentum=0.5)"),
        (lrn(3), "lrn(3)"),
        (dropout(), "dropout()"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_specs_travel_as_the_call_that_made_them(spec, words):
    for twin in (spec, by_pickle(spec), copy.deepcopy(spec), copy.copy(spec)):
        assert repr(twin) == words
        made, wanted = (Sequential([s, affine(2)], (3, 5, 5), seed=1) for s in (twin, spec))
        assert list(made.layers) == list(wanted.layers)
        assert (
            made.layers[next(iter(made.layers))].__dict__.keys() == next(iter(wanted.layers.values())).__dict__.keys()
        )
        for name, a in wanted.params.items():
            np.testing.assert_array_equal(made.params[name], a)


def test_a_spec_of_ones_own_says_what_it_is():
    spec = Spec("mine", lambda shapes, make: Relu())
    assert repr(spec) == "Spec('mine')"
    assert copy.copy(spec).build is spec.build


def test_every_public_spec_is_remembered():
    """A Spec that does not know its call cannot be pickled, nor an estimator with it among its layers."""
    made = {
        name: function
        for name in layers.__all__
        if inspect.isfunction(function := getattr(layers, name)) and function.__annotations__.get("return") == "Spec"
    }
    assert {"affine", "conv", "conv_transpose", "global_max_pool", "layer_norm", "pixel_shuffle", "prelu"} <= set(made)
    for name, function in made.items():
        assert hasattr(function, "__wrapped__"), f"put @remembered before {name}"
