"""Mathematics of ONNX models: constants in Networks, types, and how opsets before 7 broadcast."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.onnx.making import model, node
from xpcnn.device import Device, asnumpy
from xpcnn.onnx import load
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model

X = np.random.default_rng(0).uniform(0.2, 0.9, (4, 2, 3)).astype(np.float32)
ONES = [
    "Abs",
    "Acos",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Cos",
    "Cosh",
    "Erf",
    "Exp",
    "Floor",
    "Identity",
    "Log",
]
ONES += ["Neg", "Reciprocal", "Round", "Sign", "Sin", "Sinh", "Sqrt", "Tan"]


def _both(proto: Any, device: Device, x: np.ndarray = X) -> list[np.ndarray]:
    """What the model gives as a Network and as a Program."""
    network = load(proto, device)
    assert isinstance(network, OnnxNetwork), network.why
    ways = (network, Program(read_model(proto), device))
    return [asnumpy(way.run({"x": device.asarray(x)})["y"]) for way in ways]


@pytest.mark.parametrize("op", ONES)
def test_of_one(device: Device, op: str) -> None:
    names = {"Round": "rint", "Neg": "negative", "Identity": "positive"}
    names |= {f"A{f}": f"arc{f}" for f in ("cos", "sin", "sinh", "tan", "tanh")}
    formula = np.vectorize(math.erf) if op == "Erf" else getattr(np, names.get(op, op.lower()))
    for found in _both(model([node(op, ["x"], ["y"])], {"x": ["N", 2, 3]}, ["y"], None, 22), device):
        assert found.dtype == np.float32
        # Libraries' own few units of the last place, and x's rounding times a slope of up to 5.
        np.testing.assert_allclose(found, formula(X.astype(np.float64)), rtol=2e-6)


@pytest.mark.parametrize("op", ["Abs", "Neg", "Sign", "Identity"])
def test_of_one_whole_number(op: str) -> None:
    proto = model([node(op, ["x"], ["y"])], {"x": ["N", 3]}, ["y"], None, 13, TensorProto.INT8)
    found = load(proto).run({"x": np.array([[-3, 0, 2]], dtype=np.int8)})["y"]
    assert found.dtype == np.int8
    assert found.tolist() == {"Abs": [[3, 0, 2]], "Neg": [[3, 0, -2]], "Sign": [[-1, 0, 1]]}.get(op, [[-3, 0, 2]])


# ------------------------------------------------------------------------------------------------------------ powers
@pytest.mark.parametrize(
    "exponent", [np.array(2.0, np.float32), np.array([0.5], np.float32), np.array([[1], [3]], np.int64)]
)
@pytest.mark.parametrize("opset", [7, 12, 15])
def test_power_by_a_constant(device: Device, exponent: np.ndarray, opset: int) -> None:
    if opset < 12 and exponent.dtype != np.float32:
        exponent = exponent.astype(np.float32)
    proto = model([node("Pow", ["x", "p"], ["y"], "pow")], {"x": ["N", 2, 3]}, ["y"], {"p": exponent}, opset)
    for found in _both(proto, device):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, X.astype(np.float64) ** exponent, rtol=1e-6)
    assert load(proto).params == {}


def test_power_of_a_constant(device: Device) -> None:
    base = {"b": np.array([1.0, 2.0, 3.0], np.float32)}
    proto = model([node("Pow", ["b", "x"], ["y"])], {"x": ["N", 2, 3]}, ["y"], base, 13)
    for found in _both(proto, device):
        np.testing.assert_allclose(found, np.array([1.0, 2.0, 3.0]) ** X.astype(np.float64), rtol=1e-6)


def test_power_of_two_branches(device: Device) -> None:
    nodes = [node("Exp", ["x"], ["e"]), node("Pow", ["x", "e"], ["y"])]
    for found in _both(model(nodes, {"x": ["N", 2, 3]}, ["y"], None, 13), device):
        x = X.astype(np.float64)
        np.testing.assert_allclose(found, x ** np.exp(x), rtol=2e-6)


def test_power_of_whole_numbers_keeps_their_type() -> None:
    proto = model([node("Pow", ["x", "p"], ["y"])], {"x": [3]}, ["y"], {"p": np.array(1.5, np.float32)}, 13, 7)
    found = load(proto).run({"x": np.array([1, 4, 9])})["y"]
    assert found.dtype == np.int64
    assert found.tolist() == [1, 8, 27]


# ------------------------------------------------------------------------------------------------------ many inputs
MANY = {"Max": np.max, "Min": np.min, "Sum": np.sum, "Mean": np.mean}


@pytest.mark.parametrize("op", MANY)
@pytest.mark.parametrize("opset", [6, 8, 13])
def test_many(device: Device, op: str, opset: int) -> None:
    nodes = [node("Neg", ["x"], ["n"]), node("Sqrt", ["x"], ["r"]), node(op, ["x", "n", "r"], ["y"])]
    x = X.astype(np.float64)
    for found in _both(model(nodes, {"x": ["N", 2, 3]}, ["y"], None, opset), device):
        np.testing.assert_allclose(found, MANY[op](np.stack([x, -x, np.sqrt(x)]), axis=0), rtol=1e-6)
    for found in _both(model([node(op, ["x"], ["y"])], {"x": ["N", 2, 3]}, ["y"], None, opset), device):
        np.testing.assert_array_equal(found, X)


@pytest.mark.parametrize("op", MANY)
def test_many_with_constants(device: Device, op: str) -> None:
    a, b = np.array([[0.5], [0.25]], np.float32), np.array(0.75, np.float32)
    nodes = [node("Sqrt", ["x"], ["r"]), node(op, ["a", "r", "b", "x"], ["y"], "many")]
    proto = model(nodes, {"x": ["N", 2, 3]}, ["y"], {"a": a, "b": b}, 13)
    parts = np.stack(np.broadcast_arrays(a, np.sqrt(X), b, X)).astype(np.float64)
    for found in _both(proto, device):
        np.testing.assert_allclose(found, MANY[op](parts, axis=0), rtol=1e-6)


def test_a_constant_that_would_change_the_batch_makes_a_program() -> None:
    proto = model([node("Max", ["x", "c"], ["y"])], {"x": [1, 3]}, ["y"], {"c": np.zeros((2, 3), np.float32)}, 13)
    loaded = load(proto)
    assert isinstance(loaded, Program)
    assert loaded.run({"x": np.array([[-1.0, 2.0, 3.0]], np.float32)})["y"].tolist() == [[0.0, 2.0, 3.0]] * 2


# ----------------------------------------------------------------------------------------------- opsets before 7
def test_how_opset_6_broadcasts(device: Device) -> None:
    p = np.array([1.0, 2.0], np.float32)
    proto = model([node("Pow", ["x", "p"], ["y"], broadcast=1, axis=1)], {"x": ["N", 2, 3]}, ["y"], {"p": p}, 6)
    loaded = load(proto, device)
    found = asnumpy(loaded.run({"x": device.asarray(X)})["y"])
    np.testing.assert_allclose(found, X.astype(np.float64) ** np.array([[1.0], [2.0]]), rtol=1e-6)
    aligned_at_the_end = model(
        [node("Pow", ["x", "p"], ["y"], broadcast=1)],
        {"x": ["N", 2, 3]},
        ["y"],
        {"p": np.arange(3, dtype=np.float32)},
        6,
    )
    found = asnumpy(load(aligned_at_the_end, device).run({"x": device.asarray(X)})["y"])
    np.testing.assert_allclose(found, X.astype(np.float64) ** np.arange(3), rtol=1e-6)


@pytest.mark.parametrize(("fmod", "want"), [(0, [-1, 1, 2, -2]), (1, [2, -2, 2, -2])])
def test_remainders(device: Device, fmod: int, want: list[int]) -> None:
    proto = model(
        [node("Mod", ["x", "d"], ["y"], fmod=fmod)], {"x": [4]}, ["y"], {"d": np.array([-3, 3, 3, -3])}, 13, 7
    )
    found = load(proto, device).run({"x": device.asarray(np.array([5, -5, 5, -5]))})["y"]
    assert found.dtype == np.int64
    assert asnumpy(found).tolist() == want
