"""MatMul and Gemm of ONNX: layers with a matrix of their own in a Network, whole arrays in a Program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracles_nd
from tests.onnx.making import model, node
from xpcnn import layers
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.onnx import load
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model

Ints = tuple[int, ...]


def _whole_numbers(*shapes: Ints) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [np.asarray(random.integers(-3, 4, shape)).astype(np.float32) for shape in shapes]


def _proto(op: str, names: list[str], x: Ints, constants: dict[str, np.ndarray], **how: Any) -> Any:
    return model([node(op, names, ["y"], "node1", **how)], {"x": ["N", *x[1:]]}, ["y"], constants)


def _both_ways(proto: Any, x: np.ndarray, want: np.ndarray, device: Any) -> OnnxNetwork:
    """That the model gives `want` as a Network and as a Program (whole numbers: exact)."""
    network, program = load(proto, device), Program(read_model(proto), device)
    assert isinstance(network, OnnxNetwork), network.why
    given = network.device.asarray(x)
    np.testing.assert_array_equal(asnumpy(network.run({"x": given})["y"]), want)
    np.testing.assert_array_equal(asnumpy(program.run({"x": given})["y"]), want)
    return network


# ------------------------------------------------------------------------------------------------------ MatMul
@pytest.mark.parametrize(
    ("x", "W", "left", "kind"),
    [
        ((2, 3), (3, 4), False, layers.Affine),
        ((2, 5, 3), (3, 4), False, layers.Projection),
        ((2, 5, 3), (3,), False, layers.Projection),
        ((2, 6, 5, 3), (6, 3, 2), False, layers.Projection),
        ((2, 3, 5), (4, 3), True, layers.Projection),
    ],
)
def test_a_matrix_of_its_own(device: Device, x: Ints, W: Ints, left: bool, kind: type) -> None:
    given, weights = _whole_numbers(x, W)
    names, arrays = (["W", "x"], (weights, given)) if left else (["x", "W"], (given, weights))
    proto = _proto("MatMul", names, x, {"W": weights})
    network = _both_ways(proto, given, oracles_nd.matmul(*arrays), device)
    assert type(network.layers["node1"]) is kind
    assert list(network.params) == ["node1.W"]


def test_two_values_of_the_same_samples(device: Device) -> None:
    (x,) = _whole_numbers((2, 3, 3))
    network = _both_ways(_proto("MatMul", ["x", "x"], x.shape, {}), x, oracles_nd.matmul(x, x), device)
    assert type(network.layers["node1"]) is layers.MatMul


@pytest.mark.parametrize(
    ("names", "x", "W"),
    [
        (["x", "x"], (3, 3), None),
        (["W", "x"], (3, 2), (4, 3)),
        (["x", "W"], (2, 5, 3), (2, 3, 4)),  # a matrix for each sample's place in the batch
        (["x", "W"], (2, 3), (5, 3, 4)),
    ],
)
def test_products_across_samples_are_a_program(names: list[str], x: Ints, W: Ints | None) -> None:
    given, weights = _whole_numbers(x, W or ())
    constants = {} if W is None else {"W": weights}
    loaded = load(_proto("MatMul", names, x, constants))
    assert isinstance(loaded, Program)
    assert "node 'node1' (MatMul)" in loaded.why
    values = {"x": given, **constants}
    np.testing.assert_array_equal(loaded.run({"x": given})["y"], oracles_nd.matmul(*(values[n] for n in names)))


def test_whole_numbers(device: Device) -> None:
    a, b = np.arange(6).reshape(2, 3), np.arange(3, 9).reshape(3, 2)
    proto = model([node("MatMul", ["a", "b"], ["y"], "node1")], {"a": [2, 3], "b": [3, 2]}, ["y"], kind=7)  # int64
    y = Program(read_model(proto), device).run({"a": device.asarray(a), "b": device.asarray(b)})["y"]
    assert y.dtype == np.int64
    assert asnumpy(y).tolist() == [[19, 22], [64, 76]]


# -------------------------------------------------------------------------------------------------------- Gemm
@pytest.mark.parametrize("c", [None, (), (1,), (4,), (1, 4), (1, 1)])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, -2.0), (1.0, 0.0)])
def test_an_affine_layer(device: Device, c: Ints | None, trans_b: int, alpha: float, beta: float) -> None:
    x, B, C = _whole_numbers((2, 3), (4, 3) if trans_b else (3, 4), c or ())
    constants = {"B": B} if c is None else {"B": B, "C": C}
    proto = _proto("Gemm", ["x", *constants], x.shape, constants, transB=trans_b, alpha=alpha, beta=beta)
    want = alpha * oracles_nd.matmul(x, B.T if trans_b else B) + (0.0 if c is None else beta * C)
    network = _both_ways(proto, x, want, device)
    layer = network.layers["node1"]
    assert type(layer) is layers.Affine
    assert layer.W.flags.c_contiguous
    assert ("b" in layer.params) == (c is not None and beta != 0.0)


def test_an_affine_layer_and_a_sum(device: Device) -> None:
    """c is a value of the samples: as long as it is as large as the product, both are layers."""
    x, B = _whole_numbers((2, 3), (3, 3))
    network = _both_ways(_proto("Gemm", ["x", "B", "x"], x.shape, {"B": B}), x, oracles_nd.matmul(x, B) + x, device)
    assert [type(layer) for layer in network.layers.values()] == [layers.Affine, layers.Add]


@pytest.mark.parametrize(
    ("names", "how", "C"),
    [
        (["x", "x"], {"transB": 1}, None),
        (["x", "B"], {"transA": 1}, None),
        (["B", "x"], {}, None),
        (["x", "B", "x"], {"beta": 2.0}, None),
        (["x", "B", "C"], {}, (3, 1)),
        (["x", "B", "C"], {}, (3, 3)),
    ],
)
def test_what_mixes_samples_is_a_program(names: list[str], how: dict[str, Any], C: Ints | None) -> None:
    x, B, c = _whole_numbers((3, 3), (3, 3), C or ())
    constants = {name: a for name, a in (("B", B), ("C", c)) if name in names}
    loaded = load(_proto("Gemm", names, x.shape, constants, **how))
    assert isinstance(loaded, Program)
    assert "node 'node1' (Gemm)" in loaded.why
    values = {"x": x, **constants}
    left, right = values[names[0]], values[names[1]]
    product = oracles_nd.matmul(left.T if "transA" in how else left, right.T if "transB" in how else right)
    want = product + (how.get("beta", 1.0) * values[names[2]] if len(names) > 2 else 0.0)
    np.testing.assert_array_equal(loaded.run({"x": x})["y"], want)


@pytest.mark.parametrize(
    ("B", "C", "words"),
    [
        ((3,), (4,), r"takes two matrices, .*\(3,\)"),
        ((3, 4), (3,), r"c of shape \(3,\) does not .*"),
    ],
)
def test_shapes_that_do_not_fit(B: Ints, C: Ints, words: str) -> None:
    x, b, c = _whole_numbers((2, 3), B, C)
    loaded = load(_proto("Gemm", ["x", "B", "C"], x.shape, {"B": b, "C": c}))
    assert isinstance(loaded, Program)
    assert "node 'node1' (Gemm)" in loaded.why
    with pytest.raises(ShapeError, match=words):
        loaded.run({"x": x})
