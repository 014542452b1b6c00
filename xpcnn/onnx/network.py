"""A model that takes one batch of samples and gives one, as an ordinary Network: trained, saved and planned as any."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from xpcnn.device import Array, CpuDevice, Device
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.formats.limits import listed, shown
from xpcnn.graph import INPUT
from xpcnn.layers.activation import LogSoftmax, Softmax
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.shape import Flatten
from xpcnn.network import Network
from xpcnn.onnx.call import Applied, Call, Known, NotANetwork, UnsupportedOperator
from xpcnn.onnx.free_batch import ANY_BATCH, OTHERS, Folding, difference, same_layer
from xpcnn.onnx.program import ProgramCall, check_kinds, naming, node_words, run_step, translated
from xpcnn.onnx.reading import Model, Step, Value
from xpcnn.onnx.sizes import MOST_STEPS, Budget, check_sample, most_of_a_sample, work_of
from xpcnn.ops.geometry import check_size, no_larger_than

__all__ = ["OnnxNetwork", "build_network"]

_WINDOWS = 16  # executors have ways of convolving that do not write out all windows
_MOST_AXES = 32  # of a sample: NumPy has 64, and layers take some on the way
_LONGEST = 200  # characters of a layer's name

Entry = tuple[str, Layer, tuple[str, ...]]


class OnnxNetwork(Network):
    """A Network made from an ONNX model; `run` is the model's own function, names and all.

    A softmax at the model's end is not one of the layers: `predict` gives the scores before it, as every Network does,
    so that losses and accuracies are right, and `run` what the model gives.
    """

    def __init__(
        self,
        layers: list[Entry],
        source: Value,
        output: Value,
        final: tuple[Layer, Shape] | None,
        dtype: np.dtype[Any],
        device: str | Device | None,
        seed: int | None,
    ) -> None:
        assert source.shape is not None
        sizes = [n for n in source.shape[1:] if n is not None]
        super().__init__(layers, sizes, dtype=dtype, device=device, seed=seed)
        self.inputs, self.outputs, self.model_inputs = (source.name,), (output.name,), (source,)
        self.final = final

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """{output's name: array (N, ...)} for {input's name: array (N, ...)}; any N."""
        if set(feeds) != set(self.inputs):
            raise ShapeError(f"this model takes {listed(self.inputs)}; got {listed(feeds)}")
        with np.errstate(all="ignore"):  # infinities and NaN are results that ONNX defines
            y = self.predict(feeds[self.inputs[0]], batch_size=None)
            if self.final is not None:
                layer, shape = self.final
                y = layer.forward(y).reshape(len(y), *shape)
        return {self.outputs[0]: y}


class _NetworkCall(Call):
    """An operator some of whose inputs are samples' values, of which the shapes are known."""

    def __init__(self, step: Step, builder: _Builder) -> None:
        self.op, self.domain, self.name, self.version = step.op, step.domain, step.name, step.version
        self.inputs, self.outputs, self.attributes = step.inputs, step.outputs, step.attributes
        self._builder = builder
        self.batch = builder.batch

    def is_constant(self, i: int) -> bool:
        return self.has(i) and self.inputs[i] in self._builder.constants

    def constant(self, i: int, default: Any = None) -> Any:
        if not self.has(i):
            return default
        if not self.is_constant(i):
            raise NotANetwork(f"{self}: its input {shown(self.inputs[i])} depends on the samples")
        return self._builder.constants[self.inputs[i]]

    def parameter(self, i: int) -> Array | None:
        a = self.constant(i)
        return None if a is None else self._builder.own(a)

    def shape(self, i: int) -> tuple[int, ...]:
        name = self.inputs[i]
        if name in self._builder.constants:
            return tuple(self._builder.constants[name].shape)
        return (self._builder.batch, *self._builder.shapes[name])

    def dtype(self, i: int) -> np.dtype[Any]:
        name = self.inputs[i]
        constants = self._builder.constants
        return np.dtype(constants[name].dtype) if name in constants else self._builder.dtype


class _Builder:
    """Follows a model's steps, folding what is constant and collecting layers for the rest.

    batch: stands for N in shapes.
    """

    def __init__(self, model: Model, batch: int) -> None:
        self.model, self.batch = model, batch
        self.source, self.output = _ends(model)
        assert self.source.shape is not None
        assert self.source.dtype is not None
        self.dtype: np.dtype[Any] = self.source.dtype
        self.constants: dict[str, np.ndarray] = dict(model.constants)
        self.shapes: dict[str, Shape] = {self.source.name: tuple(n for n in self.source.shape[1:] if n is not None)}
        self.made: list[tuple[Applied, Step]] = []
        self.foldings: list[Folding] = []  # of what follows from samples' shapes
        self.of_shapes: set[str] = set()  # the names of that
        given = sum(int(a.nbytes) for a in model.constants.values())
        sample = math.prod(self.shapes[self.source.name]) * self.dtype.itemsize
        self.largest = most_of_a_sample(given + sample)
        self._budget, self._work = Budget(given), 0
        self._given: set[int] = set()

    def own(self, a: np.ndarray) -> np.ndarray:
        """`a` as a layer's own parameter: a second layer that takes the same one gets a copy."""
        if a.dtype.kind not in "biuf":
            raise NotANetwork(f"a parameter of {a.dtype}")
        if id(a) in self._given or a.dtype != self.dtype:
            self._budget.take(a)
            check_size(a.shape, self.dtype.itemsize, "a copy of a parameter")
            return a.astype(self.dtype)
        self._given.add(id(a))
        return np.require(a, requirements=["C", "W"])

    def follow(self) -> None:
        last_use = {name: i for i, step in enumerate(self.model.steps) for name in step.inputs}
        for i, step in enumerate(self.model.steps):
            given = [name for name in step.inputs if name]
            with naming(step), np.errstate(all="ignore"), no_larger_than(self._budget.left):
                if all(name in self.constants for name in given):
                    self._fold(step, given)
                else:
                    self._take(translated(_NetworkCall(step, self)), step)
            for name in given:
                if last_use[name] == i and name in self.constants and name != self.output.name:
                    self.constants.pop(name)  # large weights need not lie here twice

    def _fold(self, step: Step, given: list[str]) -> None:
        """Calculates what does not depend on the samples, as long as it takes neither all memory nor all day."""
        check_kinds(step, self.constants)
        if not self.of_shapes.isdisjoint(given):
            self.foldings.append(Folding.of(step, self.constants))
            self.of_shapes.update(step.outputs)
        items = translated(ProgramCall(step, self.constants, {}))
        for item in items:
            if isinstance(item, Applied):
                self._work += work_of(item, self.constants)
        if self._work > MOST_STEPS:
            raise NotANetwork(f"{node_words(step)}: so much work on constants is left for its runs")
        run_step(items, self.constants, CpuDevice(), self._budget)

    def _take(self, items: list[Applied | Known], step: Step) -> None:
        for item in items:
            if isinstance(item, Known):
                self.constants[item.output] = np.asarray(item.array)
                self._budget.take(self.constants[item.output])
                self.of_shapes.add(item.output)
                continue
            loose = [name for name in item.inputs if name not in self.shapes]
            if loose:
                raise NotANetwork(f"{node_words(step)} takes the constant {shown(loose[0])} as a value")
            shapes = [self.shapes[name] for name in item.inputs]
            with no_larger_than(_WINDOWS * self.largest):
                check_sample(item.layer, shapes[0], 1, self.dtype.itemsize)
            with no_larger_than(self.largest):
                self.shapes[item.output] = item.layer.output_shape(*shapes)
                check_size(self.shapes[item.output], self.dtype.itemsize, "one sample's output")
            if min(self.shapes[item.output], default=1) < 1 or len(self.shapes[item.output]) > _MOST_AXES:
                raise NotANetwork(f"{node_words(step)} gives samples without elements, or of very many axes")
            self.made.append((item, step))

    def layers(self) -> tuple[list[Entry], tuple[Layer, Shape] | None]:
        """The entries of a Network that lead to the output, and the softmax that was its end."""
        wanted, made = {self.output.name}, []
        for item, step in reversed(self.made):
            if item.output in wanted:
                wanted.update(item.inputs)
                made.append((item, step))
        made.reverse()
        if not made or made[-1][0].output != self.output.name:
            raise NotANetwork("its output does not depend on its input")
        names, free = {self.source.name: INPUT}, _FreeNames()
        entries: list[Entry] = []
        final = self._final(made)
        for item, step in made[:-1] if final else made:
            name = free(step.name if item.output == step.outputs[0] else item.output)
            entries.append((name, item.layer, tuple(names[i] for i in item.inputs)))
            names[item.output] = name
        if final and len(self.shapes[made[-1][0].inputs[0]]) > 1:
            entries.append((free("scores"), Flatten(), (names[made[-1][0].inputs[0]],)))
        return entries, final

    def _final(self, made: list[tuple[Applied, Step]]) -> tuple[Layer, Shape] | None:
        """(softmax over classes, shape of what it gives) where that is the end of it, and there is something before."""
        item = made[-1][0]
        if not isinstance(item.layer, Softmax | LogSoftmax) or len(made) == 1 or item.inputs[0] == self.source.name:
            return None
        shape = self.shapes[item.output]
        over_classes = bool(shape) and item.layer.axis in (1, -len(shape)) and math.prod(shape) == shape[0]
        other_takers = sum(item.inputs[0] in other.inputs for other, _ in made) > 1
        last = made[-2][0].output == item.inputs[0]
        return (type(item.layer)(), shape) if over_classes and last and not other_takers else None


class _FreeNames:
    """Names for layers: a node's own without what a terminal obeys, short, and with a number behind where taken."""

    def __init__(self) -> None:
        self._taken, self._next = {INPUT}, dict[str, int]()

    def __call__(self, name: str) -> str:
        name = free = "".join(c for c in name[:_LONGEST] if c.isprintable()) or "layer"
        while free in self._taken:
            self._next[name] = self._next.get(name, 1) + 1
            free = f"{name}_{self._next[name]}"
        self._taken.add(free)
        return free


def _ends(model: Model) -> tuple[Value, Value]:
    """The input and the output. Raises NotANetwork where they are not a batch of samples each."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise NotANetwork(f"it has {len(model.inputs)} inputs and {len(model.outputs)} outputs, not one of each")
    source = model.inputs[0]
    if source.dtype is None or source.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise NotANetwork(f"its input {shown(source.name)} is of {source.dtype}, not float32 or float64")
    if source.shape is None or len(source.shape) < 2:
        raise NotANetwork(f"its input {shown(source.name)} has no first axis for samples")
    if any(n is None or n < 1 for n in source.shape[1:]) or source.shape[0] == 0:
        raise NotANetwork(f"sizes of its input {shown(source.name)} other than N are left open")
    return source, model.outputs[0]


def _built(model: Model, batch: int) -> tuple[_Builder, list[Entry], tuple[Layer, Shape] | None]:
    builder = _Builder(model, batch)
    try:
        builder.follow()
        return builder, *builder.layers()
    except (ShapeError, ConfigError) as error:
        if isinstance(error, UnsupportedOperator) and str(ANY_BATCH) not in str(error):
            raise  # a Program could not run it either
        raise NotANetwork(str(error)) from error


def _check_any_batch(model: Model, made: _Builder, entries: list[Entry]) -> None:
    """Raises NotANetwork where the layers depend on N."""
    for batch in OTHERS:
        other, theirs, _ = _built(model, batch)
        why = difference(made.foldings, other.foldings)
        if why or len(entries) != len(theirs):
            raise NotANetwork(why or "its layers depend on N")
        for (name, layer, inputs), (_, layer2, inputs2) in zip(entries, theirs, strict=True):
            if inputs != inputs2 or not same_layer(layer, layer2):
                raise NotANetwork(f"layer {shown(name)} depends on N")


def build_network(model: Model, device: str | Device | None, seed: int | None) -> OnnxNetwork:
    """The model as a Network. Raises NotANetwork with the reason where it is none."""
    source = _ends(model)[0]
    assert source.shape is not None
    first = source.shape[0]
    builder, entries, final = _built(model, ANY_BATCH if first is None else first)
    if first is None and builder.of_shapes:
        _check_any_batch(model, builder, entries)
    try:
        with no_larger_than(builder.largest):
            return OnnxNetwork(entries, builder.source, builder.output, final, builder.dtype, device, seed)
    except (ShapeError, ConfigError) as error:
        raise NotANetwork(str(error)) from error
