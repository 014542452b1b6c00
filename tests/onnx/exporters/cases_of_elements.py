"""Cases of layers that work on one element at a time, or multiply."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.onnx.exporters.case import NEVER, PICTURES, POSITIVE, Case, alone, numbers
from xpcnn import layers
from xpcnn.layers import Beside, WithConstant

_AMONG: dict[str, tuple[float, float]] = {
    "Acos": (-0.9, 0.9),
    "Asin": (-0.9, 0.9),
    "Atanh": (-0.9, 0.9),
    "Acosh": (1.1, 4.0),
    "Log": POSITIVE,
    "Reciprocal": POSITIVE,
    "Sqrt": POSITIVE,
    "Tan": (-1.2, 1.2),
}


def activations() -> Iterator[Case]:
    plain = "Celu Clip Elu Gelu HardSigmoid HardSwish LeakyRelu LogSoftmax Mish Relu Selu Shrink Sigmoid Silu Softmax"
    for name in (*plain.split(), "Softplus", "Softsign", "Tanh", "ThresholdedRelu"):
        yield Case(name, alone(name), PICTURES, alike=20 if name == "Gelu" else 13, idle=name == "Clip")
    yield Case("Celu sharper", alone("Celu", 0.3), (5,))
    yield Case("Clip on both sides", alone("Clip", -0.5, 0.75), (5,))
    yield Case("Clip below", alone("Clip", low=0.25), (5,))
    yield Case("Clip above", alone("Clip", high=0.25), (5,))
    yield Case("Gelu by tanh", alone("Gelu", approximate=True), PICTURES, alike=20)
    yield Case("HardSigmoid of PyTorch", alone("HardSigmoid", 1.0 / 6.0), (5,), (-5.0, 5.0))
    yield Case("HardSwish to its ends", alone("HardSwish"), (9,), (-5.0, 5.0))
    yield Case("PRelu per channel", lambda: [layers.PRelu(numbers(4, 1, 1))], PICTURES)
    yield Case("PRelu shared", lambda: [layers.PRelu(numbers(1))], (5,))
    yield Case("Selu of other numbers", alone("Selu", 1.5, 0.9), (5,))
    yield Case("Shrink towards 0", alone("Shrink", 0.2, 0.7), (5,))
    yield Case("Silu steeper", alone("Silu", 1.7), (5,), alike=NEVER)
    yield Case("Softmax along rows", alone("Softmax", -1), PICTURES)
    yield Case("Softmax over pictures", alone("Softmax", (2, 3)), PICTURES)
    yield Case("LogSoftmax over all", alone("LogSoftmax", (1, 2, 3)), PICTURES)
    yield Case("Dropout", alone("Dropout", 0.3), (5,))
    yield Case("Dropout of the book", alone("Dropout", 0.3, inverted=False), (5,), alike=NEVER)


def elementwise() -> Iterator[Case]:
    for name in layers.elementwise.__all__:
        yield Case(name, alone(name), (3, 7), _AMONG.get(name, (-2.0, 2.0)))
    for name in ("Add", "Average", "Divide", "Maximum", "Minimum", "Multiply", "Power", "Subtract"):
        yield Case(f"{name} of two", lambda name=name: _branches(getattr(layers, name)(), 2), PICTURES, POSITIVE)
    for name in ("Add", "Average", "Maximum", "Minimum"):
        yield Case(f"{name} of three", lambda name=name: _branches(getattr(layers, name)(), 3), PICTURES)
        yield Case(f"{name} of one", lambda name=name: [("y", getattr(layers, name)(), ("input",))], (5,))
    yield Case("Multiply of channels", _excited, PICTURES)
    for op in ("add", "divide", "multiply", "subtract"):
        yield Case(f"WithConstant {op}", lambda op=op: [WithConstant(op, numbers(4, 1, 1))], PICTURES)
        yield Case(
            f"WithConstant {op}, left", lambda op=op: [WithConstant(op, numbers(5), left=True)], PICTURES, POSITIVE
        )
    yield Case("Beside a power", lambda: [Beside(layers.Power(), {1: numbers(4, 1, 1)})], PICTURES, POSITIVE)
    yield Case("Beside a base", lambda: [Beside(layers.Power(), {0: numbers(5)})], PICTURES)
    yield Case("Beside a sum", lambda: [Beside(layers.Add(broadcast=True), {0: numbers(5)})], PICTURES)
    yield Case("Beside extremes", lambda: [*_branches(Beside(layers.Maximum(), {1: numbers(5)}, 2), 2)], PICTURES)


def _branches(layer: Any, count: int) -> list[Any]:
    steps = ["abs", "exp", "sqrt"]
    made = [(name, getattr(layers, name.capitalize())(), "input") for name in steps[:count]]
    made[-1:] = [("sigmoid", "sigmoid", "input")] if count == 3 else made[-1:]
    return [*made, ("y", layer, tuple(name for name, _, _ in made))]


def _excited() -> list[Any]:
    """Squeeze and excitation."""
    return [("mean", layers.GlobalPooling("average")), ("gate", "sigmoid"), ("y", "multiply", ("input", "gate"))]


def products() -> Iterator[Case]:
    yield Case("affine", lambda: [layers.affine(3), "relu", layers.affine(2, bias=False)], (2, 3))
    yield Case(
        "conv", lambda: [layers.conv(4, 3, stride=(2, 1), pad=(1, 0, 2, 1), dilation=(1, 2), groups=2)], PICTURES
    )
    yield Case("conv1d", lambda: [layers.conv1d(4, 3, stride=2, pad=(2, 1), groups=2), layers.conv1d(2, 2)], (2, 9))
    yield Case("conv3d", lambda: [layers.conv3d(3, (1, 2, 3), pad=(0, 1, 2)), layers.depthwise_conv(2)], (2, 3, 4, 5))
    yield Case("conv_transpose", lambda: [layers.conv_transpose(4, 3, stride=2, pad=1, output_pad=1)], (2, 3, 4))
    yield Case(
        "conv_transpose by groups",
        lambda: [layers.conv_transpose(4, 3, stride=2, groups=2, bias=False)],
        (2, 3, 4),
        reference="it takes W for that of one group",
    )
    yield Case("Projection", lambda: [layers.Projection(numbers(4, 3)), layers.Projection(numbers(2, 5), True)], (5, 4))
    yield Case("MatMul", _attention, (5, 4))


def _attention() -> list[Any]:
    return [
        ("key", layers.Projection(numbers(4, 3)), "input"),
        ("turned", layers.transpose(0, 2, 1)),
        ("query", layers.Projection(numbers(4, 3)), "input"),
        ("y", layers.MatMul(), ("query", "turned")),
    ]
