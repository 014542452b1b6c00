"""Reductions."""

from __future__ import annotations

from xpcnn.layers.reduction import Reduce
from xpcnn.onnx.exporters.parts import reduced
from xpcnn.onnx.writing import Writer, exports

_OPERATORS = {
    "l1": "ReduceL1",
    "l2": "ReduceL2",
    "log_sum": "ReduceLogSum",
    "log_sum_exp": "ReduceLogSumExp",
    "max": "ReduceMax",
    "mean": "ReduceMean",
    "min": "ReduceMin",
    "prod": "ReduceProd",
    "sum": "ReduceSum",
    "sum_square": "ReduceSumSquare",
}


@exports(Reduce)
def reduce(layer: Reduce, writer: Writer, inputs: tuple[str, ...]) -> str:
    axes = () if layer.axes is None else layer.axes  # None takes N too, and is no part of a network
    if axes:
        return reduced(writer, _OPERATORS[layer.kind], inputs[0], axes, layer.keepdims)
    # Over no axes each element is reduced by itself; to ONNX no axes mean all of them.
    if layer.kind in ("l1", "l2"):
        return writer.node("Abs", *inputs)
    if layer.kind == "sum_square":
        return writer.node("Mul", *inputs, *inputs)
    return writer.node("Log", *inputs) if layer.kind == "log_sum" else inputs[0]
