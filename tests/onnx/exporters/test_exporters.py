"""Every layer as ONNX: the checker passes it, and ONNX's reference code and our importer give what the layer gives."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.onnx.exporters.cases import CASES, OPSETS, Case
from xpcnn import Sequential, layers
from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers import Layer, ResizeWay
from xpcnn.layers.activation import Pointwise
from xpcnn.layers.class_loss import ClassLosses
from xpcnn.onnx import load
from xpcnn.onnx.exporting import to_onnx
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.writing import EXPORTERS

# Layers that no Network can have, and so none that is exported.
NOT_WRITTEN = {
    Layer: "the base of all",
    Pointwise: "a base",
    layers.Gemm: "a product of two inputs that mixes samples; with its own matrix it is an Affine",
    ClassLosses: "the loss of an imported Program, whose labels are an input",
}


def layer_classes() -> set[type[Layer]]:
    """The Layers of xpcnn.layers, those that begin with an underscore left out."""
    found: set[type[Layer]] = set()
    for module in pkgutil.iter_modules(layers.__path__):
        for value in vars(importlib.import_module(f"xpcnn.layers.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Layer) and not value.__name__.startswith("_"):
                found.add(value)
    return found


def test_every_layer_can_be_written() -> None:
    missing = {
        kind.__name__
        for kind in layer_classes() - set(NOT_WRITTEN)
        if not any(base in EXPORTERS for base in kind.__mro__)
    }
    assert not missing, f"no exporter for {', '.join(sorted(missing))}"
    named = {getattr(layers, name) for name in layers.__all__}
    assert {kind for kind in named if isinstance(kind, type) and issubclass(kind, Layer)} <= layer_classes()


def test_every_layer_is_among_the_cases() -> None:
    proven = {type(layer) for case in CASES.values() for layer in case.network().layers.values()}
    untried = layer_classes() - set(NOT_WRITTEN) - proven - {layers.ConvolutionND}  # a base of those tried
    assert not untried, f"no case for {', '.join(sorted(kind.__name__ for kind in untried))}"


def _close(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    # Sums of at most some hundred float32 numbers in another order.
    np.testing.assert_allclose(got, want, rtol=0.0, atol=1e-5 * max(1.0, float(np.abs(want).max())))


def _has_its_names(case: Case, opset: int, ours: OnnxNetwork) -> None:
    network = case.network()
    assert case.idle or set(network.nodes) <= set(ours.nodes)
    if opset >= case.alike:
        assert list(ours.params) == list(network.params)


@pytest.mark.parametrize("name", CASES)
def test_the_same_outputs(name: str) -> None:
    case = CASES[name]
    network, x = case.network(), case.samples(3)
    want = network.predict(x)
    for opset in OPSETS:
        if opset < case.since:
            with pytest.raises(ConfigError, match=f"from opset {case.since} on, got opset={opset}"):
                to_onnx(network, opset)
            continue
        proto = to_onnx(network, opset)
        onnx.checker.check_model(proto, full_check=True)
        # Before opset 14 theirs takes the batch's own statistics wherever there is a momentum, which is always.
        by_batch = opset < 14 and any(node.op_type == "BatchNormalization" for node in proto.graph.node)
        if not case.reference and not by_batch:
            _close(ReferenceEvaluator(proto).run(None, {"input": x})[0], want)
        ours = load(proto)
        _close(ours.run({"input": x})["scores"], want)
        assert isinstance(ours, OnnxNetwork) is not case.program
        if isinstance(ours, OnnxNetwork):
            _has_its_names(case, opset, ours)


@pytest.mark.parametrize(
    ("name", "opset", "operators"),
    [
        ("Gelu", 20, ["Gelu"]),
        ("HardSwish", 14, ["HardSwish"]),
        ("HardSwish", 13, ["HardSigmoid", "Mul"]),
        ("Mish", 18, ["Mish"]),
        ("Mish", 17, ["Softplus", "Tanh", "Mul"]),
        ("LayerNormalization 1 by (4, 6, 5)", 17, ["LayerNormalization"]),
        ("GroupNormalization 2 of (4, 6, 5)", 21, ["GroupNormalization"]),
        ("GroupNormalization 2 of (4, 6, 5)", 18, ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"]),
        ("RMSNormalization -1 by (5,)", 23, ["RMSNormalization"]),
        ("Pad wrap", 19, ["Pad"]),
        ("Pad wrap", 18, ["Gather", "Gather"]),
        ("Resize linear, half_pixel to sizes", 18, ["Resize"]),
        ("Resize nearest, half_pixel to sizes", 18, ["Gather", "Gather"]),
        ("Resize of channels", 18, ["Resize"]),
        ("AdaptiveAveragePooling (3, None)", 17, ["AveragePool"]),
    ],
)
def test_one_operator_where_onnx_has_it(name: str, opset: int, operators: list[str]) -> None:
    assert [node.op_type for node in to_onnx(CASES[name].network(), opset).graph.node] == operators


def test_axes_are_attributes_or_inputs_as_the_opset_has_them() -> None:
    network = Sequential([layers.reduce("mean")], (2, 3, 4))
    (old,), (new,) = to_onnx(network, 17).graph.node, to_onnx(network, 18).graph.node
    assert (len(old.input), len(new.input)) == (1, 2)
    assert [a.name for a in old.attribute] == ["axes", "keepdims"]
    assert [a.name for a in new.attribute] == ["keepdims"]


def test_what_onnx_has_no_more() -> None:
    way = ResizeWay("linear", "tf_half_pixel_for_nn")
    network = Sequential([("larger", layers.Resize((2.0, 2.0), way=way))], (2, 3, 4))
    with pytest.raises(ConfigError, match="layer 'larger': ONNX gave up the coordinates 'tf_half_pixel_for_nn'"):
        to_onnx(network)


@pytest.mark.parametrize("name", ["Beside a power", "GroupNormalization twice", "PRelu per channel", "conv", "lrn"])
def test_a_network_on_any_device(name: str, device: Device) -> None:
    network = CASES[name].network()
    here = to_onnx(network)
    assert to_onnx(network.to(device)) == here


def test_double_precision_stays() -> None:
    network = Sequential([layers.conv(3, 3), "gelu", layers.affine(2)], (2, 5, 5), seed=0, dtype="float64")
    proto = to_onnx(network)
    onnx.checker.check_model(proto, full_check=True)
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 5))
    got = load(proto).run({"input": x})["scores"]
    assert got.dtype == np.float64
    # Sums of some ten numbers in float64; constants are written in it, too.
    np.testing.assert_allclose(got, network.predict(x), rtol=0.0, atol=1e-13)
