"""Networks of ours as ONNX: ONNX's checker passes them, and what reads them gives the same scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.onnx.making import small_cnn, with_statistics
from xpcnn import Sequential, layers
from xpcnn.errors import ConfigError
from xpcnn.models import make_model
from xpcnn.network import Network
from xpcnn.onnx import export, load
from xpcnn.onnx.exporting import to_onnx
from xpcnn.onnx.network import OnnxNetwork

SMALL = {"input_dim": (3, 16, 16), "output_size": 10}
# One of each family. Small ones for ONNX's reference code, whose convolutions are slow.
MODELS: dict[str, dict[str, Any]] = {
    "simple": {"input_dim": (1, 12, 12), "hidden_size": 20},
    "lenet5": {},
    "quick": {},
    "alexnet": {"input_dim": (3, 32, 32)},
    "vgg11_bn": SMALL,
    "resnet20": SMALL,
    "resnet18": SMALL,
    "googlenet": SMALL,
    "squeezenet1_1": SMALL,
    "densenet121": SMALL,
    "shufflenet_v2_x0_5": SMALL,
    "mobilenet_v2": SMALL,
}
LARGE = ("vgg11_bn", "resnet18", "googlenet", "densenet121")


def same_scores(network: Network, proto: onnx.ModelProto, N: int = 3, reference: bool = True) -> OnnxNetwork:
    """That ONNX's reference code and our own importer, whose network comes back, give what the network gives."""
    x = np.random.default_rng(0).random((N, *network.input_shape), np.float32)
    want = network.predict(x)
    assert float(np.ptp(want)) > 0.0
    size = float(np.abs(want).max())  # float32 sums of thousands of terms: relative to the largest
    # Its LRN normalises as many channels as there are samples.
    if reference and not any(node.op_type == "LRN" for node in proto.graph.node):
        theirs = ReferenceEvaluator(proto).run(None, {proto.graph.input[0].name: x})[0]
        np.testing.assert_allclose(theirs, want, rtol=0.0, atol=1e-5 * size)
    ours = load(proto)
    assert isinstance(ours, OnnxNetwork), ours.why
    np.testing.assert_allclose(ours.predict(x), want, rtol=0.0, atol=1e-5 * size)
    return ours


@pytest.mark.parametrize("name", MODELS)
def test_models_give_the_same_scores(name):
    network = make_model(name, seed=0, **MODELS[name])
    with_statistics(network)
    proto = to_onnx(network)
    onnx.checker.check_model(proto, full_check=True)
    ours = same_scores(network, proto, 2, reference=name not in LARGE)
    assert set(network.nodes) <= set(ours.nodes)
    if name != "simple":  # whose parameters have the book's names
        assert list(ours.params) == list(network.params)


@pytest.mark.parametrize("opset", [13, 17, 25])
def test_every_opset_that_is_offered(opset):
    proto = to_onnx(make_model("simple", seed=0, input_dim=(1, 12, 12), hidden_size=20), opset)
    assert proto.opset_import[0].version == opset
    onnx.checker.check_model(proto, full_check=True)


def test_names_and_the_open_batch():
    network = make_model("simple", seed=0, input_dim=(1, 12, 12), hidden_size=20)
    graph = to_onnx(network).graph
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == ["N", 1, 12, 12]
    assert [d.dim_param or d.dim_value for d in graph.output[0].type.tensor_type.shape.dim] == ["N", 10]
    assert (graph.input[0].name, graph.output[0].name) == ("input", "scores")
    again = load(to_onnx(network))
    assert {name.split(".")[0] for name in again.params} == {"Conv1", "Affine1", "Affine2"}


def test_a_network_from_onnx_goes_back_with_its_names_and_softmax(tmp_path):
    network = load(small_cnn())
    export(network, tmp_path / "again.onnx")
    again = load(tmp_path / "again.onnx")
    assert (again.inputs, again.outputs, list(again.params)) == (network.inputs, network.outputs, list(network.params))
    x = np.random.default_rng(0).random((3, 1, 6, 6), np.float32)
    np.testing.assert_array_equal(again.run({"x": x})["y"], network.run({"x": x})["y"])


def test_names_stay_apart():
    """A layer may have the name that a part of another one, or a value, would have."""
    items = [("a", layers.Silu()), ("a/Sigmoid", "sigmoid"), ("scores", "tanh"), ("a/Mul", layers.Silu())]
    network = Sequential(items, (4,))
    proto = to_onnx(network)
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert set(network.nodes) <= set(names)
    ours = same_scores(network, proto)
    again = load(to_onnx(ours))
    assert list(again.nodes) == list(ours.nodes)


def test_a_graph_with_a_layer_at_two_places():
    shared = layers.Affine(np.eye(4, dtype=np.float32) * 2.0)
    network = Network([("a", shared), ("b", shared, "a"), ("c", "add", ("a", "b"))], (4,))
    proto = to_onnx(network)
    assert len(proto.graph.initializer) == 1
    same_scores(network, proto)


def test_a_network_that_does_nothing_at_test_time():
    same_scores(Sequential([layers.dropout(0.5)], (4,)), to_onnx(Sequential([layers.dropout(0.5)], (4,))))


def test_what_cannot_be_written(tmp_path):
    network = Sequential([layers.affine(2)], (3,), seed=0)
    for opset in (12, 26, 17.0, True):
        with pytest.raises(ConfigError, match="opset is one of 13 to 25"):
            export(network, tmp_path / "x.onnx", opset)
    with pytest.raises(ConfigError, match="missing"):
        export(network, tmp_path / "missing" / "x.onnx")

    class Odd(layers.Layer):
        def forward_in(self, ctx, *xs):
            return xs[0]

    with pytest.raises(ConfigError, match="layer 'odd1': nothing says how to write a Odd as ONNX"):
        export(Sequential([Odd()], (3,)), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []
