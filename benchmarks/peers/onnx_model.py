"""The workload's network as an ONNX model, made with the `onnx` package's helper from the parameters all others have.

As a script it writes the file for onnxruntime's worker, so that the worker's memory is measured without `onnx` in it:
    python -m peers.onnx_model NET BATCH FILE
"""

from __future__ import annotations

import sys

import onnx
from onnx import TensorProto, helper, numpy_helper
from workloads import NETS, Affine, Conv, Net, parameters

__all__ = ["make_model"]

OPSET, IR_VERSION = 17, 8  # old enough for every onnxruntime of the last years


def make_model(net: Net, batch: int) -> onnx.ModelProto:
    """From "x" (batch, C, H, W) to "scores"; dropout does nothing at test time and is left out."""
    nodes, value, number, flat = [], "x", 0, False
    for i, layer in enumerate(net.layers):
        out = f"y{i}"
        if isinstance(layer, Conv | Affine):
            number += 1
        if isinstance(layer, Conv):
            sides = {"kernel_shape": [layer.size] * 2, "strides": [layer.stride] * 2, "pads": [layer.pad] * 4}
            nodes.append(helper.make_node("Conv", [value, f"W{number}", f"b{number}"], [out], **sides))
        elif isinstance(layer, Affine):
            if not flat:
                nodes.append(helper.make_node("Flatten", [value], ["flat"], axis=1))
                value, flat = "flat", True
            nodes.append(helper.make_node("Gemm", [value, f"W{number}", f"b{number}"], [out]))
        elif layer == "relu":
            nodes.append(helper.make_node("Relu", [value], [out]))
        elif layer == "pool":
            nodes.append(helper.make_node("MaxPool", [value], [out], kernel_shape=[2, 2], strides=[2, 2]))
        else:
            continue
        value = out
    nodes[-1].output[0] = "scores"
    *_, (_, shape) = net.places()
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *net.shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, *shape])],
        [numpy_helper.from_array(a, name) for name, a in parameters(net).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    onnx.save(make_model(NETS[sys.argv[1]], int(sys.argv[2])), sys.argv[3])
