"""Normalisation of each sample by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpcnn.layers.normalization_groups import (
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    RMSNormalization,
    own_axis,
)
from xpcnn.onnx.exporters.parts import reduced, reshaped
from xpcnn.onnx.writing import Writer, exports

_EPS = 1e-9  # that of ONNX's MeanVarianceNormalization, which has no attribute for it


@exports(InstanceNormalization)
def instance_norm(layer: InstanceNormalization, writer: Writer, inputs: tuple[str, ...]) -> str:
    names = [writer.parameter(name, a) for name, a in layer.params.items()]
    return writer.node("InstanceNormalization", *inputs, *names, epsilon=layer.eps)


@exports(GroupNormalization)
def group_norm(layer: GroupNormalization, writer: Writer, inputs: tuple[str, ...]) -> str:
    shape = writer.arriving[0]
    if writer.opset >= 21 and len(shape) > 1:
        names = [writer.parameter(name, a) for name, a in layer.params.items()]
        return writer.node("GroupNormalization", *inputs, *names, num_groups=layer.groups, epsilon=layer.eps)
    # Opset 18 has a scale for each group, which is another function.
    x = _standardized(writer, inputs[0], layer.groups, layer.eps)
    return _scaled(layer, writer, x, (shape[0], *(1 for _ in shape[1:])))


@exports(LayerNormalization)
def layer_norm(layer: LayerNormalization, writer: Writer, inputs: tuple[str, ...]) -> str:
    shape = writer.arriving[0]
    axis, arrays = own_axis(layer.axis, shape), layer.params
    before, normed = shape[: axis - 1], shape[axis - 1 :]
    if writer.opset < 17:
        return _scaled(layer, writer, _standardized(writer, inputs[0], math.prod(before), layer.eps))
    fitting = [name for name, a in arrays.items() if a.shape == normed]
    if "gamma" in fitting and fitting == list(arrays):
        names = [writer.parameter(name, a) for name, a in arrays.items()]
        return writer.node("LayerNormalization", *inputs, *names, axis=axis, epsilon=layer.eps)
    ones = writer.floats(np.ones(normed), "ones")
    return _scaled(layer, writer, writer.node("LayerNormalization", *inputs, ones, axis=axis, epsilon=layer.eps))


@exports(RMSNormalization)
def rms_norm(layer: RMSNormalization, writer: Writer, inputs: tuple[str, ...]) -> str:
    (x,), shape, gamma = inputs, writer.arriving[0], layer.params["gamma"]
    axis = own_axis(layer.axis, shape)
    if writer.opset >= 23 and gamma.shape == shape[axis - 1 :]:
        return writer.node("RMSNormalization", x, writer.parameter("gamma", gamma), axis=axis, epsilon=layer.eps)
    mean = reduced(writer, "ReduceMean", writer.node("Mul", x, x), range(axis, len(shape) + 1))
    root = writer.node("Sqrt", _held_up(writer, mean, layer.eps))
    return _scaled(layer, writer, writer.node("Div", x, root))


@exports(LpNormalization)
def lp_norm(layer: LpNormalization, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("LpNormalization", *inputs, axis=own_axis(layer.axis, writer.arriving[0]), p=layer.p)


@exports(MeanVarianceNormalization)
def moments(layer: MeanVarianceNormalization, writer: Writer, inputs: tuple[str, ...]) -> str:
    shape = writer.arriving[0]
    axes = range(1, len(shape) + 1) if layer.axes is None else [own_axis(axis, shape) for axis in layer.axes]
    if layer.eps == _EPS:
        return writer.node("MeanVarianceNormalization", *inputs, axes=list(axes))
    centred = writer.node("Sub", *inputs, reduced(writer, "ReduceMean", inputs[0], axes))
    variance = reduced(writer, "ReduceMean", writer.node("Mul", centred, centred), axes)
    return writer.node("Div", centred, _held_up(writer, writer.node("Sqrt", variance), layer.eps))


def _held_up(writer: Writer, x: str, eps: float) -> str:
    """x + eps. A Sum, for the constant of an Add would be read as a parameter, and learned."""
    return writer.node("Sum", x, writer.number(eps, "eps"))


def _standardized(writer: Writer, x: str, parts: int, eps: float) -> str:
    """Each sample cut into so many equal parts, each with mean 0 and variance 1: what instance normalisation does."""
    cut = reshaped(writer, x, (parts, -1))
    ones, zeros = writer.floats(np.ones(parts), "ones"), writer.floats(np.zeros(parts), "zeros")
    return reshaped(writer, writer.node("InstanceNormalization", cut, ones, zeros, epsilon=eps), writer.arriving[0])


def _scaled(layer: Any, writer: Writer, x: str, shape: tuple[int, ...] | None = None) -> str:
    """x times gamma plus beta, as far as there are these, reshaped where `shape` is given."""
    for name, op in (("gamma", "Mul"), ("beta", "Add")):
        if name in layer.params:
            a = layer.params[name]
            x = writer.node(op, x, writer.parameter(name, a if shape is None else a.reshape(shape)))
    return x
