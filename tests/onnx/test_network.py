"""A model that is one batch in and one out becomes an ordinary Network."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.onnx.making import model, node, small_cnn
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.onnx import load
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program
from xpcnn.ops.reference import softmax


def pictures(N: int = 4) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((N, 1, 6, 6)).astype(np.float32)


def test_a_classifier_is_a_network(device: Device):
    network = load(small_cnn(), device, seed=0)
    assert isinstance(network, OnnxNetwork)
    assert isinstance(network, xpcnn.Network)
    assert (network.inputs, network.outputs) == (("x",), ("y",))
    assert (network.input_shape, network.output_shape) == ((1, 6, 6), (5,))
    assert list(network.layers) == ["conv", "relu", "pool", "flatten", "affine"]
    assert set(network.params) == {"conv.W", "conv.b", "affine.W"}
    x = device.asarray(pictures())
    found = network.run({"x": x})["y"]
    # The same operators, one by one.
    want = Program(xpcnn.onnx.loading.read_model(small_cnn()), device).run({"x": x})["y"]
    np.testing.assert_allclose(asnumpy(found), asnumpy(want), rtol=0.0, atol=1e-6)  # shares of 1, a few roundings


def test_scores_come_before_the_softmax_at_the_end():
    network = load(small_cnn())
    x = pictures()
    np.testing.assert_allclose(network.run({"x": x})["y"], softmax(network.predict(x)), rtol=1e-6)
    assert network.predict(x).min() < 0.0  # no shares


@pytest.mark.parametrize("batch", ["N", 1, 7])
def test_any_number_of_samples(batch):
    network = load(small_cnn(batch))
    x = pictures(5)
    together = network.run({"x": x})["y"]
    alone = np.concatenate([network.run({"x": x[i : i + 1]})["y"] for i in range(5)])
    np.testing.assert_allclose(together, alone, rtol=0.0, atol=1e-6)


def test_it_can_be_trained_and_saved(tmp_path):
    network = load(small_cnn(), seed=0)
    x, t = pictures(20), np.arange(20) % 5
    trainer = xpcnn.Trainer(network, x, t, x, t, epochs=60, mini_batch_size=20, optimizer="Adam",
                            optimizer_param={"lr": 0.02}, verbose=False)  # fmt: skip
    before = network.loss(x, t)
    trainer.train()
    assert network.loss(x, t) < 0.5 * before
    network.save_params(tmp_path / "p.safetensors")
    again = load(small_cnn())
    again.load_params(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(again.predict(x), network.predict(x))


def test_weights_that_two_operators_share_are_not_trained_twice():
    w = np.eye(3, dtype=np.float32)
    nodes = [node("MatMul", ["x", "w"], ["a"], "one"), node("MatMul", ["a", "w"], ["y"], "two")]
    network = load(model(nodes, {"x": ["N", 3]}, ["y"], {"w": w}))
    assert isinstance(network, OnnxNetwork)
    one, two = (layer.params["W"] for layer in network.layers.values())
    assert not np.shares_memory(one, two)


def test_what_is_constant_is_folded_away():
    nodes = [
        node("Add", ["a", "b"], ["w"], "sum"),
        node("MatMul", ["x", "w"], ["m"], "product"),
        node("Relu", ["m"], ["y"], "relu"),
        node("Relu", ["m"], ["unused"], "dead"),
    ]
    constants = {"a": np.eye(3, dtype=np.float32), "b": np.ones((3, 3), np.float32)}
    network = load(model(nodes, {"x": [1, 3]}, ["y"], constants))
    assert isinstance(network, OnnxNetwork)
    assert list(network.layers) == ["product", "relu"]
    np.testing.assert_array_equal(network.layers["product"].params["W"], np.eye(3) + 1.0)


def test_sizes_that_are_asked_for_at_run_time_are_folded_away():
    """As PyTorch writes x.view(x.size(0), -1)."""
    constants = {"zero": np.array(0), "minus": np.array([-1]), "axes": np.array([0])}
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Concat", ["n1", "minus"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["y"], "view"),
    ]
    for batch in ("N", 2):
        network = load(model(nodes, {"x": [batch, 2, 3, 4]}, ["y"], constants))
        assert isinstance(network, OnnxNetwork), network.why
        assert network.run({"x": np.zeros((5, 2, 3, 4), np.float32)})["y"].shape == (5, 24)


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs", "why"),
    [
        ([node("Add", ["x", "z"], ["y"])], {"x": [2, 3], "z": [2, 3]}, ["y"], "2 inputs and 1 outputs"),
        ([node("Relu", ["x"], ["y"]), node("Relu", ["y"], ["z"])], {"x": [2, 3]}, ["y", "z"], "1 inputs and 2 outputs"),
        ([node("Relu", ["x"], ["y"])], {"x": [3]}, ["y"], "no first axis"),
        ([node("Relu", ["x"], ["y"])], {"x": ["N", "D"]}, ["y"], "left open"),
        ([node("Transpose", ["x"], ["y"], perm=[1, 0])], {"x": [2, 3]}, ["y"], ""),
    ],
)
def test_what_is_not_one_batch_in_and_out_is_a_program(nodes, inputs, outputs, why):
    loaded = load(model(nodes, inputs, outputs))
    assert isinstance(loaded, Program)
    assert why in loaded.why


def test_inputs_are_checked():
    network = load(small_cnn())
    with pytest.raises(ShapeError, match="takes 'x'; got 'image'"):
        network.run({"image": pictures()})
    with pytest.raises(ShapeError, match="batch of shape"):
        network.run({"x": pictures()[:, :, 1:]})


def told(op: str, *inputs: str, then: str = "Add") -> list:
    """Nodes that put N through `op` and the number that comes out to x."""
    return [
        node("Shape", ["x"], ["s"], end=1),
        node(op, [*inputs], ["t"]),
        node("Cast", ["t"], ["f"], to=1),
        node(then, ["x", "f"], ["y"]),
    ]


@pytest.mark.parametrize(
    "nodes",
    [
        told("Identity", "s", then="Mul"),
        told("Greater", "s", "two"),
        told("Equal", "s", "two"),
        told("Mod", "s", "two"),
        told("Min", "s", "two"),
        told("BitwiseAnd", "s", "two"),
        [node("Squeeze", ["x"], ["y"])],
        [
            node("Shape", ["x"], ["s"]),
            node("ReduceProd", ["s"], ["p"], keepdims=0),
            node("Range", ["0", "p", "1"], ["r"]),
            node("ReduceMax", ["r"], ["m"], keepdims=0),
            node("Cast", ["m"], ["f"], to=1),
            node("Add", ["x", "f"], ["y"]),
        ],
        [node("Split", ["x", "three"], ["y", "z"], axis=0)],
    ],
)
def test_what_depends_on_how_many_samples_there_are_is_a_program(nodes):
    constants = {"two": np.array([2]), "0": np.array(0), "1": np.array(1), "three": np.array([3, 0])}
    loaded = load(model(nodes, {"x": ["N", 3]}, ["y"], constants, opset=18))
    assert isinstance(loaded, Program)
    assert loaded.why
    assert "104729" not in loaded.why or nodes[0].op_type == "Split"


def test_n_may_be_compared_with_what_it_never_is():
    """As PyTorch writes x.expand(N, -1, 4)."""
    nodes = [
        node("Shape", ["x"], ["s"], end=1),
        node("Concat", ["s", "sizes"], ["want"], axis=0),
        node("Equal", ["want", "minus"], ["left"]),
        node("Where", ["left", "ones", "want"], ["to"]),
        node("Expand", ["x", "to"], ["y"]),
    ]
    constants = {"sizes": np.array([-1, 4]), "minus": np.full(3, -1), "ones": np.ones(3, np.int64)}
    network = load(model(nodes, {"x": ["N", 3, 1]}, ["y"], constants))
    assert isinstance(network, OnnxNetwork), network.why
    x = np.arange(15, dtype=np.float32).reshape(5, 3, 1)
    np.testing.assert_array_equal(network.run({"x": x})["y"], np.broadcast_to(x, (5, 3, 4)))


def test_samples_without_axes_do_not_become_one_row():
    nodes = [node("Squeeze", ["x", "axis"], ["s"]), node("Flatten", ["s"], ["y"], axis=0)]
    loaded = load(model(nodes, {"x": [2, 1]}, ["y"], {"axis": np.array([1])}))
    assert isinstance(loaded, Program)
    assert loaded.run({"x": np.ones((2, 1), np.float32)})["y"].shape == (1, 2)


def test_samples_without_elements_are_a_program():
    cut = node("Slice", ["x", "one", "one", "one"], ["y"])
    loaded = load(model([cut], {"x": ["N", 3]}, ["y"], {"one": np.array([1])}))
    assert isinstance(loaded, Program)
    assert loaded.run({"x": np.ones((2, 3), np.float32)})["y"].shape == (2, 0)


@pytest.mark.parametrize("N", [1, 2, 5])
def test_flattened_branches_side_by_side(N):
    """What is flattened lies within the rows of the vectors that are joined, not one sample after another."""
    V = np.arange(64, dtype=np.float32).reshape(32, 2)
    nodes = [node("Relu", ["x"], ["a"]), node("Flatten", ["a"], ["b"]), node("Flatten", ["x"], ["c"]),
             node("Concat", ["b", "c"], ["d"], axis=1), node("MatMul", ["d", "V"], ["y"])]  # fmt: skip
    network = load(model(nodes, {"x": ["N", 2, 4, 2]}, ["y"], {"V": V}))
    assert isinstance(network, OnnxNetwork)
    x = np.random.default_rng(0).standard_normal((N, 2, 4, 2)).astype(np.float32)
    flat = x.reshape(N, 16).astype(np.float64)
    want = np.concatenate([np.maximum(flat, 0.0), flat], axis=1) @ V
    np.testing.assert_allclose(network.run({"x": x})["y"], want, rtol=1e-5, atol=1e-4)
