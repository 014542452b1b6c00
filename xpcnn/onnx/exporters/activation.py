"""Activations, softmax and dropout."""

from __future__ import annotations

import math
from typing import Any

from xpcnn.layers.activation import Elu, LeakyRelu, LogSoftmax, Relu, Sigmoid, Softmax, Tanh
from xpcnn.layers.activation_pieces import Clip, HardSigmoid, HardSwish, PRelu, Shrink, ThresholdedRelu
from xpcnn.layers.activation_smooth import Celu, Gelu, Mish, Selu, Silu, Softplus, Softsign
from xpcnn.layers.base import Layer
from xpcnn.layers.dropout import Dropout
from xpcnn.onnx.exporters.parts import reduced
from xpcnn.onnx.writing import Writer, exports


@exports(Relu, Sigmoid, Softplus, Softsign, Tanh)
def plain(layer: Layer, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node(type(layer).__name__, *inputs)


@exports(Celu, Elu, ThresholdedRelu)
def with_alpha(layer: Any, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node(type(layer).__name__, *inputs, alpha=layer.alpha)


@exports(LeakyRelu)
def leaky_relu(layer: LeakyRelu, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("LeakyRelu", *inputs, alpha=layer.slope)


@exports(Selu)
def selu(layer: Selu, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Selu", *inputs, alpha=layer.alpha, gamma=layer.gamma)


@exports(Clip)
def clip(layer: Clip, writer: Writer, inputs: tuple[str, ...]) -> str:
    bounds = ["" if bound is None else writer.number(bound, "bound") for bound in (layer.low, layer.high)]
    while bounds and not bounds[-1]:
        bounds.pop()
    return writer.node("Clip", *inputs, *bounds) if bounds else inputs[0]


@exports(HardSigmoid)
def hard_sigmoid(layer: HardSigmoid, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("HardSigmoid", *inputs, alpha=layer.alpha, beta=layer.beta)


@exports(HardSwish)
def hard_swish(layer: HardSwish, writer: Writer, inputs: tuple[str, ...]) -> str:
    if writer.opset >= 14:
        return writer.node("HardSwish", *inputs)
    return writer.node("Mul", *inputs, writer.node("HardSigmoid", *inputs, alpha=1.0 / 6.0, beta=0.5))


@exports(PRelu)
def prelu(layer: PRelu, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("PRelu", *inputs, writer.parameter("slope", layer.params["slope"]))


@exports(Shrink)
def shrink(layer: Shrink, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Shrink", *inputs, bias=layer.bias, lambd=layer.lambd)


@exports(Gelu)
def gelu(layer: Gelu, writer: Writer, inputs: tuple[str, ...]) -> str:
    if writer.opset >= 20:
        return writer.node("Gelu", *inputs, approximate="tanh" if layer.approximate else "none")
    (x,) = inputs
    if layer.approximate:  # tanh(sqrt(2/pi) (x + 0.044715 x^3)), as sqrt(2/pi) x (1 + 0.044715 x^2)
        square = writer.node("Mul", writer.node("Mul", x, x), writer.number(0.044715))
        bracket = writer.node("Add", square, writer.number(1.0))
        scaled = writer.node("Mul", writer.node("Mul", x, bracket), writer.number(math.sqrt(2.0 / math.pi)))
        odd = writer.node("Tanh", scaled)
    else:
        odd = writer.node("Erf", writer.node("Mul", x, writer.number(math.sqrt(0.5))))
    half = writer.node("Mul", x, writer.number(0.5))
    return writer.node("Add", writer.node("Mul", half, odd), half)


@exports(Mish)
def mish(layer: Mish, writer: Writer, inputs: tuple[str, ...]) -> str:
    if writer.opset >= 18:
        return writer.node("Mish", *inputs)
    return writer.node("Mul", *inputs, writer.node("Tanh", writer.node("Softplus", *inputs)))


@exports(Silu)
def silu(layer: Silu, writer: Writer, inputs: tuple[str, ...]) -> str:
    (x,) = inputs  # ONNX has a Swish from opset 24 on, but onnxruntime 1.32 does not
    scaled = x if layer.alpha == 1.0 else writer.node("Mul", x, writer.number(layer.alpha, "alpha"))
    return writer.node("Mul", x, writer.node("Sigmoid", scaled))


@exports(Softmax, LogSoftmax)
def softmax(layer: Any, writer: Writer, inputs: tuple[str, ...]) -> str:
    axes = layer.axis if isinstance(layer.axis, tuple) else (layer.axis,)
    if len(axes) == 1:
        return writer.node(type(layer).__name__, *inputs, axis=axes[0])
    log = writer.node("Sub", *inputs, reduced(writer, "ReduceLogSumExp", inputs[0], axes))
    return log if isinstance(layer, LogSoftmax) else writer.node("Exp", log)


@exports(Dropout)
def dropout(layer: Dropout, writer: Writer, inputs: tuple[str, ...]) -> str:
    if layer.inverted:  # nothing happens at test time; who trains it further will want to drop again
        return writer.node("Dropout", *inputs, writer.number(layer.ratio, "ratio"))
    return writer.node("Mul", *inputs, writer.number(1.0 - layer.ratio, "kept"))
