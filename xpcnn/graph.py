"""From a list of layers and specs to a checked graph of named, initialised layers."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from xpcnn.device import Array
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.initializers import initial_weight
from xpcnn.layers.activation import Sigmoid, Tanh
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.spec import How, Spec, spec_of
from xpcnn.ops.geometry import check_size
from xpcnn.rng import generator

__all__ = ["INPUT", "Node", "at_most", "build_graph"]

INPUT = "input"  # the name by which nodes refer to the batch itself


# How many more parameters the network being made may have. A ContextVar, for between who knows the limit and the
# layers lie the models, each with arguments of its own; it belongs to the thread that set it.
_left: ContextVar[int | None] = ContextVar("parameters left", default=None)


@contextmanager
def at_most(parameters: int) -> Iterator[None]:
    """Networks made inside may have so many parameters together; one more raises ConfigError before it takes memory.

    For networks that a file describes: it can say any size, and has parameters of its own to be held against.
    """
    token = _left.set(parameters)
    try:
        yield
    finally:
        _left.reset(token)


@dataclass(frozen=True)
class Node:
    """A layer at its place: its name, the nodes whose outputs it takes, and the shape (without N) it gives."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    shape: Shape
    needs_dx: bool  # whether anything before it learns


class _InitialParameters:
    """The Maker of one node: its random numbers depend on the seed and the node's name alone."""

    def __init__(self, seed: int, name: str, dtype: np.dtype, auto: How) -> None:
        self.rng = generator(seed, "init", name)
        self.dtype = dtype
        self.auto = auto

    def weight(self, shape: Shape, fan_in: int, fan_out: int, how: How) -> Array:
        _spend(shape, self.dtype)
        return initial_weight(shape, fan_in, fan_out, self.auto if how == "auto" else how, self.rng, self.dtype)

    def constant(self, shape: Shape, value: float) -> Array:
        _spend(shape, self.dtype)
        return np.full(shape, value, dtype=self.dtype)


def _spend(shape: Shape, dtype: np.dtype) -> None:
    if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in shape):
        raise ConfigError(f"a layer's sizes are whole numbers of at least 1, got parameters of shape {shape}")
    left = _left.get()
    if left is not None:
        left -= math.prod(shape)
        if left < 0:
            raise ConfigError(f"parameters of {shape} are more than the file has for the whole network")
        _left.set(left)
    check_size(shape, dtype.itemsize, "parameters")


def _parts(item: object, previous: str) -> tuple[str | None, object, tuple[str, ...]]:
    """(name or None, layer or spec, inputs) of one entry: layer | (name, layer) | (name, layer, input or inputs)."""
    if not isinstance(item, tuple):
        return None, item, (previous,)
    if len(item) not in (2, 3) or not isinstance(item[0], str):
        raise ConfigError(f"an entry of a network is a layer, (name, layer) or (name, layer, inputs), got {item!r}")
    inputs = item[2] if len(item) == 3 else previous
    return item[0], item[1], (inputs,) if isinstance(inputs, str) else tuple(inputs)


def _squashes(layer: Spec | Layer) -> bool:
    """Whether this is a sigmoid or tanh, before which Xavier's initial weights suit better than He's."""
    return isinstance(layer, Sigmoid | Tanh) or (isinstance(layer, Spec) and layer.kind in ("sigmoid", "tanh"))


def _free_name(spec: Spec | Layer, entries: list[object], taken: list[str]) -> str:
    """A name such as "conv2" that no entry before has and no entry was given."""
    kind = spec.kind if isinstance(spec, Spec) else type(spec).__name__.lower()
    names = {INPUT, *taken, *(entry[0] for entry in entries if isinstance(entry, tuple))}
    return next(name for i in itertools.count(1) if (name := f"{kind}{i}") not in names)


def _built(
    name: str, spec: Spec | Layer, inputs: tuple[str, ...], shapes: dict[str, Shape], make: _InitialParameters
) -> tuple[Layer, Shape]:
    """The layer and its output's shape; errors name the layer and what comes before it."""
    arriving = tuple(shapes[n] for n in inputs)
    try:
        layer = spec.build(arriving, make) if isinstance(spec, Spec) else spec
        if layer.inputs is not None and len(inputs) != layer.inputs:
            raise ShapeError(f"takes {layer.inputs} input(s), got {len(inputs)}: {', '.join(inputs)}")
        shape = layer.output_shape(*arriving)
        check_size(shape, make.dtype.itemsize, "one sample's output")
        return layer, shape
    except (ShapeError, ConfigError) as error:
        raise type(error)(f"layer {name!r} after {', '.join(map(repr, inputs))}: {error}") from error


def build_graph(
    items: Iterable[object], input_shape: Sequence[int], seed: int, dtype: np.dtype, init: How
) -> dict[str, Node]:
    """The nodes by name, in the order in which they run.

    Raises ConfigError for names that are taken, unknown or lead nowhere, ShapeError (naming the layer, what it got
    and what it wanted) where shapes do not fit.
    """
    entries = list(items)
    try:
        shape_in = tuple(operator.index(n) for n in input_shape)
    except TypeError:
        shape_in = ()  # a bare number, or sizes that are not whole
    if not shape_in or any(n < 1 for n in shape_in):
        raise ShapeError(f"input_shape is one sample's shape without N, such as (1, 28, 28); got {input_shape!r}")
    if not entries:
        raise ConfigError("a network needs at least one layer")
    parts: list[tuple[str, Spec | Layer, tuple[str, ...]]] = []
    for entry in entries:
        previous = parts[-1][0] if parts else INPUT
        given, thing, inputs = _parts(entry, previous)
        spec = spec_of(thing)
        parts.append((given or _free_name(spec, entries, [name for name, _, _ in parts]), spec, inputs))
    nodes: dict[str, Node] = {}
    shapes: dict[str, Shape] = {INPUT: shape_in}
    for i, (name, spec, inputs) in enumerate(parts):
        if name in shapes:
            raise ConfigError(f"two layers are called {name!r}; every name of a network is its own")
        unknown = [n for n in inputs if n not in shapes]
        if unknown or not inputs:
            raise ConfigError(f"layer {name!r} takes {unknown or 'nothing'}; before it there are {', '.join(shapes)}")
        auto = init
        if init == "auto":
            auto = "xavier" if i + 1 < len(parts) and _squashes(parts[i + 1][1]) else "he"
        layer, shape = _built(name, spec, inputs, shapes, _InitialParameters(seed, name, dtype, auto))
        learned_before = any(n != INPUT and (nodes[n].needs_dx or nodes[n].layer.params) for n in inputs)
        nodes[name] = Node(name, layer, inputs, shape, bool(learned_before))
        shapes[name] = shape
    last = parts[-1][0]
    used = {n for node in nodes.values() for n in node.inputs}
    loose = [n for n in nodes if n not in used and n != last]
    if loose:
        raise ConfigError(f"nothing takes the output of {', '.join(map(repr, loose))}, and only the last layer may end")
    return nodes
