"""An ONNX model run by PyTorch's own functions, one after the other: what the light networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional as F

__all__ = ["torch_network"]


def torch_network(model: onnx.ModelProto, channels_last: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The model's function from arrays to arrays; eager, in inference mode."""
    graph = model.graph
    memory = torch.channels_last if channels_last else torch.contiguous_format
    weights = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    for name, tensor in weights.items():
        if tensor.ndim == 4:
            weights[name] = tensor.contiguous(memory_format=memory)
    nodes = []
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Unsqueeze" and node.input[0] in weights:
            weights[node.output[0]] = _unsqueezed(weights[node.input[0]], attributes["axes"])
        else:
            nodes.append((_FUNCTIONS[node.op_type], attributes, list(node.input), node.output[0]))
    last_use = {name: i for i, (*_, inputs, _) in enumerate(nodes) for name in inputs}
    (given,), (wanted,) = graph.input, graph.output

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            values = {**weights, given.name: torch.from_numpy(x).contiguous(memory_format=memory)}
            for i, (function, attributes, inputs, output) in enumerate(nodes):
                values[output] = function(attributes, *(values[name] for name in inputs))
                for name in set(inputs):
                    if last_use[name] == i and name not in weights:
                        del values[name]
            return values[wanted.name].numpy()

    return run


def _unsqueezed(tensor: torch.Tensor, axes: list[int]) -> torch.Tensor:
    for axis in axes:
        tensor = tensor.unsqueeze(axis)
    return tensor


def _padded(x: torch.Tensor, pads: list[int], value: float) -> tuple[torch.Tensor, tuple[int, int]]:
    """x, and the pad that a function can be told; where the sides differ, x is padded here."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _conv(a: dict[str, Any], x: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    x, pad = _padded(x, a.get("pads", [0] * 4), 0.0)
    return F.conv2d(x, W, b, a.get("strides", 1), pad, a.get("dilations", 1), a.get("group", 1))


def _max_pool(a: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    x, pad = _padded(x, a.get("pads", [0] * 4), -float("inf"))
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", [1, 1]), pad)


def _average_pool(a: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    pads, size, strides = a.get("pads", [0] * 4), a["kernel_shape"], a.get("strides", [1, 1])
    counted = bool(a.get("count_include_pad", 0))
    if pads[:2] == pads[2:]:
        return F.avg_pool2d(x, size, strides, tuple(pads[:2]), False, counted)
    means = F.avg_pool2d(_padded(x, pads, 0.0)[0], size, strides)
    if counted:
        return means
    inside = _padded(torch.ones_like(x[:1, :1]), pads, 0.0)[0]
    return means / F.avg_pool2d(inside, size, strides)


def _norm(a: dict[str, Any], x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
    scale, shift, mean, var = rest
    return F.batch_norm(x, mean, var, scale, shift, False, 0.0, a.get("epsilon", 1e-5))


def _gemm(a: dict[str, Any], x: torch.Tensor, W: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return F.linear(x, W if a.get("transB", 0) else W.T, b)


def _reshape(a: dict[str, Any], x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    return x.reshape([n or x.shape[i] for i, n in enumerate(shape.tolist())])


def _softmax(a: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x.flatten(1), 1).reshape(x.shape)  # over all that follows N, as before opset 13


_FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": _norm,
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "Conv": _conv,
    "Dropout": lambda a, x: x,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "LRN": lambda a, x: F.local_response_norm(x, a["size"], a["alpha"], a["beta"], a.get("bias", 1.0)),
    "MaxPool": _max_pool,
    "Mul": lambda a, x, y: x * y,
    "Relu": lambda a, x: torch.relu(x),
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Sum": lambda a, *xs: sum(xs[1:], start=xs[0]),
    "Transpose": lambda a, x: x.permute(a["perm"]),
}
