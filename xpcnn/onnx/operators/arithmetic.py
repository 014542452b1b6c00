"""Add, Sub, Mul, Div: between branches, or with a constant that becomes a parameter."""

from __future__ import annotations

from collections.abc import Callable

from xpcnn.device import Array
from xpcnn.layers.arithmetic import Divide, Multiply, Subtract, WithConstant
from xpcnn.layers.base import Layer
from xpcnn.layers.merge import Add
from xpcnn.layers.shape import Unsqueeze
from xpcnn.onnx.call import Applied, Call, Translated, operator

_VERSIONS = (1, 6, 7, 13, 14)


def _trailing(call: Call) -> int:
    """How many axes of 1 the second input needs behind its own: before opset 7, `axis` says where it starts."""
    if call.version >= 7 or not call.attribute("broadcast", 0) or "axis" not in call.attributes:
        return 0
    ours, theirs = len(call.shape(0)), len(call.shape(1))
    return max(0, ours - call.axis(call.attribute("axis")) - theirs)


def _parameter(call: Call, side: int) -> Array:
    """The constant side. One that repeats the same for each of N samples, as a folded Expand makes it, counts once."""
    c, other = call.constant(side), 1 - side
    repeated = call.batch != 1 and c.ndim == len(call.shape(other)) and c.shape[0] == call.batch
    if repeated and (c.strides[0] == 0 or (c == c[:1]).all()):
        return c[:1].astype(call.dtype(other))
    return call.parameter(side)


def _arithmetic(call: Call, op: str, both: Callable[[], Layer]) -> Translated:
    behind = _trailing(call)
    for side in (0, 1):
        if call.is_constant(side):
            c = _parameter(call, side)
            c = c.reshape((*c.shape, *(1,) * (behind if side else 0)))
            # A number alone belongs to a formula, such as x / 255; an array is taken for something that was learned.
            return call.apply(WithConstant(op, c, left=side == 0, learned=c.size > 1), 1 - side)
    if not behind:
        return call.apply(both(), 0, 1)
    shaped = f"{call.outputs[0]}/shaped"
    rank = len(call.shape(1))
    return [
        Applied(Unsqueeze(range(rank, rank + behind)), (call.inputs[1],), shaped),
        Applied(both(), (call.inputs[0], shaped), call.outputs[0]),
    ]


@operator("Add", *_VERSIONS)
def add(call: Call) -> Translated:
    return _arithmetic(call, "add", lambda: Add(broadcast=True))


@operator("Sub", *_VERSIONS)
def subtract(call: Call) -> Translated:
    return _arithmetic(call, "subtract", Subtract)


@operator("Mul", *_VERSIONS)
def multiply(call: Call) -> Translated:
    return _arithmetic(call, "multiply", Multiply)


@operator("Div", *_VERSIONS)
def divide(call: Call) -> Translated:
    return _arithmetic(call, "divide", Divide)
