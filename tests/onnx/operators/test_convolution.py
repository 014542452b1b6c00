"""Conv and ConvTranspose of ONNX against sums over indices, as a Network and as a Program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracles_nd
from tests.onnx.making import model, node
from xpcnn import layers
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.onnx import load
from xpcnn.onnx.call import UnsupportedOperator
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model


def _whole_numbers(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(-3, 4, shape).astype(np.float32) for shape in shapes]


def _check(op: str, x: np.ndarray, constants: dict[str, np.ndarray], want: np.ndarray, device: Any, **how: Any) -> Any:
    """That the model gives `want` both ways (whole numbers: exact). Returns the layer of the Network."""
    proto = model([node(op, ["x", *constants], ["y"], "node1", **how)], {"x": ["N", *x.shape[1:]]}, ["y"], constants)
    network, program = load(proto, device), Program(read_model(proto), device)
    assert isinstance(network, OnnxNetwork)
    given = network.device.asarray(x)
    np.testing.assert_array_equal(asnumpy(network.run({"x": given})["y"]), want)
    np.testing.assert_array_equal(asnumpy(program.run({"x": given})["y"]), want)
    assert list(network.layers) == ["node1"]
    return network.layers["node1"]


# -------------------------------------------------------------------------------------------------------- Conv
@pytest.mark.parametrize(
    ("x", "W", "how", "plain"),
    [
        ((2, 2, 7), (3, 2, 3), {}, ((1,), (0, 0), (1,), 1)),
        ((2, 2, 7), (4, 1, 3), {"group": 2, "pads": [2, 0], "strides": [2]}, ((2,), (2, 0), (1,), 2)),
        ((2, 2, 6, 5), (3, 2, 2, 3), {"kernel_shape": [2, 3]}, ((1, 1), (0, 0, 0, 0), (1, 1), 1)),
        ((2, 2, 6, 5), (3, 2, 2, 3), {"pads": [1, 0, 0, 2]}, ((1, 1), (1, 0, 0, 2), (1, 1), 1)),
        ((1, 2, 6, 7), (2, 2, 2, 3), {"dilations": [2, 3], "strides": [1, 2]}, ((1, 2), (0,) * 4, (2, 3), 1)),
        ((1, 1, 3, 4, 3), (2, 1, 2, 2, 2), {"pads": [0, 1, 0, 1, 0, 0]}, ((1,) * 3, (0, 1, 0, 1, 0, 0), (1,) * 3, 1)),
        ((2, 1, 5, 6), (1, 1, 2, 2), {"auto_pad": "VALID"}, ((1, 1), (0,) * 4, (1, 1), 1)),
        ((2, 1, 5, 6), (1, 1, 2, 3), {"auto_pad": "SAME_UPPER", "strides": [1, 2]}, ((1, 2), (0, 0, 1, 1), (1, 1), 1)),
        ((2, 1, 5, 6), (1, 1, 2, 3), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}, ((1, 2), (1, 1, 0, 0), (1, 1), 1)),
        ((2, 1, 5), (1, 1, 3), {"auto_pad": "NOTSET", "pads": [1, 1]}, ((1,), (1, 1), (1,), 1)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_conv(device: Device, x: Any, W: Any, how: dict[str, Any], plain: Any, bias: bool) -> None:
    x, W, b = _whole_numbers(x, W, W[:1])
    constants = {"W": W, "b": b} if bias else {"W": W}
    want = oracles_nd.conv(x, W, b if bias else None, *plain)
    layer = _check("Conv", x, constants, want, device, **how)
    assert type(layer) is (layers.Convolution if x.ndim == 4 else layers.ConvolutionND)


def test_filters_that_are_calculated_from_samples() -> None:
    nodes = [node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2]), node("Conv", ["x", "p"], ["y"])]
    loaded = load(model(nodes, {"x": [1, 1, 3, 3]}, ["y"]))
    assert isinstance(loaded, Program)
    (x,) = _whole_numbers((1, 1, 3, 3))
    W = np.array([[[[x[0, 0, i : i + 2, j : j + 2].max() for j in range(2)] for i in range(2)]]])
    want = oracles_nd.conv(x, W, None, (1, 1), (0,) * 4, (1, 1), 1)
    np.testing.assert_array_equal(loaded.run({"x": x})["y"], want)


# ----------------------------------------------------------------------------------------------- ConvTranspose
@pytest.mark.parametrize(
    ("x", "W", "how", "plain"),  # plain: stride, pads, output_pad, dilation, groups
    [
        ((2, 2, 4), (2, 3, 3), {}, ((1,), (0, 0), (0,), (1,), 1)),
        ((2, 2, 4), (2, 3, 3), {"strides": [2], "output_padding": [1]}, ((2,), (0, 0), (1,), (1,), 1)),
        ((1, 2, 3, 3), (2, 1, 2, 3), {"group": 2, "pads": [1, 0, 0, 2]}, ((1, 1), (1, 0, 0, 2), (0, 0), (1, 1), 2)),
        (
            (1, 1, 2, 3),
            (1, 2, 2, 2),
            {"dilations": [2, 1], "kernel_shape": [2, 2]},
            ((1, 1), (0,) * 4, (0, 0), (2, 1), 1),
        ),
        ((1, 1, 2, 2, 2), (1, 1, 2, 2, 2), {"strides": [1, 2, 1]}, ((1, 2, 1), (0,) * 6, (0,) * 3, (1,) * 3, 1)),
        # output_shape 8 of 9: one is cut off, at the end only for SAME_UPPER.
        ((1, 1, 4), (1, 1, 3), {"strides": [2], "output_shape": [8]}, ((2,), (1, 0), (0,), (1,), 1)),
        (
            (1, 1, 4),
            (1, 1, 3),
            {"strides": [2], "output_shape": [8], "auto_pad": "SAME_UPPER"},
            ((2,), (0, 1), (0,), (1,), 1),
        ),
        ((1, 1, 4), (1, 1, 3), {"strides": [2], "output_shape": [1, 1, 6]}, ((2,), (2, 1), (0,), (1,), 1)),
        ((1, 1, 4), (1, 1, 3), {"strides": [2], "output_shape": [12]}, ((2,), (0, 0), (3,), (1,), 1)),  # grows
        ((1, 1, 4), (1, 1, 3), {"strides": [2], "auto_pad": "SAME_UPPER"}, ((2,), (0, 1), (0,), (1,), 1)),
        ((1, 1, 4), (1, 1, 3), {"strides": [2], "auto_pad": "SAME_LOWER"}, ((2,), (1, 0), (0,), (1,), 1)),
        ((1, 1, 3), (1, 1, 2), {"strides": [4], "auto_pad": "SAME_UPPER"}, ((4,), (0, 0), (2,), (1,), 1)),
        ((1, 1, 3), (1, 1, 2), {"auto_pad": "VALID"}, ((1,), (0, 0), (0,), (1,), 1)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_conv_transpose(device: Device, x: Any, W: Any, how: dict[str, Any], plain: Any, bias: bool) -> None:
    x, W, b = _whole_numbers(x, W, (W[1] * plain[-1],))
    constants = {"W": W, "b": b} if bias else {"W": W}
    want = oracles_nd.conv_transpose(x, W, b if bias else None, *plain)
    layer = _check("ConvTranspose", x, constants, want, device, **how)
    assert type(layer) is layers.TransposedConvolution
    if "SAME" in how.get("auto_pad", "") and "output_shape" not in how:
        assert want.shape[2:] == tuple(n * s for n, s in zip(x.shape[2:], how["strides"], strict=True))


# ------------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("op", "how", "error", "words"),
    [
        (
            "Conv",
            {"kernel_shape": [2]},
            ConfigError,
            r"node 'node1' \(Conv\): kernel_shape is \(2,\), but the filters W",
        ),
        ("Conv", {"strides": [1, 1]}, ConfigError, r"node 'node1' \(Conv\): strides has 2 numbers for 1 axes"),
        ("Conv", {"pads": [-1, 0]}, UnsupportedOperator, r"node 'node1' \(Conv\): pads that cut the input, \(-1, 0\)"),
        ("Conv", {"auto_pad": "SAME"}, ConfigError, "auto_pad is one of SAME_UPPER, SAME_LOWER and VALID"),
        ("Conv", {"group": 3}, ShapeError, "groups=3 does not divide the 2 filters"),
        ("ConvTranspose", {"auto_pad": "SAME"}, ConfigError, "auto_pad is one of NOTSET, SAME_UPPER"),
        ("ConvTranspose", {"output_padding": [1, 1]}, ConfigError, "output_padding has 2 numbers for 1 axes"),
    ],
)
def test_attributes_that_make_no_sense(op: str, how: dict[str, Any], error: type[Exception], words: str) -> None:
    constants = {"W": np.zeros((2, 2, 3), np.float32)}
    proto = model([node(op, ["x", "W"], ["y"], "node1", **how)], {"x": [1, 2, 5]}, ["y"], constants)
    with pytest.raises(error, match=words):
        Program(read_model(proto)).run({"x": np.zeros((1, 2, 5), np.float32)})


def test_filters_that_do_not_fit() -> None:
    for W, words in (
        (np.zeros((2, 2), np.float32), "W has"),
        (np.zeros((2, 2, 3, 3), np.float32), r"expected pictures of shape \(N, C, H, W\)"),
        (np.zeros((2, 1, 3), np.float32), r"needs an input \(N, 1, ...\) of 1 spatial axes"),
    ):
        proto = model([node("Conv", ["x", "W"], ["y"], "node1")], {"x": [1, 2, 5]}, ["y"], {"W": W})
        with pytest.raises((ConfigError, ShapeError), match=f"node 'node1' .*{words}"):
            Program(read_model(proto)).run({"x": np.zeros((1, 2, 5), np.float32)})
