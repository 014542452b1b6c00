"""Resize and Upsample. ONNX's own tests cover the ways of Resize; here are the opsets and the Network's way."""

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

X = samples(2, 3, 4, 4)
TWICE = X.repeat(2, axis=2).repeat(3, axis=3)
SCALES = np.array([1.0, 1.0, 2.0, 3.0], np.float32)
FLOOR = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "opset"),
    [
        ("Upsample", ["x"], {"scales": [1.0, 1.0, 2.0, 3.0]}, 7),
        ("Upsample", ["x", "s"], {"mode": "nearest"}, 9),
        ("Resize", ["x", "s"], {}, 10),
        ("Resize", ["x", "none", "s"], FLOOR, 11),
        ("Resize", ["x", "", "s"], FLOOR, 13),
        ("Resize", ["x", "", "s2"], {**FLOOR, "axes": [2, -1]}, 18),
        ("Resize", ["x", "", "", "n2"], {**FLOOR, "axes": [2, 3]}, 19),
    ],
)
def test_nearest(device: Device, op: str, inputs: list[str], attributes, opset: int) -> None:
    all_constants = {
        "s": SCALES,
        "s2": SCALES[2:],
        "none": np.zeros(0, np.float32),
        "n2": np.array([8, 12], np.int64),
    }
    constants = {name: a for name, a in all_constants.items() if name in inputs}
    check_both_ways(device, [node(op, inputs, ["y"], **attributes)], X, TWICE, constants, opset)


@pytest.mark.parametrize("opset", [9, 10])
def test_linear_before_opset_11_starts_at_the_first_element(opset: int) -> None:
    op = "Upsample" if opset == 9 else "Resize"
    x = np.array([[[[1.0, 3.0]]]], np.float32)
    constants = {"s": np.array([1.0, 1.0, 1.0, 2.0], np.float32)}
    (y,) = program([node(op, ["x", "s"], ["y"], mode="linear")], {"x": x}, ["y"], opset, constants)
    assert y.tolist() == [[[[1.0, 2.0, 3.0, 3.0]]]]


@pytest.mark.parametrize("batch", ["N", 1, 5])
def test_sizes_from_a_shape(batch) -> None:
    """What exporters make of interpolate(x, size=y.shape[2:]): N's size comes out of the shape."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "zero", "two"], ["lead"]),
        node("Concat", ["lead", "new"], ["sizes"], axis=0),
        node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode="align_corners"),
    ]
    constants = {"zero": np.array([0]), "two": np.array([2]), "new": np.array([7, 7])}
    network = load(model(nodes, {"x": [batch, 3, 4, 4]}, ["y"], constants))
    assert isinstance(network, OnnxNetwork)
    y = network.run({"x": X})["y"]
    assert y.shape == (2, 3, 7, 7)
    np.testing.assert_allclose(y[:, :, ::2, ::2], X, rtol=1e-6)  # every other element is an old one


def test_a_scale_is_what_was_meant_by_its_float32() -> None:
    x, scales = np.arange(5.0, dtype=np.float32), np.array([2.6], np.float32)
    assert float(scales[0]) * 5 < 13.0
    (y,) = program([node("Resize", ["x", "", "s"], ["y"])], {"x": x}, ["y"], constants={"s": scales})
    assert y.shape == (13,)


def test_what_is_not_known() -> None:
    constants = {"s": SCALES}
    with pytest.raises(ConfigError, match="node 'y' .*coordinates: one of align_corners"):
        program([node("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="tf")], {"x": X}, ["y"],
                constants=constants)  # fmt: skip
    with pytest.raises(ConfigError, match="node 'y' .*its mode is 'area'"):
        program([node("Resize", ["x", "", "s"], ["y"], mode="area")], {"x": X}, ["y"], constants=constants)
    with pytest.raises(ConfigError, match="neither scales nor sizes"):
        program([node("Resize", ["x"], ["y"])], {"x": X}, ["y"])
    with pytest.raises(ShapeError, match="would take"):
        program([node("Resize", ["x", "", "s"], ["y"])], {"x": X}, ["y"], constants={"s": SCALES * np.float32(1e9)})


def test_samples_resized_to_more_samples_are_a_program() -> None:
    made = load(model([node("Resize", ["x", "", "s"], ["y"])], {"x": ["N", 3]}, ["y"], {"s": SCALES[2:]}))
    assert isinstance(made, Program)
    assert made.run({"x": X[:, :, 0, 0]})["y"].shape == (4, 9)
