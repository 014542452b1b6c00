"""Mathematics of one element at a time, and of branches and constants that broadcast."""

from __future__ import annotations

from xpcnn.layers import elementwise
from xpcnn.layers.arithmetic import Divide, Multiply, Subtract, WithConstant
from xpcnn.layers.base import Layer
from xpcnn.layers.broadcast import Average, Beside, Maximum, Minimum, Power
from xpcnn.layers.merge import Add
from xpcnn.onnx.writing import Writer, exports

_OPERATORS: dict[type[Layer], str] = {
    Average: "Mean",
    Divide: "Div",
    Maximum: "Max",
    Minimum: "Min",
    Multiply: "Mul",
    Power: "Pow",
    Subtract: "Sub",
    **{getattr(elementwise, name): name for name in elementwise.__all__},
}
_WITH_CONSTANT = {"add": "Add", "divide": "Div", "multiply": "Mul", "subtract": "Sub"}


@exports(*_OPERATORS)
def one_operator(layer: Layer, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node(next(_OPERATORS[kind] for kind in type(layer).__mro__ if kind in _OPERATORS), *inputs)


@exports(Add)
def add(layer: Add, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Sum", *inputs) if len(inputs) != 2 else writer.node("Add", *inputs)


@exports(WithConstant)
def with_constant(layer: WithConstant, writer: Writer, inputs: tuple[str, ...]) -> str:
    c = writer.parameter("c", layer.constant)
    return writer.node(_WITH_CONSTANT[layer.op], *((c, *inputs) if layer.left else (*inputs, c)))


@exports(Beside)
def beside(layer: Beside, writer: Writer, inputs: tuple[str, ...]) -> str:
    others, shapes = iter(inputs), iter(writer.arriving)
    names, arriving = [], []
    for i in range(len(inputs) + len(layer.places)):
        if i in layer.places:
            c = layer.state[f"constant{i}"]
            names.append(writer.parameter(f"constant{i}", c))
            arriving.append(c.shape)
        else:
            names.append(next(others))
            arriving.append(next(shapes))
    if isinstance(layer.layer, Add):  # an Add of a constant would be read as one with a parameter
        return writer.node("Sum", *names)
    writer.arriving = tuple(arriving)
    return writer.write(layer.layer, tuple(names))
