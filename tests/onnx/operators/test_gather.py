"""Picking elements by places, and putting them there."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.making import model, node
from tests.onnx.operators.ways import check_both_ways, program, samples
from xpcnn.device import Device
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.onnx import load
from xpcnn.onnx.program import Program

X = samples(2, 3, 4, 5)


@pytest.mark.parametrize(("places", "axis"), [([2, 0, -1], 1), ([[0, 3], [-2, 1]], 2), (1, -1)])
def test_gather(device: Device, places, axis: int) -> None:
    where = np.array(places)
    check_both_ways(device, [node("Gather", ["x", "i"], ["y"], axis=axis)], X, X.take(where, axis), {"i": where})


def test_gather_of_samples_is_a_program(device: Device) -> None:
    proto = model([node("Gather", ["x", "i"], ["y"])], {"x": ["N", 3]}, ["y"], {"i": np.array([1, 0, 1])})
    made = load(proto, device)
    assert isinstance(made, Program)
    x = X[:, :, 0, 0]
    np.testing.assert_array_equal(device.asnumpy(made.run({"x": x})["y"]), x[[1, 0, 1]])


def test_places_that_are_not_there() -> None:
    with pytest.raises(ShapeError, match="indices 5 to 5 for an axis of 3 elements|node 'y'"):
        load(model([node("Gather", ["x", "i"], ["y"], axis=1)], {"x": ["N", 3]}, ["y"], {"i": np.array([5])})).run(
            {"x": X[:, :, 0, 0]}
        )
    for op in ("Gather", "GatherElements", "GatherND"):
        inputs = {"x": np.ones((2, 2)), "i": np.array([[0, 7]])}
        with pytest.raises(ShapeError, match=f"node 'y' .*{op}: index 7 is out of bounds"):
            program([node(op, ["x", "i"], ["y"])], inputs, ["y"])


def test_gather_elements(device: Device) -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]])
    i = np.array([[2, -3], [0, 0]])
    (y,) = program([node("GatherElements", ["x", "i"], ["y"], axis=1)], {"x": x, "i": i}, ["y"], device=device)
    assert y.tolist() == [[3, 1], [4, 4]]
    i = np.array([[1, 0]])
    (y,) = program([node("GatherElements", ["x", "i"], ["y"], axis=0)], {"x": x, "i": i}, ["y"], device=device)
    assert y.tolist() == [[4, 2]]
    with pytest.raises(ShapeError, match=r"data of shape \(2, 3\), places of shape \(2,\)"):
        program([node("GatherElements", ["x", "i"], ["y"])], {"x": x, "i": np.array([0, 1])}, ["y"])


@pytest.mark.parametrize(
    ("shape", "places", "batch", "meaning"),
    [
        ((2, 3, 4), [[0, 1], [1, -1]], 0, lambda x: np.stack([x[0, 1], x[1, -1]])),
        ((2, 3, 4), [[0, 1, 2]], 0, lambda x: x[0:1, 1, 2]),
        ((2, 3, 4), [[2], [0]], 1, lambda x: np.stack([x[0, 2], x[1, 0]])),
        ((2, 3, 4), [[[2, 0]], [[1, 3]]], 1, lambda x: np.array([[x[0, 2, 0]], [x[1, 1, 3]]])),
    ],
)
def test_gather_nd(device: Device, shape: tuple[int, ...], places, batch: int, meaning) -> None:
    x = samples(*shape)
    nodes = [node("GatherND", ["x", "i"], ["y"], batch_dims=batch)]
    (y,) = program(nodes, {"x": x, "i": np.array(places)}, ["y"], device=device)
    np.testing.assert_array_equal(y, meaning(x))


REDUCTIONS = [("none", 20.0), ("add", 31.0), ("mul", 200.0), ("max", 20.0), ("min", 1.0)]


@pytest.mark.parametrize(("reduction", "want"), REDUCTIONS)
def test_scatter(device: Device, reduction: str, want: float) -> None:
    """1 meets 10 and 20 at one place; where nothing is added up, the last one stays."""
    x = np.ones((2, 3), np.float32)
    more = {} if reduction == "none" else {"reduction": reduction}
    u = np.array([[10.0, 20.0]], np.float32)
    nodes = [node("ScatterElements", ["x", "i", "u"], ["y"], axis=1, **more)]
    (y,) = program(nodes, {"x": x, "i": np.array([[-1, 2]]), "u": u}, ["y"], device=device)
    assert y.tolist() == [[1.0, 1.0, want], [1.0, 1.0, 1.0]]
    nodes = [node("ScatterND", ["x", "i", "u"], ["y"], **more)]
    (y,) = program(nodes, {"x": x, "i": np.array([[1, 0], [-1, 0]]), "u": u[0]}, ["y"], device=device)
    assert y.tolist() == [[1.0, 1.0, 1.0], [want, 1.0, 1.0]]


def test_scatter_of_old_opsets_and_what_is_not_known() -> None:
    inputs = {"x": np.zeros((2, 2)), "i": np.array([[1, 0]]), "u": np.array([[5.0, 6.0]])}
    (y,) = program([node("Scatter", ["x", "i", "u"], ["y"])], inputs, ["y"], opset=9)
    assert y.tolist() == [[0.0, 6.0], [5.0, 0.0]]
    with pytest.raises(ConfigError, match="its reduction is 'mean'"):
        program([node("ScatterND", ["x", "i", "u"], ["y"], reduction="mean")], inputs, ["y"])
    inputs["i"] = np.array([[1, 9]])
    with pytest.raises(ShapeError, match="ScatterElements: index 9 is out of bounds"):
        program([node("ScatterElements", ["x", "i", "u"], ["y"])], inputs, ["y"])


def test_what_depends_on_values(device: Device) -> None:
    x = np.array([[0, 3], [4, 0]])
    nodes = [
        node("NonZero", ["x"], ["places"]),
        node("NonZero", ["n"], ["one"]),
        node("Compress", ["x", "b"], ["rows"], axis=0),
        node("Compress", ["x", "b4"], ["all"]),
    ]
    b = np.array([False, True])
    constants = {"b": b, "b4": np.array([True, True, False]), "n": np.array(7)}
    places, one, rows, flat = program(
        nodes, {"x": x}, ["places", "one", "rows", "all"], constants=constants, device=device
    )
    assert (places.tolist(), places.dtype) == ([[0, 1], [1, 0]], np.int64)
    assert one.shape == (0, 1)
    assert rows.tolist() == [[4, 0]]
    assert flat.tolist() == [0, 3]


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_one_hot(device: Device, dtype: str) -> None:
    constants = {"d": np.array(3), "v": np.array([-1.0, 5.0], np.float32)}
    x = np.array([0, -1, 3]).astype(dtype)  # 3 is beyond the depth: nothing is on
    (y,) = program([node("OneHot", ["x", "d", "v"], ["y"])], {"x": x}, ["y"], constants=constants, device=device)
    assert (y.dtype, y.tolist()) == (np.float32, [[5, -1, -1], [-1, -1, 5], [-1, -1, -1]])
    nodes = [node("OneHot", ["x", "d", "v"], ["y"], axis=0)]
    (y,) = program(nodes, {"x": x}, ["y"], constants=constants, device=device)
    assert y.tolist() == [[5, -1, -1], [-1, -1, -1], [-1, 5, -1]]


@pytest.mark.parametrize(("depth", "words"), [(0, "depth 0 and axis -1"), (2**50, "a one-hot array .* would take")])
def test_one_hot_of_a_depth_that_cannot_be(depth: int, words: str) -> None:
    constants = {"d": np.array(depth), "v": np.array([0.0, 1.0], np.float32)}
    with pytest.raises(ShapeError, match=words):
        program([node("OneHot", ["x", "d", "v"], ["y"])], {"x": np.array([0])}, ["y"], constants=constants)


@pytest.mark.parametrize("time", [0, 1])
def test_reverse_sequence(device: Device, time: int) -> None:
    x = np.array([[[1, 1], [2, 2], [3, 3]], [[4, 4], [5, 5], [6, 6]]])  # two sequences of three steps
    want = np.array([[[2, 2], [1, 1], [3, 3]], [[6, 6], [5, 5], [4, 4]]])
    given = x if time == 1 else x.swapaxes(0, 1)
    nodes = [node("ReverseSequence", ["x", "n"], ["y"], time_axis=time, batch_axis=1 - time)]
    (y,) = program(nodes, {"x": given, "n": np.array([2, 3])}, ["y"], device=device)
    np.testing.assert_array_equal(y if time == 1 else y.swapaxes(0, 1), want)
    with pytest.raises(ShapeError, match=r"ReverseSequence: axes .* lengths of \(5,\)"):
        program(nodes, {"x": given, "n": np.ones(5, np.int64)}, ["y"])


@pytest.mark.parametrize(("ranked", "order"), [(1, [0, 1, 2]), (0, [1, 2, 0])])
def test_unique(device: Device, ranked: int, order: list[int]) -> None:
    x = np.array([[5, 7], [1, 5]])
    names = ["values", "first", "which", "counts"]
    found = program([node("Unique", ["x"], names, sorted=ranked)], {"x": x}, names, device=device)
    values = np.array([1, 5, 7])[order]
    assert found[0].tolist() == values.tolist()
    assert found[1].tolist() == np.array([2, 0, 1])[order].tolist()
    np.testing.assert_array_equal(values[found[2]], x.ravel())
    assert found[3].tolist() == np.array([1, 2, 1])[order].tolist()


def test_unique_rows() -> None:
    x = np.array([[1.0, 2.0], [0.0, 3.0], [1.0, 2.0]])
    y, counts = program([node("Unique", ["x"], ["y", "", "", "n"], axis=0)], {"x": x}, ["y", "n"])
    assert (y.tolist(), counts.tolist()) == ([[0.0, 3.0], [1.0, 2.0]], [1, 2])
