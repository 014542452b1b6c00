"""Activations, softmax and dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.activation import Elu, LeakyRelu, LogSoftmax, Relu, Sigmoid, Softmax, Tanh
from xpcnn.layers.activation_pieces import Clip, HardSigmoid, HardSwish, PRelu, Shrink, ThresholdedRelu
from xpcnn.layers.activation_smooth import Celu, Gelu, Mish, Selu, Silu, Softplus, Softsign
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.elementwise import Identity
from xpcnn.onnx.call import Call, Known, Translated, operator
from xpcnn.onnx.function import Function
from xpcnn.ops import reference


def _whole_numbers(call: Call) -> bool:
    return call.dtype(0).kind in "iu"


# --------------------------------------------------------------------------------------------------- made of pieces
@operator("Relu", 1, 6, 13, 14)
def relu(call: Call) -> Translated:
    if _whole_numbers(call):
        return call.apply(Function(lambda xp, x: xp.maximum(x, 0), name="Relu of whole numbers"))
    return call.apply(Relu())


@operator("LeakyRelu", 1, 6, 16)
def leaky_relu(call: Call) -> Translated:
    return call.apply(LeakyRelu(call.attribute("alpha", 0.01)))


@operator("PRelu", 1, 6, 7, 9, 16)
def prelu(call: Call) -> Translated:
    slope = call.parameter(1)
    if slope is None:
        raise call.unsupported("it has no slope")
    if call.version < 7 and slope.size > 1:  # one per channel, wherever the channels are
        slope = slope.reshape(-1, *(1 for _ in call.shape(0)[2:]))
    return call.apply(PRelu(slope))


@operator("Clip", 1, 6, 11, 12, 13)
def clip(call: Call) -> Translated:
    if call.version < 11:
        return call.apply(Clip(call.attribute("min"), call.attribute("max")))
    if call.batch is None:
        bounds = [i for i in (1, 2) if call.has(i)]
        names = [("", "low", "high")[i] for i in bounds]
        return call.apply(Function(_clipped(names), 1 + len(bounds), "Clip"), 0, *bounds)
    low, high = (call.constant(i) for i in (1, 2))
    return call.apply(Clip(*(None if bound is None else float(bound.reshape(())) for bound in (low, high))))


def _clipped(names: list[str]) -> Callable[..., Array]:
    def function(xp: ModuleType, x: Array, *bounds: Array) -> Array:
        for name, bound in zip(names, bounds, strict=True):
            if bound.size != 1:
                raise ShapeError(f"the bounds of a Clip are numbers, got an array of shape {bound.shape}")
            bound = bound.reshape(())
            x = (xp.maximum if name == "low" else xp.minimum)(x, bound)
        return x

    return function


@operator("HardSigmoid", 1, 6, 22)
def hard_sigmoid(call: Call) -> Translated:
    return call.apply(HardSigmoid(call.attribute("alpha", 0.2), call.attribute("beta", 0.5)))


@operator("HardSwish", 14, 22)
def hard_swish(call: Call) -> Translated:
    return call.apply(HardSwish())


@operator("ThresholdedRelu", 10, 22)
def thresholded_relu(call: Call) -> Translated:
    return call.apply(ThresholdedRelu(call.attribute("alpha", 1.0)))


@operator("Shrink", 9)
def shrink(call: Call) -> Translated:
    layer = Shrink(call.attribute("bias", 0.0), call.attribute("lambd", 0.5))
    if _whole_numbers(call):
        return call.apply(Function(lambda xp, x: layer.apply(x).astype(x.dtype), name="Shrink of whole numbers"))
    return call.apply(layer)


# ----------------------------------------------------------------------------------------------------------- smooth
@operator("Sigmoid", 1, 6, 13)
def sigmoid(call: Call) -> Translated:
    return call.apply(Sigmoid())


@operator("Tanh", 1, 6, 13)
def tanh(call: Call) -> Translated:
    return call.apply(Tanh())


@operator("Elu", 1, 6, 22)
def elu(call: Call) -> Translated:
    return call.apply(Elu(call.attribute("alpha", 1.0)))


@operator("Selu", 1, 6, 22)
def selu(call: Call) -> Translated:
    # The first opset had these numbers to fewer places.
    alpha, gamma = (1.6732, 1.0507) if call.version < 6 else (1.67326319217681884765625, 1.05070102214813232421875)
    return call.apply(Selu(call.attribute("alpha", alpha), call.attribute("gamma", gamma)))


@operator("Celu", 12, 28)
def celu(call: Call) -> Translated:
    return call.apply(Celu(call.attribute("alpha", 1.0)))


@operator("Gelu", 20)
def gelu(call: Call) -> Translated:
    word = call.attribute("approximate", "none")
    if word not in ("none", "tanh"):
        raise call.unsupported(f"approximate is {word!r}; xpcnn knows none and tanh")
    return call.apply(Gelu(approximate=word == "tanh"))


@operator("Swish", 24)
def swish(call: Call) -> Translated:
    return call.apply(Silu(call.attribute("alpha", 1.0)))


@operator("Mish", 18, 22)
def mish(call: Call) -> Translated:
    return call.apply(Mish())


@operator("Softplus", 1, 22)
def softplus(call: Call) -> Translated:
    return call.apply(Softplus())


@operator("Softsign", 1, 22)
def softsign(call: Call) -> Translated:
    return call.apply(Softsign())


# ---------------------------------------------------------------------------------------------------------- softmax
def _axes(call: Call) -> int | tuple[int, ...]:
    """The axis, or before opset 13 all axes from it on: arrays were taken for matrices, (before, from it on)."""
    if call.version >= 13:
        return call.axis(call.attribute("axis", -1))
    shape = call.shape(0)
    first = call.attribute("axis", 1)
    first = first if first == len(shape) else call.axis(first)
    axes = tuple(range(first, len(shape)))
    long = [a for a in axes if shape[a] != 1]
    # Axes of 1 change nothing. One axis left over is the common case, (N, K) or (N, K, 1, 1).
    return long[0] if len(long) == 1 else axes[0] if axes and not long else axes


@operator("Softmax", 1, 11, 13)
def softmax(call: Call) -> Translated:
    return call.apply(Softmax(_axes(call)))


@operator("LogSoftmax", 1, 11, 13)
def log_softmax(call: Call) -> Translated:
    return call.apply(LogSoftmax(_axes(call)))


@operator("Hardmax", 1, 11, 13)
def hardmax(call: Call) -> Translated:
    call.need_program("it has no gradient")
    axes = _axes(call)
    first = axes if isinstance(axes, int) else len(call.shape(0)) - len(axes)

    def function(xp: ModuleType, x: Array) -> Array:
        """1 at the first of the largest, 0 elsewhere."""
        if isinstance(axes, int):
            rows, along = x, axes
        else:
            rows, along = x.reshape(*x.shape[:first], math.prod(x.shape[first:])), first
        winner = xp.expand_dims(rows.argmax(axis=along), along)
        places = xp.arange(rows.shape[along]).reshape(-1, *(1 for _ in rows.shape[along + 1 :]))
        return (places == winner).astype(x.dtype).reshape(x.shape)

    return call.apply(Function(function, name="Hardmax"))


# ---------------------------------------------------------------------------------------------------------- dropout
@operator("Dropout", 1, 6, 7, 10, 12, 13, 22)
def dropout(call: Call) -> Translated:
    """Nothing at test time; in a Network it can drop when training goes on. The mask is for Programs."""
    ratio, training = float(call.attribute("ratio", 0.5)), False
    if call.version >= 12:
        ratio = float(call.constant(1, np.array(0.5)).reshape(()))
        training = bool(call.constant(2, np.array(False)).reshape(()))
    if not 0.0 <= ratio < 1.0:
        raise call.unsupported(f"a ratio lies in 0 <= ratio < 1, got {ratio}")
    if training and ratio > 0.0:
        call.need_program("it drops at test time too")
        return _dropped(call, ratio)
    if call.batch is not None:
        return call.apply(Dropout(ratio, seed=0))
    mask = [Known(np.ones(call.shape(0), dtype=bool), call.outputs[1])] if call.wants(1) else []
    return [call.apply(Identity()), *mask]


def _dropped(call: Call, ratio: float) -> Translated:
    """Training time in a Program: the values dropped are those that ONNX's own reference implementation drops."""
    seed = call.attribute("seed")
    if seed is None:
        raise call.unsupported("training_mode without a seed gives other values in each run")
    random = np.random.RandomState(seed)
    mask = random.uniform(0.0, 1.0, call.shape(0)) >= ratio
    scale = 1.0 / (1.0 - ratio)
    layer = Function(lambda xp, x: reference.dropout(x, xp.asarray(mask), scale), name="Dropout in training mode")
    known = [Known(mask, call.outputs[1])] if call.wants(1) else []
    return [call.apply(layer), *known]
