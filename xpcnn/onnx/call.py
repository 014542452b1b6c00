"""What a translator sees: one operator of an ONNX model at its place; and the register of all translators.

A translator turns a Call into layers (`Applied`) or, where nothing is left to calculate, into arrays (`Known`). The
same translator serves two masters. Where the model is one batch of samples going in and one coming out, it is called
once and its layers become an ordinary Network: `call.batch` is then the number that stands for N in shapes. Otherwise
the model is a Program that calls it with the arrays of each run, over whole arrays: `call.batch` is then None.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.errors import ConfigError
from xpcnn.formats.limits import shown
from xpcnn.layers.base import Layer

__all__ = ["OPERATORS", "Applied", "Call", "Known", "NotANetwork", "Operator", "UnsupportedOperator", "operator"]


class UnsupportedOperator(ConfigError):
    """An operator of an ONNX model, or a way of using one, that xpcnn does not know."""


class NotANetwork(Exception):
    """A model that is not one batch in and one out: the reason why. It runs as a Program instead; nobody sees this."""


@dataclass(frozen=True)
class Applied:
    """A layer on values of the model, by name, and the name of what comes out."""

    layer: Layer
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Known:
    """A value that is known without calculating on any sample."""

    array: Any
    output: str


class Call(ABC):
    """One operator at its place.

    op, domain: its type. name: for messages. version: the opset in which its present meaning began (13 for Relu in a
    model of opset 17). inputs, outputs: names of values, "" for those left out. batch: the number that stands for N
    in `shape` where a Network is being made, None where a Program runs.
    """

    op: str
    domain: str
    name: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    batch: int | None

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as int, float, str, list of these, or ndarray (of a tensor)."""
        return self.attributes.get(name, default)

    def has(self, i: int) -> bool:
        """Whether input i is given."""
        return i < len(self.inputs) and self.inputs[i] != ""

    def wants(self, i: int) -> bool:
        """Whether output i is asked for."""
        return i < len(self.outputs) and self.outputs[i] != ""

    @abstractmethod
    def is_constant(self, i: int) -> bool:
        """Whether input i must be built into the layer, as it is no value of samples; always False in a Program."""

    @abstractmethod
    def constant(self, i: int, default: Any = None) -> Any:
        """Input i as an array on the host, such as a Reshape's shape; `default` where it is left out.

        Raises NotANetwork where it depends on the samples.
        """

    @abstractmethod
    def parameter(self, i: int) -> Array | None:
        """Input i as a layer's parameter, such as a Conv's W, on whatever device it is; None where it is left out.

        Raises NotANetwork where it depends on the samples.
        """

    @abstractmethod
    def shape(self, i: int) -> tuple[int, ...]:
        """The whole shape of input i, with `batch` for N."""

    @abstractmethod
    def dtype(self, i: int) -> np.dtype[Any]:
        """The dtype of input i."""

    def need_program(self, reason: str) -> None:
        """Says that this cannot be part of a Network, whose values are float arrays of N samples."""
        if self.batch is not None:
            raise NotANetwork(f"{self}: {reason}")

    def axis(self, value: int, i: int = 0) -> int:
        """An axis of input i counted from 0. Raises ConfigError for one it does not have."""
        rank = len(self.shape(i))
        if not -rank <= value < rank:
            raise ConfigError(f"{self}: axis {value} of an array of shape {self.shape(i)}")
        return value % rank

    def apply(self, layer: Layer, *inputs: int, output: int = 0) -> Applied:
        """`layer` on inputs of this operator (by their place; 0 if none is named)."""
        return Applied(layer, tuple(self.inputs[i] for i in inputs or (0,)), self.outputs[output])

    def unsupported(self, what: str) -> UnsupportedOperator:
        """The error for something about this operator that xpcnn does not know."""
        return UnsupportedOperator(f"{self}: {what}")

    def __str__(self) -> str:
        return f"node {shown(self.name)} ({self.op})"


Translated = Applied | Known | list[Applied | Known]
Translator = Callable[[Call], Translated]


@dataclass(frozen=True)
class Operator:
    """A translator, and the opsets in which the meanings that it knows began."""

    name: str
    domain: str
    versions: tuple[int, ...]
    translate: Translator


OPERATORS: dict[tuple[str, str], Operator] = {}


def operator(name: str, *versions: int, domain: str = "") -> Callable[[Translator], Translator]:
    """Registers a translator for an operator, in all of its meanings that began in these opsets."""

    def register(translate: Translator) -> Translator:
        OPERATORS[domain, name] = Operator(name, domain, versions, translate)
        return translate

    return register
