"""Small ONNX models for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from xpcnn.layers import BatchNormalization
from xpcnn.network import Network

FLOAT = TensorProto.FLOAT


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], name: str | None = None, **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), list(outputs), name=name, **attributes)


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int | str | None]],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    kind: int = FLOAT,
) -> Any:
    """A model of these nodes; inputs: their shapes by name, all of the element type `kind`."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs],
        [numpy_helper.from_array(a, name) for name, a in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def small_cnn(batch: int | str = "N") -> Any:
    """A classifier of 5 classes on (N, 1, 6, 6)."""
    rng = np.random.default_rng(0)
    constants = {
        "W": rng.standard_normal((3, 1, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(3).astype(np.float32),
        "V": rng.standard_normal((5, 12)).astype(np.float32),
    }
    nodes = [
        node("Conv", ["x", "W", "b"], ["c"], "conv"),
        node("Relu", ["c"], ["r"], "relu"),
        node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"], "flatten"),
        node("Gemm", ["f", "V"], ["s"], "affine", transB=1),
        node("Softmax", ["s"], ["y"], "softmax", axis=1),
    ]
    return model(nodes, {"x": [batch, 1, 6, 6]}, ["y"], constants)


def save(proto: Any, path: Any) -> Any:
    onnx.save_model(proto, str(path))
    return path


def with_statistics(network: Network) -> Network:
    """The network with running statistics, scales and shifts that do something and leave something through."""
    rng = np.random.default_rng(0)
    for layer in network.layers.values():
        if isinstance(layer, BatchNormalization):
            for a, low, high in (
                (layer.state["running_mean"], -0.2, 0.2),
                (layer.state["running_var"], 0.5, 1.5),
                (layer.params["gamma"], 0.5, 1.5),
                (layer.params["beta"], -0.2, 0.5),
            ):
                a[...] = rng.uniform(low, high, a.shape)
    return network
