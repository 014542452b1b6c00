"""What an exporter writes with: nodes and constants of an ONNX graph; and the register of all exporters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from xpcnn.device import Array, asnumpy
from xpcnn.errors import ConfigError
from xpcnn.layers.base import Layer, Shape

__all__ = ["EXPORTERS", "NEWEST", "OLDEST", "Writer", "exports"]

OLDEST, NEWEST = 13, 25  # opsets that can be asked for

L = TypeVar("L", bound=Layer)
Exporter = Callable[[Any, "Writer", tuple[str, ...]], str]

EXPORTERS: dict[type[Layer], Exporter] = {}


def exports(*kinds: type[L]) -> Callable[[Callable[[L, Writer, tuple[str, ...]], str]], Exporter]:
    """Registers a function (layer, writer, names of its inputs) -> name of its output for these classes of layers."""

    def register(function: Callable[[L, Writer, tuple[str, ...]], str]) -> Exporter:
        for kind in kinds:
            EXPORTERS[kind] = function
        return function

    return register


class Writer:
    """A graph in the making.

    layer: the name of the layer being written, under which its nodes and constants go. arriving: the shapes, without
    N, of what it takes. dtype: of the network's numbers.
    """

    def __init__(self, onnx: Any, opset: int, dtype: np.dtype[Any], source: str) -> None:
        self.onnx, self.opset, self.dtype = onnx, opset, dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.layer = ""
        self.arriving: tuple[Shape, ...] = ()
        self._taken = {source}
        # A parameter of a layer at two places is written once. Each is held, for its id to stay its own.
        self._lasting: dict[int, tuple[Array, str]] = {}

    def free(self, name: str) -> str:
        """`name`, or with a number behind it where it is taken; it is taken then."""
        number, free = 2, name
        while free in self._taken:
            free, number = f"{name}_{number}", number + 1
        self._taken.add(free)
        return free

    def node(self, op: str, *inputs: str, output: int = 0, **attributes: Any) -> str:
        """Adds a node; the name of its output of that number comes back. Attributes that are None are left out."""
        outputs = [self.free(f"{self.layer}/{op}") for _ in range(output + 1)]
        given = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), outputs, name=outputs[0], **given))
        return outputs[output]

    def parameter(self, name: str, a: Array) -> str:
        """Adds one of the layer's parameters."""
        if id(a) not in self._lasting:
            values = np.require(asnumpy(a), self.dtype, "C")
            self._lasting[id(a)] = a, self._constant(f"{self.layer}.{name}", values)
        return self._lasting[id(a)][1]

    def number(self, value: float, name: str = "number") -> str:
        """Adds a 0-d constant of the network's dtype."""
        return self._constant(f"{self.layer}/{name}", np.asarray(value, dtype=self.dtype))

    def floats(self, values: Any, name: str = "numbers") -> str:
        """Adds a constant array of the network's dtype."""
        return self._constant(f"{self.layer}/{name}", np.asarray(values, dtype=self.dtype))

    def single(self, values: Any, name: str = "numbers") -> str:
        """Adds a constant array of float32, whatever the network's dtype is."""
        return self._constant(f"{self.layer}/{name}", np.asarray(values, dtype=np.float32))

    def whole(self, values: Any, name: str = "sizes") -> str:
        """Adds a constant of int64, such as axes or a shape."""
        return self._constant(f"{self.layer}/{name}", np.asarray(values, dtype=np.int64))

    def _constant(self, name: str, a: np.ndarray) -> str:
        free = self.free(name)
        self.constants[free] = a
        return free

    def need(self, opset: int, what: str) -> None:
        """Raises ConfigError where the opset asked for is too old for something."""
        if self.opset < opset:
            raise ConfigError(f"layer {self.layer!r}: ONNX has {what} from opset {opset} on, got opset={self.opset}")

    def write(self, layer: Layer, inputs: tuple[str, ...]) -> str:
        """Adds what a layer does. Raises ConfigError for a layer that nothing says how to write."""
        for kind in type(layer).__mro__:
            if kind in EXPORTERS:
                before = len(self.nodes)
                output = EXPORTERS[kind](layer, self, inputs)
                self._name_main(self.nodes[before:])
                return output
        raise ConfigError(f"layer {self.layer!r}: nothing says how to write a {type(layer).__name__} as ONNX")

    def _name_main(self, nodes: list[Any]) -> None:
        """Gives the node with the layer's parameters, else the last one, the layer's own name, for who reads it."""
        learned = [node for node in nodes if any(name.startswith(f"{self.layer}.") for name in node.input)]
        if nodes:
            (learned[0] if learned else nodes[-1]).name = self.layer
