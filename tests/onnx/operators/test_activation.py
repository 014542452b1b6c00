"""Activations, softmax and dropout of ONNX models: what the official tests do not reach (old opsets, Networks)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.onnx.making import model, node
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError
from xpcnn.onnx import UnsupportedOperator, load
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model


def _one(op: str, opset: int, constants: dict[str, np.ndarray] | None = None, **attributes: Any) -> Any:
    """A model that is one operator on samples (N, 2, 3)."""
    inputs = ["x", *(constants or {})]
    return model([node(op, inputs, ["y"], op, **attributes)], {"x": ["N", 2, 3]}, ["y"], constants, opset)


X = np.array([[[-4.0, -1.0, -0.25], [0.0, 0.5, 7.0]], [[3.0, -3.5, 1.0], [2.0, -0.5, -9.0]]], dtype=np.float32)

# operator, opset, attributes, the function
SIMPLE: list[tuple[str, int, dict[str, float | str], Any]] = [
    ("Relu", 6, {}, lambda v: max(v, 0.0)),
    ("LeakyRelu", 6, {}, lambda v: v if v > 0 else 0.01 * v),
    ("LeakyRelu", 16, {"alpha": 0.5}, lambda v: v if v > 0 else 0.5 * v),
    ("Elu", 22, {"alpha": 2.0}, lambda v: v if v > 0 else 2.0 * math.expm1(v)),
    ("Selu", 6, {}, lambda v: 1.05070102214813 * (v if v > 0 else 1.67326319217681 * math.expm1(v))),
    ("Celu", 12, {"alpha": 2.0}, lambda v: v if v > 0 else 2.0 * math.expm1(v / 2.0)),
    ("Gelu", 20, {}, lambda v: 0.5 * v * math.erfc(-v / math.sqrt(2.0))),
    (
        "Gelu",
        20,
        {"approximate": "tanh"},
        lambda v: 0.5 * v * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (v + 0.044715 * v**3))),
    ),
    ("Swish", 24, {"alpha": 0.5}, lambda v: v / (1.0 + math.exp(-0.5 * v))),
    ("Mish", 18, {}, lambda v: v * math.tanh(math.log1p(math.exp(v)))),
    ("HardSigmoid", 6, {}, lambda v: min(max(0.2 * v + 0.5, 0.0), 1.0)),
    ("HardSwish", 14, {}, lambda v: v * min(max(v / 6.0 + 0.5, 0.0), 1.0)),
    ("Softplus", 6, {}, lambda v: math.log1p(math.exp(v))),
    ("Softsign", 6, {}, lambda v: v / (1.0 + abs(v))),
    ("Sigmoid", 6, {}, lambda v: 1.0 / (1.0 + math.exp(-v))),
    ("Tanh", 13, {}, math.tanh),
    ("Clip", 6, {"min": -0.5}, lambda v: max(v, -0.5)),
    ("Clip", 6, {"min": 0.0, "max": 6.0}, lambda v: min(max(v, 0.0), 6.0)),
    ("Clip", 6, {}, float),
    ("ThresholdedRelu", 10, {"alpha": 0.5}, lambda v: v if v > 0.5 else 0.0),
    ("Shrink", 9, {"bias": 1.0, "lambd": 1.5}, lambda v: v - 1.0 if v > 1.5 else v + 1.0 if v < -1.5 else 0.0),
]


@pytest.mark.parametrize(("op", "opset", "attributes", "function"), SIMPLE)
def test_networks_and_programs(device: Device, op: str, opset: int, attributes: dict[str, Any], function: Any) -> None:
    proto = _one(op, opset, **attributes)
    network = load(proto, device)
    assert isinstance(network, OnnxNetwork)
    want = np.vectorize(function)(X.astype(np.float64))
    x = device.asarray(X)
    for way in (network, Program(read_model(proto), device)):
        found = way.run({"x": x})["y"]
        assert found.dtype == np.float32
        # Some ten roundings of numbers up to 10.
        np.testing.assert_allclose(asnumpy(found), want, rtol=2e-6, atol=2e-6)


def test_whole_numbers() -> None:
    x = np.array([[-3, 0, 2]], dtype=np.int32)
    for op, opset, attributes, want in (
        ("Relu", 14, {}, [[0, 0, 2]]),
        ("Shrink", 9, {"lambd": 1.5, "bias": 1.0}, [[-2, 0, 1]]),
    ):
        proto = model([node(op, ["x"], ["y"], **attributes)], {"x": ["N", 3]}, ["y"], None, opset, TensorProto.INT32)
        found = load(proto).run({"x": x})["y"]
        assert found.dtype == np.int32
        assert found.tolist() == want


# -------------------------------------------------------------------------------------------------- PRelu and Clip
@pytest.mark.parametrize(
    ("opset", "slope"),
    [(6, (2,)), (6, (1,)), (7, (2, 1)), (9, (1,)), (16, (1, 2, 1)), (16, (3,)), (16, ())],
)
def test_prelu(device: Device, opset: int, slope: tuple[int, ...]) -> None:
    a = np.asarray(np.random.default_rng(0).uniform(0.1, 0.9, slope), dtype=np.float32)
    proto = _one("PRelu", opset, {"a": a})
    wide = a.reshape(2, 1) if opset < 7 and slope == (2,) else a  # one for each channel
    network = load(proto, device)
    assert isinstance(network, OnnxNetwork)
    assert set(network.params) == {"PRelu.slope"}
    for way in (network, Program(read_model(proto), device)):
        found = asnumpy(way.run({"x": device.asarray(X)})["y"])
        np.testing.assert_array_equal(found, np.where(X > 0, X, X * wide))


def test_slopes_that_are_calculated_make_a_program() -> None:
    nodes = [node("Sigmoid", ["x"], ["s"]), node("PRelu", ["x", "s"], ["y"])]
    loaded = load(model(nodes, {"x": ["N", 3]}, ["y"]))
    assert isinstance(loaded, Program)
    x = np.array([[-1.0, 2.0, -3.0]], dtype=np.float32)
    np.testing.assert_allclose(loaded.run({"x": x})["y"], np.where(x > 0, x, x / (1.0 + np.exp(-x))), rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (["x", "low", "high"], np.clip(X, -1.0, 2.5)),
        (["x", "", "high"], np.minimum(X, 2.5)),
        (["x", "low"], np.maximum(X, -1.0)),
        (["x"], X),
    ],
)
def test_clip_by_inputs(device: Device, names: list[str], want: np.ndarray) -> None:
    constants = {"low": np.array(-1.0, dtype=np.float32), "high": np.array(2.5, dtype=np.float32)}
    proto = model([node("Clip", names, ["y"])], {"x": ["N", 2, 3]}, ["y"], constants, 13)
    network = load(proto, device)
    assert isinstance(network, OnnxNetwork)
    for way in (network, Program(read_model(proto), device)):
        np.testing.assert_array_equal(asnumpy(way.run({"x": device.asarray(X)})["y"]), want)


def test_clip_by_calculated_bounds() -> None:
    nodes = [node("ReduceMax", ["x"], ["high"], keepdims=0), node("Neg", ["high"], ["low"])]
    nodes.append(node("Clip", ["x", "low", "high"], ["y"]))
    loaded = load(model(nodes, {"x": ["N", 3]}, ["y"], None, 13))
    assert isinstance(loaded, Program)
    assert loaded.run({"x": np.array([[-5.0, 1.0, 2.0]], dtype=np.float32)})["y"].tolist() == [[-2.0, 1.0, 2.0]]


def test_words_that_gelu_does_not_know() -> None:
    with pytest.raises(UnsupportedOperator, match="approximate is 'erf'"):
        load(_one("Gelu", 20, approximate="erf"))


# --------------------------------------------------------------------------------------------------------- softmax
def _softmax(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    e = np.exp(x.astype(np.float64))
    return e / e.sum(axis=axes, keepdims=True)


@pytest.mark.parametrize(
    ("opset", "axis", "axes"),
    [
        (13, None, (2,)),
        (13, 1, (1,)),
        (13, -2, (1,)),
        (11, None, (1, 2)),
        (6, 1, (1, 2)),
        (6, 2, (2,)),
        (11, -1, (2,)),
    ],
)
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax(device: Device, op: str, opset: int, axis: int | None, axes: tuple[int, ...]) -> None:
    proto = _one(op, opset, **({} if axis is None else {"axis": axis}))
    network = load(proto, device)
    assert isinstance(network, OnnxNetwork)
    want = _softmax(X, axes)
    want = np.log(want) if op == "LogSoftmax" else want
    for way in (network, Program(read_model(proto), device)):
        # Shares of 1, and logarithms up to 20, each of a few roundings.
        np.testing.assert_allclose(asnumpy(way.run({"x": device.asarray(X)})["y"]), want, rtol=1e-6, atol=1e-6)


def test_softmax_over_the_samples_makes_a_program() -> None:
    for opset in (11, 13):
        loaded = load(_one("Softmax", opset, axis=0))
        assert isinstance(loaded, Program)
        want = _softmax(X, (0, 1, 2) if opset == 11 else (0,))
        np.testing.assert_allclose(loaded.run({"x": X})["y"], want, rtol=1e-6, atol=1e-7)


def test_softmax_along_axes_of_one() -> None:
    """As old classifiers end: scores (N, K, 1, 1) and a softmax from axis 1 on are one softmax over the classes."""
    proto = model([node("Softmax", ["x"], ["y"])], {"x": ["N", 5, 1, 1]}, ["y"], None, 11)
    network = load(proto)
    assert isinstance(network, OnnxNetwork)
    assert [layer.axis for layer in network.layers.values()] == [1]


@pytest.mark.parametrize(
    ("opset", "axis", "want"),
    [
        (13, -1, [[[1, 0, 0], [0, 1, 0]]]),
        (13, 1, [[[1, 1, 1], [0, 0, 0]]]),  # of equals the first
        (11, 1, [[[1, 0, 0], [0, 0, 0]]]),
        (11, 3, [[[1, 1, 1], [1, 1, 1]]]),
    ],
)
def test_hardmax(device: Device, opset: int, axis: int, want: list[Any]) -> None:
    x = np.array([[[9.0, 2.0, 2.0], [1.0, 2.0, 2.0]]], dtype=np.float32)
    loaded = load(_one("Hardmax", opset, axis=axis), device)
    assert isinstance(loaded, Program)
    found = loaded.run({"x": device.asarray(x)})["y"]
    assert found.dtype == np.float32
    assert asnumpy(found).tolist() == want


# --------------------------------------------------------------------------------------------------------- dropout
def _dropout(
    opset: int, outputs: list[str], ratio: float = 0.5, training: bool | None = None, **attributes: Any
) -> Any:
    constants = {}
    if opset < 12:
        attributes["ratio"] = ratio
    else:
        constants["ratio"] = np.array(ratio, dtype=np.float32)
        if training is not None:
            constants["training"] = np.array(training)
    return model(
        [node("Dropout", ["x", *constants], ["y", "mask"][: len(outputs)], "drop", **attributes)],
        {"x": ["N", 4]},
        outputs,
        constants,
        opset,
    )


@pytest.mark.parametrize("opset", [6, 7, 10, 12, 13, 22])
def test_dropout_does_nothing_at_test_time(device: Device, opset: int) -> None:
    network = load(_dropout(opset, ["y"], 0.25), device)
    assert isinstance(network, OnnxNetwork)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(asnumpy(network.run({"x": device.asarray(x)})["y"]), x)
    assert network.layers["drop"].ratio == 0.25
    unused = _dropout(opset, ["y", "mask"], 0.25)
    del unused.graph.output[1]
    assert isinstance(load(unused, device), OnnxNetwork)
    both = load(_dropout(opset, ["y", "mask"], 0.25), device)
    assert isinstance(both, Program)
    found = both.run({"x": device.asarray(x)})
    np.testing.assert_array_equal(asnumpy(found["y"]), x)
    assert found["mask"].dtype == bool
    assert asnumpy(found["mask"]).tolist() == [[True] * 4] * 3


def test_dropout_in_training_mode(device: Device) -> None:
    x = np.ones((50, 4), dtype=np.float32)
    loaded = load(_dropout(13, ["y", "mask"], 0.25, True, seed=7), device)
    found = {name: asnumpy(a) for name, a in loaded.run({"x": device.asarray(x)}).items()}
    np.testing.assert_array_equal(found["y"], np.where(found["mask"], np.float32(1.0 / 0.75), np.float32(0.0)))
    assert 0.6 < found["mask"].mean() < 0.9  # 200 draws of 0.75: within 5 deviations of 0.03
    again = loaded.run({"x": device.asarray(x)})
    np.testing.assert_array_equal(asnumpy(again["y"]), found["y"])
    assert asnumpy(load(_dropout(13, ["y"], 0.0, True), device).run({"x": device.asarray(x)})["y"]).all()


def test_dropout_that_cannot_be_repeated() -> None:
    loaded = load(_dropout(13, ["y"], 0.25, True))
    with pytest.raises(
        UnsupportedOperator, match="'drop'.*training_mode without a seed gives other values in each run"
    ):
        loaded.run({"x": np.ones((1, 4), dtype=np.float32)})


@pytest.mark.parametrize("opset", [10, 13])
def test_dropout_of_everything(opset: int) -> None:
    with pytest.raises(ConfigError, match="a ratio lies in 0 <= ratio < 1, got 1.0"):
        load(_dropout(opset, ["y"], 1.0))
