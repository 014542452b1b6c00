"""From entries to a checked graph: names, inferred shapes, initial weights, and errors that say which layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xpcnn.errors import ConfigError, ShapeError
from xpcnn.graph import INPUT, Node, build_graph
from xpcnn.layers import Affine, Convolution, Relu, affine, batch_norm, conv, max_pool


def _build(
    items: list[Any], input_shape: Any = (1, 8, 8), seed: int = 0, dtype: str = "float32", init: Any = "auto"
) -> dict[str, Node]:
    return build_graph(items, input_shape, seed, np.dtype(dtype), init)


def test_a_chain_is_named_and_shaped() -> None:
    nodes = _build([conv(4, 3, pad=1), "relu", max_pool(2), conv(6, 3), "relu", ("scores", affine(10))])
    assert [(n.name, n.inputs, n.shape) for n in nodes.values()] == [
        ("conv1", (INPUT,), (4, 8, 8)),
        ("relu1", ("conv1",), (4, 8, 8)),
        ("pool1", ("relu1",), (4, 4, 4)),
        ("conv2", ("pool1",), (6, 2, 2)),
        ("relu2", ("conv2",), (6, 2, 2)),
        ("scores", ("relu2",), (10,)),
    ]
    assert nodes["conv2"].layer.params["W"].shape == (6, 4, 3, 3)
    assert nodes["scores"].layer.params["W"].shape == (24, 10)


def test_branches() -> None:
    nodes = _build(
        [
            ("a", conv(4, 3, pad=1)),
            ("b", conv(4, 3, pad=1), "a"),
            ("sum", "add", ["a", "b"]),
            ("c", conv(2, 3, pad=1), INPUT),
            ("both", "concatenate", ("sum", "c")),
            affine(3),
        ]
    )
    assert nodes["sum"].inputs == ("a", "b")
    assert (nodes["c"].inputs, nodes["both"].shape) == ((INPUT,), (6, 8, 8))
    assert nodes["affine1"].inputs == ("both",)


def test_which_nodes_need_a_gradient_of_their_input() -> None:
    nodes = _build(["relu", max_pool(2), ("first", conv(2, 3)), "relu", affine(3)])
    assert [node.needs_dx for node in nodes.values()] == [False, False, False, True, True]
    nodes = _build([("a", conv(1, 1), INPUT), ("b", "relu", INPUT), ("c", "add", ["b", "a"])])
    assert [node.needs_dx for node in nodes.values()] == [False, False, True]


def test_layers_are_taken_as_they_are() -> None:
    layer = Affine(np.ones((64, 3)), np.zeros(3))
    nodes = _build(["flatten", layer])
    assert nodes["affine1"].layer is layer


# ------------------------------------------------------------------------------------------------ initial weights
def _deviation(nodes: dict[str, Node], name: str) -> float:
    return float(nodes[name].layer.params["W"].astype(np.float64).std())


def _assert_deviation(nodes: dict[str, Node], name: str, want: float) -> None:
    # The deviation of n normal draws scatters by want / sqrt(2n): five times that, and the seed is fixed.
    n = nodes[name].layer.params["W"].size
    assert n > 2000
    assert _deviation(nodes, name) == pytest.approx(want, rel=5.0 / math.sqrt(2.0 * n))


def test_auto_is_he_and_xavier_before_what_squashes() -> None:
    nodes = _build(
        [
            ("for_relu", affine(100)),
            "relu",
            ("for_sigmoid", affine(90)),
            "sigmoid",
            ("for_tanh", affine(80)),
            ("t", "TANH"),
            ("last", affine(70)),
        ]
    )
    _assert_deviation(nodes, "for_relu", math.sqrt(2.0 / 64.0))
    _assert_deviation(nodes, "for_sigmoid", math.sqrt(1.0 / 100.0))
    _assert_deviation(nodes, "for_tanh", math.sqrt(1.0 / 90.0))
    _assert_deviation(nodes, "last", math.sqrt(2.0 / 80.0))


def test_a_convolutions_fan_in_is_its_windows_size() -> None:
    _assert_deviation(_build([conv(100, 5)], (2, 8, 8)), "conv1", math.sqrt(2.0 / 50.0))
    _assert_deviation(_build([conv(200, 5, groups=2)], (2, 8, 8)), "conv1", math.sqrt(2.0 / 25.0))


@pytest.mark.parametrize(
    ("init", "want"), [(0.01, 0.01), ("he", math.sqrt(2 / 64)), ("xavier", 0.125), ("sigmoid", 0.125), ("zeros", 0.0)]
)
def test_one_rule_for_the_network(init: Any, want: float) -> None:
    nodes = _build([affine(100), "sigmoid"], init=init)
    _assert_deviation(nodes, "affine1", want)


def test_a_layers_own_rule_wins() -> None:
    nodes = _build([affine(100, init=0.5), "sigmoid", affine(60)], init=0.01)
    _assert_deviation(nodes, "affine1", 0.5)
    _assert_deviation(nodes, "affine2", 0.01)


def test_biases_start_at_zero_and_norms_at_one() -> None:
    nodes = _build([conv(4, 3), batch_norm(), affine(3)])
    assert not nodes["conv1"].layer.params["b"].any()
    assert nodes["norm1"].layer.params["gamma"].tolist() == [1.0] * 4


def test_a_seed_gives_the_same_bits_and_another_others() -> None:
    items = [("a", conv(4, 3, pad=1)), ("b", conv(4, 3, pad=1), INPUT), ("c", "add", ["a", "b"])]
    first, same, other = _build(items), _build(items), _build(items, seed=1)
    for name in ("a", "b"):
        W = first[name].layer.params["W"]
        np.testing.assert_array_equal(same[name].layer.params["W"], W)
        assert not np.array_equal(other[name].layer.params["W"], W)
    # Two layers of one shape do not start alike.
    assert not np.array_equal(first["a"].layer.params["W"], first["b"].layer.params["W"])


def test_a_layers_weights_do_not_depend_on_those_before_it() -> None:
    short = _build([("x", conv(4, 3, pad=1))])
    long = _build([("z", conv(1, 3, pad=1)), "relu", ("x", conv(4, 3, pad=1))])
    np.testing.assert_array_equal(short["x"].layer.params["W"], long["x"].layer.params["W"])


def test_float64_weights_are_the_float32_ones_unrounded() -> None:
    a, b = _build([affine(5)]), _build([affine(5)], dtype="float64")
    assert a["affine1"].layer.params["W"].dtype == "float32"
    W = b["affine1"].layer.params["W"]
    assert W.dtype == "float64"
    np.testing.assert_array_equal(W.astype(np.float32), a["affine1"].layer.params["W"])


# ---------------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], "at least one layer"),
        (["rleu"], "no layer is called 'rleu'"),
        ([Relu], "got a type; call it: relu"),
        ([("a", "relu"), ("a", "relu")], "two layers are called 'a'"),
        ([("input", "relu")], "two layers are called 'input'"),
        ([("a", "relu", "b")], r"layer 'a' takes \['b'\]; before it there are input"),
        ([("a", "relu", "b"), ("b", "relu")], r"layer 'a' takes \['b'\]"),  # later is too late
        ([("a", "relu", ())], "layer 'a' takes nothing"),
        ([("a", "relu", "input"), ("b", "relu", "input")], "nothing takes the output of 'a', and only the last"),
        ([("a",)], r"an entry of a network is a layer, \(name, layer\) or \(name, layer, inputs\)"),
        ([(1, "relu")], "an entry of a network is"),
        ([conv(2, 3, init="hee")], "no initial weight is called 'hee'"),
    ],
)
def test_graphs_that_make_no_sense(items: list[Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _build(items)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["flatten", ("wide", conv(2, 3))], r"layer 'wide' after 'flatten1': wanted pictures \(C, H, W\), got \(64,\)"),
        ([conv(2, 3), ("deep", conv(2, 9))], r"layer 'deep' after 'conv1': a window of 9x9 does not fit .* 6x6"),
        (["flatten", max_pool(2)], r"layer 'pool1' after 'flatten1': wanted pictures"),
        ([max_pool(2), max_pool(2), max_pool(2), max_pool(2)], "layer 'pool4' after 'pool3': a window of 2x2"),
        ([Affine(np.zeros((63, 2)))], r"layer 'affine1' after 'input': wanted 63 inputs, got 64"),
        ([Convolution(np.zeros((2, 3, 3, 3)))], r"layer 'convolution1' after 'input': wanted pictures of 3 channels"),
        (
            [("a", conv(2, 3)), ("b", conv(3, 3), "input"), ("both", "add", ["a", "b"])],
            r"layer 'both' after 'a', 'b': wanted inputs of one shape, got \(2, 6, 6\), \(3, 6, 6\)",
        ),
        (
            [("a", conv(2, 3)), ("b", conv(2, 5), "input"), ("both", "concatenate", ["a", "b"])],
            r"layer 'both' after 'a', 'b': wanted inputs alike but for their channels",
        ),
        (
            [("a", conv(2, 3)), ("r", "relu", ["a", "input"])],
            r"layer 'r' after 'a', 'input': takes 1 input\(s\), got 2",
        ),
        ([conv(4, 3, groups=2)], "layer 'conv1' after 'input': groups=2 must divide the 1 channels"),
        (["lrn", "flatten", "instance_norm"], r"layer 'norm1' after 'flatten1': a channel of \(64,\) is one number"),
    ],
)
def test_shapes_that_do_not_fit_name_the_layer(items: list[Any], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        _build(items)


@pytest.mark.parametrize("shape", [(), (0, 8, 8), (-1,), 784, (1, 2.5, 8), "ab"])
def test_input_shapes_that_make_no_sense(shape: Any) -> None:
    with pytest.raises(ShapeError, match="input_shape is one sample's shape without N"):
        _build(["flatten"], shape)
