"""Arrays that a model makes out of nothing, or of a shape."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from tests.onnx.making import node
from tests.onnx.operators.ways import program
from xpcnn.device import Device
from xpcnn.errors import ConfigError, ShapeError

NOTHING = {"x": np.zeros(1, np.float32)}


@pytest.mark.parametrize(
    ("attribute", "value", "dtype", "want"),
    [
        ("value", numpy_helper.from_array(np.array([[1, 2]], np.int8)), "int8", [[1, 2]]),
        ("value_int", 3, "int64", 3),
        ("value_ints", [3, 4], "int64", [3, 4]),
        ("value_float", 0.5, "float32", 0.5),
        ("value_floats", [0.5, 1.5], "float32", [0.5, 1.5]),
    ],
)
def test_constant(device: Device, attribute: str, value, dtype: str, want) -> None:
    (y,) = program([node("Constant", [], ["y"], **{attribute: value})], NOTHING, ["y"], device=device)
    assert (y.dtype, y.tolist()) == (np.dtype(dtype), want)


def test_constants_that_are_no_numbers() -> None:
    with pytest.raises(ConfigError, match="its value is given by value_string"):
        program([node("Constant", [], ["y"], value_string="word")], NOTHING, ["y"])


def test_constant_of_shape(device: Device) -> None:
    sixes = numpy_helper.from_array(np.array([6], np.int32))
    nodes = [
        node("ConstantOfShape", ["s"], ["zeros"]),
        node("ConstantOfShape", ["s"], ["sixes"], value=sixes),
        node("ConstantOfShape", ["e"], ["one"], value=sixes),
    ]
    constants = {"s": np.array([2, 3]), "e": np.zeros(0, np.int64)}
    zeros, six, one = program(nodes, NOTHING, ["zeros", "sixes", "one"], constants=constants, device=device)
    assert (zeros.dtype, zeros.tolist()) == (np.float32, [[0] * 3] * 2)
    assert (six.dtype, six.tolist()) == (np.int32, [[6] * 3] * 2)
    assert (one.shape, one.item()) == ((), 6)


@pytest.mark.parametrize(
    ("start", "limit", "step", "want"), [(1, 7, 2, [1, 3, 5]), (5, 0, -2, [5, 3, 1]), (3, 3, 1, []), (3, 0, 1, [])]
)
@pytest.mark.parametrize("dtype", ["float32", "int64", "int32", "float64"])
def test_range(device: Device, start: int, limit: int, step: int, want: list[int], dtype: str) -> None:
    constants = {name: np.array(n, dtype) for name, n in (("a", start), ("b", limit), ("c", step))}
    (y,) = program([node("Range", ["a", "b", "c"], ["y"])], NOTHING, ["y"], constants=constants, device=device)
    assert (y.dtype, y.tolist()) == (np.dtype(dtype), want)


@pytest.mark.parametrize(
    ("op", "constants", "error", "words"),
    [
        ("ConstantOfShape", {"s": np.array([2**40, 2**20])}, ShapeError, "would take"),
        ("ConstantOfShape", {"s": np.array([-2])}, ConfigError, r"for the shape \[-2\]"),
        ("Range", {"a": np.array(0), "b": np.array(2**62), "c": np.array(1)}, ShapeError, "would take"),
        ("Range", {"a": np.array(0), "b": np.array(9), "c": np.array(0)}, ConfigError, "its step is 0"),
        ("Range", {"a": np.array(0.0), "b": np.array(np.inf), "c": np.array(1.0)}, ConfigError, "its limits are"),
    ],
)
def test_sizes_that_cannot_be(op: str, constants, error, words: str) -> None:
    with pytest.raises(error, match=f"node 'y' .*{words}"):
        program([node(op, list(constants), ["y"])], NOTHING, ["y"], constants=constants)


def test_eye_like(device: Device) -> None:
    nodes = [node("EyeLike", ["x"], ["same"]), node("EyeLike", ["x"], ["other"], dtype=11, k=1)]
    same, other = program(nodes, {"x": np.zeros((2, 3), np.int32)}, ["same", "other"], device=device)
    assert (same.dtype, same.tolist()) == (np.int32, [[1, 0, 0], [0, 1, 0]])
    assert (other.dtype, other.tolist()) == (np.float64, [[0, 1, 0], [0, 0, 1]])
    with pytest.raises(ConfigError, match="the data type numbered 16"):
        program([node("EyeLike", ["x"], ["y"], dtype=16)], {"x": np.zeros((2, 3))}, ["y"])
    with pytest.raises(ConfigError, match=r"an array of shape \(3,\) is no matrix"):
        program([node("EyeLike", ["x"], ["y"])], {"x": np.zeros(3)}, ["y"])


@pytest.mark.parametrize("k", [None, -1, 2])
@pytest.mark.parametrize("upper", [0, 1])
def test_triangles(device: Device, k: int | None, upper: int) -> None:
    x = np.arange(1, 25).reshape(2, 3, 4)
    names, constants = (["x"], {}) if k is None else (["x", "k"], {"k": np.array(k)})
    (y,) = program([node("Trilu", names, ["y"], upper=upper)], {"x": x}, ["y"], constants=constants, device=device)
    np.testing.assert_array_equal(y, (np.triu if upper else np.tril)(x, k or 0))
