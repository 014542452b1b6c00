"""Which network an estimator's `model` stands for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from xpcnn.errors import ConfigError
from xpcnn.layers import affine
from xpcnn.models import MODELS
from xpcnn.network import Sequential
from xpcnn.sklearn.networks import make_network, usual_layers


def kinds(network):
    return " ".join(type(layer).__name__ for layer in network.layers.values())


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((3,), "Affine Relu Affine"),
        ((1, 8, 8), "Convolution Relu Pooling Convolution Relu Pooling Affine Relu Affine"),
        ((3, 5, 6), "Convolution Relu Pooling Convolution Relu Affine Relu Affine"),
        ((2, 1, 9), "Convolution Relu Convolution Relu Affine Relu Affine"),
    ],
)
def test_the_usual_network_fits_any_shape(shape, wanted):
    network = make_network("auto", shape, 4, seed=0, device="cpu")
    assert kinds(network) == wanted
    assert network.predict(np.zeros((2, *shape), np.float32)).shape == (2, 4)


def test_equal_seeds_give_equal_weights():
    first, same, other = (make_network("AUTO", (5,), 2, seed=seed, device="cpu") for seed in (4, 4, 5))
    assert np.array_equal(first.params["affine1.W"], same.params["affine1.W"])
    assert not np.array_equal(first.params["affine1.W"], other.params["affine1.W"])
    assert first.seed == 4


@pytest.mark.parametrize("name", ["simple", "SimpleConvNet", "lenet5"])
def test_names_are_those_of_models(name):
    network = make_network(name, (1, 28, 28), 3, seed=0, device="cpu")
    assert type(network) in MODELS.values()
    assert network.output_shape == (3,)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nothing", "no model is called"),
        ("simple", "takes pictures, but the data has 4 features"),
        (7, "model is a name, a list of layers or a function"),
        ([affine(3)], r"needs 2 output\(s\) a sample, but the model gives \(3,\); end it with affine\(2\)"),
        (lambda shape, outputs: "net", "gives a Network, got a str"),
        (lambda shape, outputs: Sequential([affine(2)], (9,)), r"samples of \(4,\), but the model takes \(9,\)"),
    ],
)
def test_what_is_no_model_is_told(model, message):
    with pytest.raises(ConfigError, match=message):
        make_network(model, (4,), 2, seed=0, device="cpu")


def test_a_function_without_a_seed_gets_that_of_dropout():
    network = make_network(lambda shape, outputs: Sequential([affine(outputs)], shape), (4,), 2, seed=11, device="cpu")
    assert network.seed == network.executor.seed == 11


def test_a_list_is_used_again_and_again():
    layers = usual_layers((4,), 2)
    for _ in range(2):
        assert kinds(make_network(layers, (4,), 2, seed=0, device="cpu")) == "Affine Relu Affine"


def test_scikit_learn_is_asked_for_where_it_is_missing():
    code = "import sys; sys.modules['sklearn'] = None\nimport xpcnn\nxpcnn.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert 'ImportError: xpcnn.sklearn needs scikit-learn 1.6 or later; pip install "xpcnn[sklearn]"' in done.stderr
