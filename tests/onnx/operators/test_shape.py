"""Operators that rearrange, cut, join, pad and repeat."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.making import model, node
from tests.onnx.operators.ways import check_both_ways, program, samples
from xpcnn.device import Device
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.onnx import load
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


X = samples(2, 4, 6, 3)
FAR = 2**63 - 1

# (what, node's operator, attributes, constants in order, what comes out for X, opset)
CASES = [
    ("reshape", "Reshape", {}, [ints(0, 6, -1)], X.reshape(2, 6, 12), 18),
    ("reshape -1 for N", "Reshape", {}, [ints(-1, 4, 18)], X.reshape(2, 4, 18), 18),
    ("reshape -1 for N and zeros", "Reshape", {}, [ints(-1, 0, 18)], X.reshape(2, 4, 18), 18),
    ("reshape of opset 6", "Reshape", {}, [ints(0, -1)], X.reshape(2, 72), 6),
    ("flatten", "Flatten", {}, [], X.reshape(2, 72), 18),
    ("flatten from the end", "Flatten", {"axis": -3}, [], X.reshape(2, 72), 18),
    ("transpose", "Transpose", {"perm": [0, 2, 3, 1]}, [], X.transpose(0, 2, 3, 1), 18),
    ("unsqueeze", "Unsqueeze", {}, [ints(1, -1)], X[:, None, ..., None], 18),
    ("unsqueeze by attribute", "Unsqueeze", {"axes": [2]}, [], X[:, :, None], 11),
    ("depth to space", "DepthToSpace", {"blocksize": 2}, [],
     X.reshape(2, 2, 2, 1, 6, 3).transpose(0, 3, 4, 1, 5, 2).reshape(2, 1, 12, 6), 10),
    ("depth to space CRD", "DepthToSpace", {"blocksize": 2, "mode": "CRD"}, [],
     X.reshape(2, 1, 2, 2, 6, 3).transpose(0, 1, 4, 2, 5, 3).reshape(2, 1, 12, 6), 13),
    ("space to depth", "SpaceToDepth", {"blocksize": 3}, [],
     X.reshape(2, 4, 2, 3, 1, 3).transpose(0, 3, 5, 1, 2, 4).reshape(2, 36, 2, 1), 13),
    ("slice", "Slice", {}, [ints(1, -4), ints(3, FAR), ints(1, 2), ints(1, 2)], X[:, 1:3, -4::2], 18),
    ("slice of all samples", "Slice", {}, [ints(0, 1), ints(FAR, 4)], X[:, 1:4], 10),
    ("slice backwards", "Slice", {}, [ints(-1), ints(-FAR), ints(3), ints(-1)], X[..., ::-1], 13),
    ("slice backwards from before", "Slice", {}, [ints(-9), ints(-FAR), ints(2), ints(-1)], X[:, :, :1], 13),
    ("slice by attributes", "Slice", {"starts": [0, 1], "ends": [9999999, -1], "axes": [0, 2]}, [], X[:, :, 1:-1], 9),
    ("pad", "Pad", {}, [ints(0, 0, 1, 2, 0, 0, 0, 3), np.array(0.5, np.float32)],
     np.pad(X, [(0, 0), (0, 0), (1, 0), (2, 3)], constant_values=0.5), 13),
    ("pad by attributes", "Pad", {"pads": [0, 0, 1, 2, 0, 0, -1, 3], "mode": "edge"}, [],
     np.pad(X, [(0, 0), (0, 0), (1, 0), (2, 3)], "edge")[:, :, :-1], 10),
    ("pad some axes", "Pad", {"mode": "reflect"}, [ints(1, 2), "", ints(-1)],
     np.pad(X, [(0, 0), (0, 0), (0, 0), (1, 2)], "reflect"), 18),
    ("pad around", "Pad", {"mode": "wrap"}, [ints(1, 2), "", ints(2)],
     np.pad(X, [(0, 0), (0, 0), (1, 2), (0, 0)], "wrap"), 19),
    ("crop and pad", "CenterCropPad", {"axes": [2, 3]}, [ints(3, 6)],
     np.pad(X[:, :, 1:4], [(0, 0), (0, 0), (0, 0), (1, 2)]), 18),
    ("expand", "Expand", {}, [ints(1, 4, 6, 3)], X, 18),
    ("tile", "Tile", {}, [ints(1, 2, 1, 3)], np.tile(X, (1, 2, 1, 3)), 18),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "attributes", "given", "want", "opset"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_both_ways(device: Device, op: str, attributes, given, want: np.ndarray, opset: int) -> None:
    names = ["" if isinstance(a, str) else f"c{i}" for i, a in enumerate(given)]
    constants = {name: a for name, a in zip(names, given, strict=True) if name}
    check_both_ways(device, [node(op, ["x", *names], ["y"], **attributes)], X, want, constants, opset)


def test_squeeze(device: Device) -> None:
    x = samples(2, 3, 1, 1)
    for opset, attributes, constants in [(18, {}, {"a": ints(2, 3)}), (11, {"axes": [-1, 2]}, {})]:
        nodes = [node("Squeeze", ["x", *constants], ["y"], **attributes)]
        check_both_ways(device, nodes, x, x.reshape(2, 3), constants, opset)


def test_squeeze_without_axes_leaves_out_a_single_sample(device: Device) -> None:
    made = load(model([node("Squeeze", ["x"], ["y"])], {"x": ["N", 3, 1]}, ["y"]), device)
    assert isinstance(made, Program)
    for x, shape in [(samples(2, 3, 1), (2, 3)), (samples(1, 3, 1), (3,))]:
        assert made.run({"x": x})["y"].shape == shape


@pytest.mark.parametrize("axis", [1, -1])
def test_concat(device: Device, axis: int) -> None:
    nodes = [node("Relu", ["x"], ["r"]), node("Concat", ["x", "r", "x"], ["y"], axis=axis)]
    check_both_ways(device, nodes, X, np.concatenate([X, X, X], axis))


@pytest.mark.parametrize(
    ("opset", "constants", "attributes", "cut"),
    [
        (11, {}, {"axis": 1, "split": [1, 3]}, 1),
        (13, {"w": ints(1, 3)}, {"axis": 1}, 1),
        (13, {}, {"axis": -3}, 2),
        (18, {}, {"axis": 1, "num_outputs": 2}, 2),
    ],
)
def test_split(device: Device, opset: int, constants, attributes, cut: int) -> None:
    nodes = [node("Split", ["x", *constants], ["a", "b"], **attributes), node("Concat", ["b", "a"], ["y"], axis=1)]
    check_both_ways(device, nodes, X, np.concatenate([X[:, cut:], X[:, :cut]], 1), constants, opset)


def test_split_into_parts_that_are_not_alike() -> None:
    a, b, c = program([node("Split", ["x"], ["a", "b", "c"], num_outputs=3)], {"x": np.arange(7.0)}, ["a", "b", "c"])
    assert (a.tolist(), b.tolist(), c.tolist()) == ([0, 1, 2], [3, 4, 5], [6])
    with pytest.raises(ConfigError, match=r"parts of \[1, 1\] for 2 outputs from an axis of 7"):
        program([node("Split", ["x", "w"], ["a", "b"])], {"x": np.arange(7.0)}, ["a", "b"], constants={"w": ints(1, 1)})


@pytest.mark.parametrize("batch", ["N", 1, 7])
def test_a_view_by_its_own_size_folds_away(batch) -> None:
    """What PyTorch makes of x.view(x.size(0), -1)."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "zeros"], ["n1"]),
        node("Concat", ["n1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"zero": np.array(0, np.int64), "zeros": ints(0), "rest": ints(-1)}
    network = load(model(nodes, {"x": [batch, 2, 3]}, ["y"], constants))
    assert isinstance(network, OnnxNetwork)
    assert len(network.layers) == 1
    x = samples(5, 2, 3)
    np.testing.assert_array_equal(network.run({"x": x})["y"], x.reshape(5, 6))


def test_a_channel_shuffle_by_reshapes() -> None:
    nodes = [
        node("Reshape", ["x", "apart"], ["a"]),
        node("Transpose", ["a"], ["t"], perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["t", "together"], ["y"]),
    ]
    constants = {"apart": ints(-1, 2, 2, 6, 3), "together": ints(-1, 4, 6, 3)}
    network = load(model(nodes, {"x": ["N", 4, 6, 3]}, ["y"], constants))
    assert isinstance(network, OnnxNetwork)
    np.testing.assert_array_equal(network.run({"x": X})["y"], X[:, [0, 2, 1, 3]])


def test_where_there_is_one_sample_only_its_own_axis_is_left_whole() -> None:
    nodes = [node("Slice", ["x", "starts", "ends"], ["y"])]
    network = load(model(nodes, {"x": [1, 4, 6, 3]}, ["y"], {"starts": ints(0, 0, 0), "ends": ints(1, 2, 5)}))
    assert isinstance(network, OnnxNetwork)
    np.testing.assert_array_equal(network.run({"x": X})["y"], X[:, :2, :5])


MIXING = [
    (node("Reshape", ["x", "c"], ["y"]), ints(3, -1), X.reshape(3, -1)),
    (node("Reshape", ["x", "c"], ["y"]), ints(-1, 3), X.reshape(-1, 3)),
    (node("Transpose", ["x"], ["y"]), ints(0), X.transpose()),
    (node("Concat", ["x", "x"], ["y"], axis=0), ints(0), np.concatenate([X, X])),
    (node("Slice", ["x", "c", "c2"], ["y"]), ints(1), X[1:2]),
    (node("Flatten", ["x"], ["y"], axis=2), ints(0), X.reshape(8, 18)),
    (node("Squeeze", ["x"], ["y"]), ints(0), X),
    (node("Unsqueeze", ["x", "c"], ["y"]), ints(0), X[None]),
    (node("Expand", ["x", "c"], ["y"]), ints(2, 2, 4, 6, 3), np.stack([X, X])),
    (node("Tile", ["x", "c"], ["y"]), ints(2, 1, 1, 1), np.tile(X, (2, 1, 1, 1))),
    (node("Shape", ["x"], ["y"], start=1), ints(0), np.array(X.shape[1:])),
    (node("Size", ["x"], ["y"]), ints(0), np.array(X.size)),
    (node("CenterCropPad", ["x", "c"], ["y"]), ints(4, 4, 6, 3), np.pad(X, [(1, 1), (0, 0), (0, 0), (0, 0)])),
]


@pytest.mark.parametrize(("mixing", "c", "want"), MIXING, ids=[m[0].op_type for m in MIXING])
def test_what_mixes_samples_is_a_program(device: Device, mixing, c: np.ndarray, want: np.ndarray) -> None:
    batch = 1 if mixing.op_type == "Squeeze" else "N"
    x = X[:1] if batch == 1 else X
    want = want[0] if batch == 1 else want
    made = load(model([mixing], {"x": [batch, 4, 6, 3]}, ["y"], {"c": c, "c2": c + 1}, opset=18), device)
    assert isinstance(made, Program)
    assert made.why
    np.testing.assert_array_equal(device.asnumpy(made.run({"x": x})["y"]), want)


def test_shapes_and_sizes() -> None:
    nodes = [
        node("Shape", ["x"], ["all"]),
        node("Shape", ["x"], ["some"], start=-2, end=9),
        node("Size", ["x"], ["size"]),
        node("Reshape", ["x", "c"], ["y"], allowzero=1),
    ]
    x = np.zeros((0, 4, 6))
    found = program(nodes, {"x": x}, ["all", "some", "size", "y"], constants={"c": ints(0, 3)})
    assert [a.tolist() for a in found[:3]] == [[0, 4, 6], [4, 6], 0]
    assert found[3].shape == (0, 3)


@pytest.mark.parametrize(
    ("op", "c"), [("Expand", ints(2**40, 2**20)), ("Tile", ints(2**40, 2**20)), ("Pad", ints(0, 2**50, 0, 0))]
)
def test_sizes_that_no_machine_has(op: str, c: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="would take"):
        program([node(op, ["x", "c"], ["y"])], {"x": np.ones((1, 1))}, ["y"], constants={"c": c})


def test_pads_that_are_too_few() -> None:
    with pytest.raises(ConfigError, match="node 'y' .*2 pads for 2 axes"):
        program([node("Pad", ["x", "c"], ["y"])], {"x": np.ones((1, 1))}, ["y"], constants={"c": ints(1, 1)})
