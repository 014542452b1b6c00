"""Reductions, and where the extremes are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.making import model, node
from tests.onnx.operators.ways import check_both_ways, program, samples
from xpcnn.device import Device
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.onnx import load
from xpcnn.onnx.operators.reduction import _einsum_shape
from xpcnn.onnx.program import Program

X = samples(2, 3, 4, 5)
MEANINGS = {
    "ReduceL1": lambda x, **how: np.abs(x).sum(**how),
    "ReduceL2": lambda x, **how: np.sqrt((x * x).sum(**how)),
    "ReduceLogSum": lambda x, **how: np.log(x.sum(**how)),
    "ReduceLogSumExp": lambda x, **how: np.log(np.exp(x).sum(**how)),
    "ReduceMax": lambda x, **how: x.max(**how),
    "ReduceMean": lambda x, **how: x.mean(**how),
    "ReduceMin": lambda x, **how: x.min(**how),
    "ReduceProd": lambda x, **how: x.prod(**how),
    "ReduceSum": lambda x, **how: x.sum(**how),
    "ReduceSumSquare": lambda x, **how: (x * x).sum(**how),
}


@pytest.mark.parametrize("op", MEANINGS)
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [11, 18])
def test_both_ways(device: Device, op: str, keepdims: int, opset: int) -> None:
    want = MEANINGS[op](X, axis=(2, 3), keepdims=bool(keepdims))
    if opset == 18:
        nodes = [node(op, ["x", "a"], ["y"], keepdims=keepdims)]
        check_both_ways(device, nodes, X, want, {"a": np.array([2, -1])}, opset)
    else:
        check_both_ways(device, [node(op, ["x"], ["y"], keepdims=keepdims, axes=[2, -1])], X, want, None, opset)


@pytest.mark.parametrize("op", MEANINGS)
def test_no_axes(device: Device, op: str) -> None:
    """All of them, unless the operator says that then there are none; what goes on beside the sum goes on."""
    everything, single = program(
        [node(op, ["x"], ["all"]), node(op, ["x"], ["none"], noop_with_empty_axes=1)],
        {"x": X},
        ["all", "none"],
        device=device,
    )
    assert everything.shape == (1, 1, 1, 1)
    # float32, 120 terms of numbers up to 2
    np.testing.assert_allclose(everything.ravel(), [MEANINGS[op](X.astype(np.float64))], rtol=1e-5)
    np.testing.assert_allclose(single, MEANINGS[op](X, axis=()), rtol=1e-6)


def test_over_samples_it_is_a_program() -> None:
    made = load(model([node("ReduceMean", ["x"], ["y"])], {"x": ["N", 3]}, ["y"]))
    assert isinstance(made, Program)
    assert "axis 0 is the batch's" in made.why


def test_bool_and_whole_numbers(device: Device) -> None:
    b = np.array([[True, False], [False, False]])
    high, low = program(
        [node("ReduceMax", ["b", "a"], ["high"]), node("ReduceMin", ["b", "a"], ["low"])],
        {"b": b},
        ["high", "low"],
        opset=20,
        constants={"a": np.array([1])},
        device=device,
    )
    assert (high.tolist(), low.tolist()) == ([[True], [False]], [[False], [False]])
    (total,) = program([node("ReduceSum", ["n"], ["s"])], {"n": np.array([3, 4], np.int32)}, ["s"], device=device)
    assert (total.dtype, total.tolist()) == (np.int32, [7])


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_where_the_extremes_are(device: Device, op: str) -> None:
    x = np.array([[2.0, 1.0, 2.0, 1.0], [0.0, 5.0, 5.0, 0.0]], np.float32)
    nodes = [
        node(op, ["x"], ["first"], axis=1, keepdims=0),
        node(op, ["x"], ["last"], axis=-1, select_last_index=1),
    ]
    first, last = program(nodes, {"x": x}, ["first", "last"], device=device)
    assert (first.dtype, last.dtype) == (np.int64, np.int64)
    assert first.tolist() == ([0, 1] if op == "ArgMax" else [1, 0])
    assert last.tolist() == ([[2], [2]] if op == "ArgMax" else [[3], [3]])


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(device: Device, dtype: str, largest: int) -> None:
    x = np.array([[3, 1, 3, 0, 2], [1, 1, 1, 1, 1]]).astype(dtype)
    nodes = [node("TopK", ["x", "k"], ["v", "i"], largest=largest)]
    v, i = program(nodes, {"x": x}, ["v", "i"], constants={"k": np.array([3])}, device=device)
    assert (v.dtype, i.dtype) == (np.dtype(dtype), np.int64)
    assert v.tolist() == ([[3, 3, 2], [1, 1, 1]] if largest else [[0, 1, 2], [1, 1, 1]])
    assert i.tolist() == ([[0, 2, 4], [0, 1, 2]] if largest else [[3, 1, 4], [0, 1, 2]])  # of equals the first


def test_top_k_of_old_opsets_and_of_too_many() -> None:
    x = np.array([[1.0, 3.0], [4.0, 2.0]])
    v, i = program([node("TopK", ["x"], ["v", "i"], k=1, axis=0)], {"x": x}, ["v", "i"], opset=9)
    assert (v.tolist(), i.tolist()) == ([[4.0, 3.0]], [[1, 0]])
    with pytest.raises(ConfigError, match="the first 3 of 2"):
        program([node("TopK", ["x"], ["v", "i"], k=3)], {"x": x}, ["v"], opset=9)


@pytest.mark.parametrize(
    ("attributes", "want"),
    [
        ({}, [1, 3, 6]),
        ({"reverse": 1}, [6, 5, 3]),
        ({"exclusive": 1}, [0, 1, 3]),
        ({"exclusive": 1, "reverse": 1}, [5, 3, 0]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_running_sums(device: Device, attributes: dict[str, int], want: list[int], dtype: str) -> None:
    x = np.array([[1, 2, 3]]).astype(dtype)
    nodes = [node("CumSum", ["x", "a"], ["y"], **attributes)]
    (y,) = program(nodes, {"x": x}, ["y"], constants={"a": np.array(1)}, device=device)
    assert (y.dtype, y.tolist()) == (np.dtype(dtype), [want])


def test_einsum(device: Device) -> None:
    a, b = samples(2, 3, 4), samples(2, 4, 5)
    (y,) = program([node("Einsum", ["a", "b"], ["y"], equation="b i j, b j k -> b i k")], {"a": a, "b": b}, ["y"],
                   device=device)  # fmt: skip
    np.testing.assert_allclose(y, a @ b, rtol=1e-6)  # float32, 4 terms
    with pytest.raises(ShapeError, match=r"node 'y' .*abc->a of float32 \(2, 3, 4\), float32 \(2, 4, 5\): "):
        program([node("Einsum", ["a", "b"], ["y"], equation="abc->a")], {"a": a, "b": b}, ["y"])


EQUATIONS = [
    ("ij,jk->ik", [(2, 3), (3, 4)], (2, 4)),
    ("ij,jk", [(2, 3), (3, 4)], (2, 4)),
    ("ii->i", [(3, 3)], (3,)),
    ("ij->", [(2, 3)], ()),
    ("...ij,...jk->...ik", [(5, 1, 2, 3), (6, 3, 4)], (5, 6, 2, 4)),
    ("b...,bc->...c", [(2, 5, 6), (2, 4)], (5, 6, 4)),
    ("i...j", [(2, 5, 3)], (5, 2, 3)),
]


@pytest.mark.parametrize(("equation", "shapes", "want"), EQUATIONS)
def test_sizes_of_einsums(equation: str, shapes: list[tuple[int, ...]], want: tuple[int, ...]) -> None:
    assert np.einsum(equation, *map(np.ones, shapes)).shape == want
    assert sorted(_einsum_shape(equation, shapes)) == sorted(want)


def test_an_einsum_that_no_machine_can_hold() -> None:
    names = list("abcdef")
    inputs = {name: np.ones(2000, np.float32) for name in names}
    with pytest.raises(ShapeError, match="an Einsum's array .* would take"):
        program([node("Einsum", names, ["y"], equation="a,b,c,d,e,f->abcdef")], inputs, ["y"])


@pytest.mark.parametrize(
    ("attributes", "want"), [({}, [2, 6, 24]), ({"exclusive": 1}, [1, 2, 6]), ({"reverse": 1}, [24, 12, 4])]
)
def test_running_products(device: Device, attributes: dict[str, int], want: list[int]) -> None:
    nodes = [node("CumProd", ["x", "a"], ["y"], **attributes)]
    x = np.array([2.0, 3.0, 4.0])
    (y,) = program(nodes, {"x": x}, ["y"], opset=26, constants={"a": np.array(0)}, device=device)
    assert y.tolist() == want
