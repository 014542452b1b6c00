"""What several exporters are made of."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.layers.base import Shape
from xpcnn.onnx.writing import Writer

__all__ = ["reduced", "reshaped", "whole_power"]


def reduced(writer: Writer, op: str, x: str, axes: Sequence[int], keepdims: bool = True) -> str:
    """x reduced along one axis or more, which are an attribute before opset 18 (of ReduceSum 13), then an input."""
    if writer.opset >= (13 if op == "ReduceSum" else 18):
        return writer.node(op, x, writer.whole(axes, "axes"), keepdims=int(keepdims))
    return writer.node(op, x, axes=axes, keepdims=int(keepdims))


def reshaped(writer: Writer, x: str, shape: Shape) -> str:
    """x (N, ...) as (N, *shape)."""
    return writer.node("Reshape", x, writer.whole((0, *shape), "shape"))


def whole_power(p: float) -> int | None:
    """p as ONNX's norms take it, a whole number; None where it is none."""
    return int(p) if p == int(p) else None
