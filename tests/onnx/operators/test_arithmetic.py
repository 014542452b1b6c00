"""Add, Sub, Mul, Div of all opsets."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from tests.onnx.making import model, node
from tests.onnx.operators.ways import check_both_ways, program, samples
from xpcnn.device import Device
from xpcnn.onnx import load
from xpcnn.onnx.program import Program

MEANINGS = {"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv}
each = pytest.mark.parametrize("op", MEANINGS)


@each
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1), (), (4,)])
@pytest.mark.parametrize("constant_first", [False, True])
def test_with_a_constant(device: Device, op: str, shape: tuple[int, ...], constant_first: bool) -> None:
    x, c = samples(2, 3, 4, 4), samples(*shape) + np.float32(0.5)
    want = MEANINGS[op](c, x) if constant_first else MEANINGS[op](x, c)
    inputs = ["c", "x"] if constant_first else ["x", "c"]
    check_both_ways(device, [node(op, inputs, ["y"])], x, want, {"c": c})


@each
def test_two_branches(device: Device, op: str) -> None:
    x = samples(2, 3, 4, 4)
    nodes = [node("GlobalAveragePool", ["x"], ["m"]), node(op, ["x", "m"], ["y"])]
    check_both_ways(device, nodes, x, MEANINGS[op](x, x.mean(axis=(2, 3), keepdims=True)))


@each
@pytest.mark.parametrize(("shape", "axis"), [((3,), 1), ((3, 4), 1), ((4, 5), None), ((5,), 3), ((3, 4), -3)])
def test_before_opset_7_an_axis_says_where(device: Device, op: str, shape: tuple[int, ...], axis: int | None) -> None:
    x, c = samples(2, 3, 4, 5), samples(*shape)
    where = {} if axis is None else {"axis": axis}
    first = 4 - len(shape) if axis is None else axis % 4
    want = MEANINGS[op](x, c.reshape(*shape, *(1,) * (4 - first - len(shape))))
    check_both_ways(device, [node(op, ["x", "c"], ["y"], broadcast=1, **where)], x, want, {"c": c}, opset=6)


def test_before_opset_7_two_branches(device: Device) -> None:
    x = samples(2, 3, 4, 5)
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
        node("Mul", ["x", "m"], ["y"], broadcast=1, axis=0),
    ]
    check_both_ways(device, nodes, x, x * x.mean(axis=(2, 3), keepdims=True), opset=6)


def test_a_constant_that_is_the_same_for_all_samples() -> None:
    """Exporters expand constants to x's shape, N and all."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Expand", ["c", "s"], ["e"]),
        node("Add", ["x", "e"], ["y"]),
    ]
    x, c = samples(2, 3, 4), samples(3, 1)
    network = load(model(nodes, {"x": ["N", 3, 4]}, ["y"], {"c": c}))
    assert [a.shape for a in network.params.values()] == [(1, 3, 4)]
    np.testing.assert_array_equal(network.run({"x": x})["y"], x + c)


def test_what_would_change_the_batch_is_a_program() -> None:
    x, c = samples(1, 3), samples(2, 3)
    made = load(model([node("Add", ["x", "c"], ["y"])], {"x": [1, 3]}, ["y"], {"c": c}))
    assert isinstance(made, Program)
    assert "would change the number of samples" in made.why
    np.testing.assert_array_equal(made.run({"x": x})["y"], x + c)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64"])
def test_other_dtypes(device: Device, dtype: str) -> None:
    a, b = np.array([7, 8, 9], dtype), np.array([2, 3, 4], dtype)
    nodes = [node(op, ["a", "b"], [op]) for op in MEANINGS]
    found = program(nodes, {"a": a, "b": b}, list(MEANINGS), device=device)
    assert {y.dtype for y in found} == {np.dtype(dtype)}
    quotient = a / b if dtype == "float64" else [3, 2, 2]
    for y, want in zip(found, [a + b, a - b, a * b, quotient], strict=True):
        np.testing.assert_array_equal(y, want)


def test_a_number_of_a_formula_is_not_learned_and_an_array_is() -> None:
    constants = {"white": np.array(255.0, np.float32), "shift": np.ones((3, 1, 1), np.float32)}
    nodes = [node("Div", ["x", "white"], ["a"], "scaled"), node("Add", ["a", "shift"], ["y"], "shifted")]
    network = load(model(nodes, {"x": ["N", 3, 2, 2]}, ["y"], constants))
    assert (list(network.params), list(network.state)) == (["shifted.c"], ["scaled.c"])
