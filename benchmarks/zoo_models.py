"""ONNX's nine light networks with weights: the files in the package `onnx` have none to speak of.

Each is written as an ordinary model with random weights (He's, so that numbers keep their size from layer to layer),
the same for all libraries, and with the number of pictures that is asked for. Those files say 1, in their input and in
some Reshapes' shapes; the former is set, the latter become 0, which stands for the input's own size.

    python benchmarks/zoo_models.py NETWORK PICTURES FILE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["NETWORKS", "SIDE", "build_model", "pictures"]

NETWORKS = {
    "alexnet": "bvlc_alexnet",
    "densenet121": "densenet121",
    "inception_v1": "inception_v1",
    "inception_v2": "inception_v2",
    "resnet50": "resnet50",
    "shufflenet": "shufflenet",
    "squeezenet": "squeezenet",
    "vgg19": "vgg19",
    "zfnet512": "zfnet512",
}
SIDE = 224
# Sums of random branches grow from block to block; the last matrix takes that back, or one class would have it all.
_LAST = {"resnet50": 2e-3, "shufflenet": 2e-4}


def build_model(network: str, N: int) -> onnx.ModelProto:
    """The network for N pictures."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.load(folder / f"light_{NETWORKS[network]}.onnx")
    graph = model.graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    roles = _roles(graph)
    rng = np.random.default_rng(0)
    kept, weights, shapes, drawn = [], [], set(), set()
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in known:
            shape = tuple(int(n) for n in known[node.input[0]])
            role = roles.get(node.output[0], "")
            a = _draw(rng, role, shape)
            if role == "matrix":
                a *= np.float32(_LAST.get(network, 1.0))
            weights.append(numpy_helper.from_array(a, node.output[0]))
            shapes.add(node.input[0])
            drawn.add(node.output[0])
        else:
            kept.append(node)
    for node in kept:
        if node.op_type == "Reshape" and node.input[0] not in drawn and known[node.input[1]][0] == 1:
            known[node.input[1]] = np.array([0, *known[node.input[1]][1:]], np.int64)
    wanted = {name for node in kept for name in node.input}
    others = [numpy_helper.from_array(a, name) for name, a in known.items() if name in wanted - shapes]
    for field, items in ((graph.node, kept), (graph.initializer, [*weights, *others])):
        del field[:]
        field.extend(items)
    inputs = [value for value in graph.input if value.name in wanted and value.name not in known]
    del graph.input[:]
    graph.input.extend(inputs)
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = N
    del graph.value_info[:]
    return model


def _roles(graph: Any) -> dict[str, str]:
    """What each constant is for, by name."""
    roles = {}
    behind = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Unsqueeze"}
    users = [(node.op_type, i, name) for node in graph.node for i, name in enumerate(node.input)]
    for name, after in behind.items():
        users += [(kind, i, name) for kind, i, used in list(users) if used == after]
    words = {("Conv", 1): "filters", ("Gemm", 1): "matrix", ("BatchNormalization", 1): "scale", ("Mul", 1): "scale"}
    words[("BatchNormalization", 4)] = "variance"
    for kind, i, name in users:
        if (kind, i) in words:
            roles[name] = words[kind, i]
    return roles


def _draw(rng: np.random.Generator, role: str, shape: tuple[int, ...]) -> np.ndarray:
    if role in ("filters", "matrix"):
        drawn = rng.standard_normal(shape, dtype=np.float32)
        drawn *= np.float32(np.sqrt(2.0 / np.prod(shape[1:])))  # a Gemm's matrix here is (outputs, inputs)
        return drawn
    if role in ("scale", "variance"):
        return rng.uniform(0.5, 1.0, shape).astype(np.float32)
    return rng.normal(0.0, 0.1, shape).astype(np.float32)


def pictures(N: int) -> np.ndarray:
    """(N, 3, 224, 224), float32."""
    return np.random.default_rng(1).standard_normal((N, 3, SIDE, SIDE), dtype=np.float32)


if __name__ == "__main__":
    onnx.save(build_model(sys.argv[1], int(sys.argv[2])), sys.argv[3])
