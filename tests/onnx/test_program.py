"""A model run operator by operator, over whole arrays."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.onnx.making import model, node
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.onnx import operators  # noqa: F401  (registers the translators)
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model


def program(proto, device="cpu") -> Program:
    return Program(read_model(proto), device)


def test_inputs_and_outputs_by_name(device: Device):
    nodes = [node("Add", ["a", "b"], ["s"]), node("Relu", ["s"], ["r"])]
    made = program(model(nodes, {"a": [2, 3], "b": [3]}, ["r", "s"]), device)
    assert (made.inputs, made.outputs) == (("a", "b"), ("r", "s"))
    a, b = np.full((2, 3), -1.0, np.float32), np.array([0.0, 1.0, 2.0], np.float32)
    for _ in range(2):  # a second run on other numbers than the first
        found = made.run({"b": b, "a": device.asarray(a)})
        np.testing.assert_array_equal(asnumpy(found["s"]), a + b)
        np.testing.assert_array_equal(asnumpy(found["r"]), np.maximum(a + b, 0.0))
        b = b + 1.0


def test_weights_that_come_as_inputs_may_change():
    """What is built from an input must not be kept for the next run."""
    made = program(model([node("Conv", ["x", "w"], ["y"])], {"x": [1, 1, 3, 3], "w": [1, 1, 1, 1]}, ["y"]))
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    for factor in (2.0, 3.0):
        w = np.full((1, 1, 1, 1), factor, np.float32)
        np.testing.assert_array_equal(made.run({"x": x, "w": w})["y"], x * factor)


def test_operators_that_no_output_needs_are_left_out():
    nodes = [node("Relu", ["x"], ["y"]), node("Add", ["x", "x"], ["unused"])]
    assert len(program(model(nodes, {"x": [3]}, ["y"]))._steps) == 1


def test_inputs_are_checked():
    made = program(model([node("Relu", ["x"], ["y"])], {"x": [2, "M"]}, ["y"]))
    with pytest.raises(ShapeError, match="takes 'x'; got nothing"):
        made.run({})
    with pytest.raises(ShapeError, match=r"shape \(2, any\), got an array of shape \(3, 3\)"):
        made.run({"x": np.zeros((3, 3), np.float32)})
    with pytest.raises(ShapeError, match="float32, got complex128"):
        made.run({"x": np.zeros((2, 3), complex)})
    assert made.run({"x": np.zeros((2, 3))})["y"].dtype == np.float32
    whole = program(model([node("Add", ["x", "x"], ["y"])], {"x": [2]}, ["y"], kind=TensorProto.INT64))
    with pytest.raises(ShapeError, match="int64, got float64"):
        whole.run({"x": np.zeros(2)})


def test_errors_name_the_node():
    made = program(model([node("Add", ["a", "b"], ["y"], "join")], {"a": ["M"], "b": ["K"]}, ["y"]))
    with pytest.raises(ShapeError, match="join"):
        made.run({"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})


def test_outputs_may_be_written_to():
    """None of them is the model's own array, or the caller's."""
    numbers = helper.make_tensor("numbers", TensorProto.FLOAT, [2], [1.0, 2.0])
    nodes = [node("Identity", ["x"], ["same"]), node("Constant", [], ["k"], value=numbers),
             node("Transpose", ["w"], ["t"]), node("ConstantOfShape", ["two"], ["z"])]  # fmt: skip
    constants = {"w": np.ones((2, 1), np.float32), "two": np.array([2])}
    made = program(model(nodes, {"x": [2]}, ["same", "k", "t", "z", "w"], constants))
    x = np.zeros(2, np.float32)
    first = {name: y.copy() for name, y in made.run({"x": x}).items()}
    for y in made.run({"x": x}).values():
        y += 5.0
    assert not x.any()
    for name, y in made.run({"x": x}).items():
        np.testing.assert_array_equal(y, first[name])


def test_arrays_of_one_run_are_not_kept():
    """Such as what a ConstantOfShape makes: it would take the memory of all of them for ever."""
    made = program(model([node("ConstantOfShape", ["s"], ["y"])], {}, ["y"], {"s": np.array([2000])}))
    made.run({})
    assert made._translated == {}
