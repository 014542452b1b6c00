"""One operator both ways: as a layer of a Network, and as a step of a Program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.onnx.making import model
from xpcnn.device import Device, asnumpy
from xpcnn.onnx import load
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model


def samples(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 2.0, shape).astype(np.float32)


def check_both_ways(
    device: Device,
    nodes: Sequence[Any],
    x: np.ndarray,
    want: np.ndarray,
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = 18,
) -> None:
    """Nodes from "x" to "y" are a Network of any N, and give `want` for x that way and as a Program."""
    proto = model(nodes, {"x": ["N", *x.shape[1:]]}, ["y"], constants, opset)
    network = load(proto, device)
    assert isinstance(network, OnnxNetwork), network.why
    given = device.asarray(x)
    for made in (network, Program(read_model(proto), device)):
        y = asnumpy(made.run({"x": given})["y"])
        assert y.dtype == np.float32
        # float32, a few operations on numbers of about 1
        np.testing.assert_allclose(y, want, rtol=2e-6, atol=1e-6)


def program(
    nodes: Sequence[Any],
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    opset: int = 18,
    constants: Mapping[str, np.ndarray] | None = None,
    device: str | Device = "cpu",
) -> list[np.ndarray]:
    """What the nodes make of arrays of any dtype."""
    import onnx

    proto = model(nodes, {name: a.shape for name, a in inputs.items()}, outputs, constants, opset)
    for value, a in zip(proto.graph.input, inputs.values(), strict=True):
        value.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(a.dtype)
    found = Program(read_model(proto), device).run(inputs)
    return [asnumpy(found[name]) for name in outputs]
