"""QuickConvNet: sizes, arguments, gradients, and the recipes made of it."""

import json

import numpy as np
import pytest

from xpcnn.errors import ConfigError
from xpcnn.models import QuickConvNet, make_model
from xpcnn.ops.gradcheck import relative_error


def test_sizes():
    net = QuickConvNet(seed=0)
    shapes = [node.shape for node in net.nodes.values() if type(node.layer).__name__ in ("Convolution", "Affine")]
    assert shapes == [(16, 26, 26), (24, 11, 11), (100,), (10,)]
    # 16*(9+1) + 24*(16*9+1) + 2*600 (batch normalisation of 24*5*5) + 600*100 + 100 + 100*10 + 10
    assert sum(a.size for a in net.params.values()) == 160 + 3480 + 1200 + 60_100 + 1010


def test_arguments_and_making_it_again():
    net = QuickConvNet(widths=(4, 6, 8), depth=2, pad=1, hidden_size=12, dropout_ratio=0.3, seed=1)
    kinds = [type(layer).__name__ for layer in net.layers.values()]
    assert kinds.count("Convolution") == 6
    assert kinds.count("Dropout") == 1
    again = make_model(net.config, seed=1)
    assert {name: a.tobytes() for name, a in again.params.items()} == {n: a.tobytes() for n, a in net.params.items()}


@pytest.mark.parametrize(("depth", "kinds"), [(2, "ccpccp"), ([1, 3], "cpcccp"), ((3, 1), "cccpcp")])
def test_depth_of_each_group(depth, kinds):
    net = QuickConvNet(widths=(4, 6), depth=depth, pad=1, seed=1)
    letters = {"Convolution": "c", "Pooling": "p"}
    assert "".join(letters.get(type(layer).__name__, "") for layer in net.layers.values()) == kinds
    assert json.loads(json.dumps(net.config)) == net.config  # as a parameter file keeps it
    assert list(make_model(net.config, seed=1).layers) == list(net.layers)


@pytest.mark.parametrize(("norm", "shapes"), [(False, [(96,)]), (True, [(4, 13, 13), (6, 4, 4)])])
def test_where_it_normalises(norm, shapes):
    net = QuickConvNet(widths=(4, 6), depth=[1, 2], norm=norm, seed=1)
    norms = [node for node in net.nodes.values() if type(node.layer).__name__ == "BatchNormalization"]
    assert [node.shape for node in norms] == shapes
    assert make_model(net.config, seed=1).state.keys() == net.state.keys()


@pytest.mark.parametrize(
    "arguments",
    [{"widths": ()}, {"depth": 0}, {"depth": [1]}, {"depth": [1, 2, 1]}, {"depth": [1, 0]}, {"depth": []}],
)
def test_sizes_that_are_none(arguments):
    with pytest.raises(ConfigError, match="at least one number of filters and depth is at least 1"):
        QuickConvNet(**arguments)


@pytest.mark.parametrize("norm", [False, True])
def test_gradients(norm):
    net = QuickConvNet((1, 8, 8), 3, (2, 3), pad=1, norm=norm, hidden_size=5, seed=2, dtype="float64")
    rng = np.random.default_rng(1)
    for name in net.params:
        if name.endswith((".b", ".beta")):  # zero biases put ReLUs on their kinks
            net.params[name] = rng.standard_normal(net.params[name].shape)
    x, t = rng.standard_normal((4, 1, 8, 8)), np.array([0, 2, 1, 1])
    numerical = net.numerical_gradient(x, t, h=1e-6)  # batch normalisation over four samples bends sharply
    for name, g in net.gradient(x, t).items():
        # Central differences in float64 leave about 1e-9; a bias before batch normalisation may have gradient 0.
        assert relative_error(g, numerical[name]) < 1e-6 or np.abs(numerical[name]).max() < 1e-8, name
