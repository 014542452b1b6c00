"""Comparisons, logic and types of ONNX models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.onnx.making import model, node
from xpcnn.device import Device, asnumpy
from xpcnn.onnx import UnsupportedOperator, load
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program

X = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], np.float32)


def _run(proto: Any, device: Device, x: np.ndarray) -> Any:
    loaded = load(proto, device)
    assert isinstance(loaded, Program)
    found = loaded.run({"x": device.asarray(x)})["y"]
    return found.dtype, asnumpy(found).tolist()


@pytest.mark.parametrize(
    ("op", "opset", "want"),
    [
        ("Equal", 13, [[False, True, False]] * 2),
        ("Greater", 13, [[False, False, True], [True, False, False]]),
        ("GreaterOrEqual", 16, [[False, True, True], [True, True, False]]),
        ("Less", 9, [[True, False, False], [False, False, True]]),
        ("LessOrEqual", 12, [[True, True, False], [False, True, True]]),
    ],
)
def test_comparisons(device: Device, op: str, opset: int, want: list[list[bool]]) -> None:
    proto = model([node(op, ["x", "c"], ["y"])], {"x": ["N", 3]}, ["y"], {"c": np.full(3, 2.0, np.float32)}, opset)
    assert _run(proto, device, X) == (np.dtype(bool), want)


def test_how_opset_6_compares(device: Device) -> None:
    constants = {"c": np.array([1.0, 3.0], np.float32)}
    proto = model([node("Less", ["x", "c"], ["y"], broadcast=1, axis=0)], {"x": [2, 3]}, ["y"], constants, 6)
    assert _run(proto, device, X) == (np.dtype(bool), [[False, False, False], [False, True, True]])


@pytest.mark.parametrize(
    ("op", "want"), [("And", [False, False, True]), ("Or", [False, True, True]), ("Xor", [False, True, False])]
)
def test_logic(device: Device, op: str, want: list[bool]) -> None:
    constants = {"c": np.array([False, False, True])}
    proto = model([node(op, ["x", "c"], ["y"])], {"x": [3]}, ["y"], constants, 13, TensorProto.BOOL)
    assert _run(proto, device, np.array([False, True, True])) == (np.dtype(bool), want)
    proto = model([node("Not", ["x"], ["y"])], {"x": [3]}, ["y"], None, 13, TensorProto.BOOL)
    assert _run(proto, device, np.array([False, True, True])) == (np.dtype(bool), [True, False, False])


@pytest.mark.parametrize(
    ("attributes", "want"),
    [
        ({}, [True, True, False, False]),
        ({"detect_negative": 0}, [True, False, False, False]),
        ({"detect_positive": 0}, [False, True, False, False]),
        ({"detect_positive": 0, "detect_negative": 0}, [False] * 4),
    ],
)
def test_infinities(device: Device, attributes: dict[str, int], want: list[bool]) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    proto = model([node("IsInf", ["x"], ["y"], **attributes)], {"x": [4]}, ["y"], None, 20)
    assert _run(proto, device, x) == (np.dtype(bool), want)
    proto = model([node("IsNaN", ["x"], ["y"])], {"x": [4]}, ["y"], None, 20)
    assert _run(proto, device, x) == (np.dtype(bool), [False, False, True, False])


def test_where(device: Device) -> None:
    nodes = [node("Greater", ["x", "c"], ["more"]), node("Where", ["more", "x", "c"], ["y"])]
    proto = model(nodes, {"x": ["N", 3]}, ["y"], {"c": np.array(2.0, np.float32)}, 16)
    assert _run(proto, device, X) == (np.dtype(np.float32), np.maximum(X, 2.0).tolist())


@pytest.mark.parametrize(
    ("op", "attributes", "want"),
    [
        ("BitShift", {"direction": "LEFT"}, [32, 4]),
        ("BitShift", {"direction": "RIGHT"}, [2, 1]),
        ("BitwiseAnd", {}, [0, 0]),
        ("BitwiseOr", {}, [10, 3]),
        ("BitwiseXor", {}, [10, 3]),
    ],
)
def test_bits(device: Device, op: str, attributes: dict[str, str], want: list[int]) -> None:
    constants = {"c": np.array([2, 1], np.uint8)}
    proto = model([node(op, ["x", "c"], ["y"], **attributes)], {"x": [2]}, ["y"], constants, 18, TensorProto.UINT8)
    assert _run(proto, device, np.array([8, 2], np.uint8)) == (np.dtype(np.uint8), want)


def test_a_direction_of_shifting_that_is_none() -> None:
    constants = {"c": np.array([2, 1], np.uint8)}
    proto = model([node("BitShift", ["x", "c"], ["y"], direction="UP")], {"x": [2]}, ["y"], constants, 18, 2)
    with pytest.raises(UnsupportedOperator, match="direction is 'UP'; xpcnn knows LEFT and RIGHT"):
        load(proto).run({"x": np.array([8, 2], np.uint8)})


# ------------------------------------------------------------------------------------------------------------ types
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"])
def test_types(device: Device, dtype: str) -> None:
    number = {"float16": 10, "float32": 1, "float64": 11, "int8": 3, "int64": 7, "uint8": 2, "bool": 9}[dtype]
    x = np.array([0.0, 1.75, 100.5], np.float32)
    proto = model([node("Cast", ["x"], ["y"], to=number)], {"x": [3]}, ["y"], None, 19)
    assert _run(proto, device, x) == (np.dtype(dtype), x.astype(dtype).tolist())
    proto = model([node("CastLike", ["x", "c"], ["y"])], {"x": [3]}, ["y"], {"c": np.zeros(1, dtype)}, 19)
    assert _run(proto, device, x) == (np.dtype(dtype), x.astype(dtype).tolist())


def test_a_cast_to_the_same_type_is_part_of_a_network() -> None:
    nodes = [node("Cast", ["x"], ["a"], to=1), node("CastLike", ["a", "x"], ["y"])]
    network = load(model(nodes, {"x": ["N", 3]}, ["y"], None, 19))
    assert isinstance(network, OnnxNetwork)
    np.testing.assert_array_equal(network.run({"x": X})["y"], X)


def test_a_cast_to_another_type_is_not() -> None:
    nodes = [node("Cast", ["x"], ["a"], to=7), node("Cast", ["a"], ["y"], to=1)]
    loaded = load(model(nodes, {"x": ["N", 3]}, ["y"], None, 19))
    assert isinstance(loaded, Program)
    assert "it makes int64 of float32" in loaded.why
    assert loaded.run({"x": X + np.float32(0.75)})["y"].tolist() == X.tolist()


def test_a_type_that_is_not_known() -> None:
    with pytest.raises(UnsupportedOperator, match="to=16, a type that xpcnn does not know; it knows float32, "):
        load(model([node("Cast", ["x"], ["y"], to=16)], {"x": ["N", 3]}, ["y"], None, 19)).run({"x": X})
