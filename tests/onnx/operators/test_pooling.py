"""Poolings of ONNX models: which layers they become, and what ONNX's own tests leave open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests import pooling_oracles
from tests.onnx.making import model, node
from xpcnn.device import Device, asnumpy
from xpcnn.errors import XpcnnError
from xpcnn.layers import GlobalPooling, Pooling, PoolingND
from xpcnn.onnx import load
from xpcnn.onnx.call import UnsupportedOperator
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model
from xpcnn.ops.reference.pooling_nd import Windows


def _model(op: str, sizes: tuple[int, ...], outputs: tuple[str, ...] = ("y",), opset: int = 22, **how: Any) -> Any:
    return model([node(op, ["x"], outputs, "pool", **how)], {"x": ["N", 2, *sizes]}, outputs, opset=opset)


def _x(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("op", "sizes", "how", "kind"),
    [
        ("MaxPool", (8, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, Pooling),
        ("MaxPool", (8, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, Pooling),
        ("MaxPool", (8, 7), {"kernel_shape": [2, 2], "dilations": [2, 1]}, PoolingND),
        ("MaxPool", (9,), {"kernel_shape": [2]}, PoolingND),
        ("AveragePool", (8, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, Pooling),
        ("AveragePool", (8, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1}, Pooling),
        (
            "AveragePool",
            (8, 7),
            {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1, "count_include_pad": 1},
            PoolingND,
        ),
        ("LpPool", (8, 7), {"kernel_shape": [2, 2], "p": 3}, PoolingND),
        ("GlobalMaxPool", (8, 7), {}, GlobalPooling),
        ("GlobalLpPool", (8, 7), {"p": 3}, GlobalPooling),
    ],
)
def test_a_network_has_the_faster_layer_and_does_the_same(
    device: Device, op: str, sizes: tuple[int, ...], how: dict[str, Any], kind: type
) -> None:
    proto, x = _model(op, sizes, **how), _x(3, 2, *sizes)
    network = load(proto, device)
    assert isinstance(network, OnnxNetwork)
    (layer,) = network.layers.values()
    assert type(layer) is kind
    y = asnumpy(network.run({"x": device.asarray(x)})["y"])
    want = asnumpy(Program(read_model(proto), device).run({"x": device.asarray(x)})["y"])
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, want, rtol=0.0, atol=1e-6)  # means of nine numbers of about 1, in either order


@pytest.mark.parametrize(
    ("op", "opsets"),
    [
        ("MaxPool", (6, 8, 10, 11, 12, 22)),
        ("AveragePool", (6, 7, 10, 11, 19, 22)),
        ("LpPool", (6, 11, 18, 22)),
        ("GlobalAveragePool", (6, 22)),
        ("GlobalMaxPool", (6, 22)),
        ("GlobalLpPool", (6, 22)),
    ],
)
def test_every_opset(op: str, opsets: tuple[int, ...]) -> None:
    windows = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]} if "Global" not in op else {}
    results = [load(_model(op, (5, 4), opset=opset, **windows)).run({"x": _x(2, 2, 5, 4)})["y"] for opset in opsets]
    for y in results[1:]:
        np.testing.assert_array_equal(y, results[0])


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8])
@pytest.mark.parametrize("order", [0, 1])
def test_places_in_the_whole_array(device: Device, kind: int, order: int) -> None:
    x = np.random.default_rng(1).integers(0, 120, (2, 2, 5, 6))
    x = x.astype({TensorProto.FLOAT: "float32", TensorProto.INT8: "int8", TensorProto.UINT8: "uint8"}[kind])
    pool = node("MaxPool", ["x"], ["y", "i"], "pool", kernel_shape=[2, 3], strides=[2, 2], storage_order=order)
    program = load(model([pool], {"x": ["N", 2, 5, 6]}, ["y", "i"], opset=22, kind=kind), device)
    assert isinstance(program, Program)
    found = program.run({"x": device.asarray(x)})
    y, places, _ = pooling_oracles.max_pool(x, Windows((2, 3), (2, 2), (0,) * 4, (1, 1)))
    if order:
        places = np.ravel_multi_index(np.unravel_index(places, (5, 6)), (5, 6), order="F")
    places = places + (np.arange(4) * 30).reshape(2, 2, 1, 1)
    assert (found["y"].dtype, found["i"].dtype) == (x.dtype, np.int64)
    np.testing.assert_array_equal(asnumpy(found["y"]), y)
    np.testing.assert_array_equal(asnumpy(found["i"]), places)


@pytest.mark.parametrize("more", [0, 1])
def test_there_and_back(device: Device, more: int) -> None:
    x = _x(2, 3, 4, 6)
    windows = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("MaxPool", ["x"], ["p", "i"], "pool", **windows),
        node("MaxUnpool", ["p", "i", "s"], ["y"], "unpool", **windows),
    ]
    shape = np.array([2, 3, 4 + more, 6 + more])
    program = load(model(nodes, {"x": ["N", 3, 4, 6]}, ["y"], {"s": shape}, opset=22), device)
    y = asnumpy(program.run({"x": device.asarray(x)})["y"])
    largest = x.reshape(2, 3, 2, 2, 3, 2).max(axis=(3, 5)).repeat(2, axis=2).repeat(2, axis=3)
    want = np.zeros(shape)
    want[:, :, :4, :6] = np.where(x == largest, x, 0.0)
    np.testing.assert_array_equal(y, want)


def test_what_is_not_known() -> None:
    for how, words in [
        ({"kernel_shape": [9]}, "a window of 9 does not fit an input of 6"),
        ({"kernel_shape": [2, 2]}, "the pooling window must be .* or 1 of them"),
        ({"kernel_shape": [2], "pads": [0, -1]}, "none negative"),
        ({"kernel_shape": [2], "pads": [2, 0]}, "needs pads smaller than itself"),
    ]:
        with pytest.raises(XpcnnError, match=f"node 'pool' .*{words}"):
            load(_model("MaxPool", (6,), **how)).run({"x": _x(1, 2, 6)})
    unpool = node("MaxUnpool", ["x", "i", "s"], ["y"], "unpool", kernel_shape=[2], strides=[2])
    constants = {"i": np.array([[[0, 2]]]), "s": np.array([1, 1, 3])}
    program = load(model([unpool], {"x": [1, 1, 2]}, ["y"], constants, opset=22))
    with pytest.raises(UnsupportedOperator, match="node 'unpool' .* smaller than what its windows cover"):
        program.run({"x": _x(1, 1, 2)})
