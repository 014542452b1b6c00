"""A model run operator by operator over whole arrays, where it is not one batch of samples in and one out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from xpcnn.device import Array, Device, asnumpy, get_device
from xpcnn.errors import ShapeError, XpcnnError
from xpcnn.formats.limits import is_line, listed, one_line, shown
from xpcnn.layers.base import Context
from xpcnn.onnx.call import OPERATORS, Applied, Call, Known, NotANetwork, UnsupportedOperator
from xpcnn.onnx.reading import BETWEEN, Model, Step, Value
from xpcnn.onnx.sizes import Budget, check_applied
from xpcnn.ops.geometry import no_larger_than

__all__ = ["Program", "ProgramCall", "naming", "node_words", "run_step", "translated"]


class ProgramCall(Call):
    """An operator whose inputs' arrays are all there.

    looked: whether the translator looked at an array that differs from run to run.
    """

    batch = None

    def __init__(self, step: Step, values: Mapping[str, Array], lasting: Mapping[str, Array]) -> None:
        self.op, self.domain, self.name, self.version = step.op, step.domain, step.name, step.version
        self.inputs, self.outputs, self.attributes = step.inputs, step.outputs, step.attributes
        self._values, self._lasting = values, lasting
        self.looked = False

    def _array(self, i: int) -> Array:
        name = self.inputs[i]
        self.looked = self.looked or name not in self._lasting
        return self._values[name]

    def is_constant(self, i: int) -> bool:
        return False

    def constant(self, i: int, default: Any = None) -> Any:
        return asnumpy(self._array(i)) if self.has(i) else default

    def parameter(self, i: int) -> Array | None:
        return self._array(i) if self.has(i) else None

    def shape(self, i: int) -> tuple[int, ...]:
        return tuple(self._array(i).shape)

    def dtype(self, i: int) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self._array(i).dtype)
        return dtype


@contextmanager
def naming(step: Step) -> Iterator[None]:
    """Lets errors inside name the node, in one short line: a file can say anything, so any error may come of it."""
    try:
        yield
    except NotANetwork:
        raise
    except XpcnnError as error:
        text = str(error)
        if node_words(step) in text and is_line(text):
            raise
        raise type(error)(f"{node_words(step)}: {one_line(text.removeprefix(node_words(step) + ': '), 400)}") from error
    except Exception as error:
        raise ShapeError(f"{node_words(step)}: {one_line(str(error)) or type(error).__name__}") from error


def node_words(step: Step) -> str:
    """A node as messages name it."""
    return f"node {shown(step.name)} ({step.op})"


# Operators that do no arithmetic, and so take text, too.
_OF_TEXT = frozenset(
    ("Cast", "CastLike", "Compress", "Concat", "Constant", "Equal", "Expand", "Flatten", "Gather", "GatherElements",
     "GatherND", "Identity", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
     "Where")
)  # fmt: skip


def translated(call: Call) -> list[Applied | Known]:
    """The translator's answer, always a list, in which the names between its layers are no names of the model."""
    answer = OPERATORS[call.domain, call.op].translate(call)
    items = answer if isinstance(answer, list) else [answer]
    between = {item.output: item.output + BETWEEN for item in items if item.output not in call.outputs}
    if not between:
        return items
    return [
        replace(item, output=between.get(item.output, item.output))
        if isinstance(item, Known)
        else Applied(
            item.layer,
            tuple(between.get(name, name) for name in item.inputs),
            between.get(item.output, item.output),
        )
        for item in items
    ]


def check_kinds(step: Step, values: Mapping[str, Array]) -> None:
    """Raises UnsupportedOperator for arithmetic on text: to Python, text times a number is much text."""
    if step.op not in _OF_TEXT:
        for name in step.inputs:
            if name and values[name].dtype.kind == "O":
                raise UnsupportedOperator(f"{node_words(step)}: its input {shown(name)} is text")


def run_step(
    items: list[Applied | Known], values: dict[str, Array], device: Device, budget: Budget | None = None
) -> None:
    """Adds to `values` what one operator's layers make of those there."""
    budget = budget or Budget(0)
    for item in items:
        with no_larger_than(budget.left):
            if isinstance(item, Known):
                made = item.array
            else:
                check_applied(item, values)
                ctx = Context(keep=False, need_dx=False)
                made = item.layer.forward_in(ctx, *(values[name] for name in item.inputs))
        values[item.output] = device.asarray(made)  # sums over all axes come as numbers
        budget.take(values[item.output])


class Program:
    """A model as ONNX says it: named arrays in, named arrays out. It calculates; it is not trained.

    why: what kept it from being a Network. What a run makes may take, at any time, 1 GiB or 256 times the bytes of its
    inputs and of the file's arrays, whichever is more.
    """

    def __init__(self, model: Model, device: str | Device | None = "cpu", why: str = "") -> None:
        self.device = get_device(device)
        self.why = why
        self.inputs = tuple(value.name for value in model.inputs)
        self.outputs = tuple(value.name for value in model.outputs)
        self.model_inputs = model.inputs
        self._steps = _needed(model)
        self._constants = {name: self._moved(a) for name, a in model.constants.items()}
        self._translated: dict[int, list[Applied | Known]] = {}  # of operators that are the same in every run
        self._last_use = {name: i for i, step in enumerate(self._steps) for name in step.inputs}
        self._in_attributes = [a for step in self._steps for a in step.attributes.values() if isinstance(a, np.ndarray)]
        self._kept = {*self.outputs, *self._constants}

    def _moved(self, a: np.ndarray) -> Array:
        return self.device.asarray(a) if a.dtype.kind in "biufc" else a

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """The model's outputs by name, on its device, for its inputs by name.

        Raises ShapeError for inputs that are missing, unknown, or not of the model's dtype and shape, and with the
        node's name where arrays do not fit an operator.
        """
        if set(feeds) != set(self.inputs):
            raise ShapeError(f"this model takes {listed(self.inputs)}; got {listed(feeds)}")
        values = dict(self._constants)
        for value in self.model_inputs:
            values[value.name] = self.device.asarray(checked(feeds[value.name], value))
        fed = [values[name] for name in self.inputs]
        budget = Budget(sum(int(a.nbytes) for a in values.values()))
        with np.errstate(all="ignore"):  # infinities and NaN are results that ONNX defines
            for i, step in enumerate(self._steps):
                self._run_step(i, step, values, budget)
        lasting = {id(a) for a in (*fed, *self._constants.values(), *self._in_attributes)}
        return {name: _own(values[name], lasting) for name in self.outputs}

    def _run_step(self, i: int, step: Step, values: dict[str, Array], budget: Budget) -> None:
        with naming(step), no_larger_than(budget.left):
            items = self._translated.get(i)
            if items is None:
                check_kinds(step, values)
                call = ProgramCall(step, values, self._constants)
                items = translated(call)
                if not call.looked and not any(isinstance(item, Known) for item in items):
                    self._translated[i] = items  # arrays are not kept: they would take memory for ever
            run_step(items, values, self.device, budget)
            for name in step.outputs:
                if name and name not in values and (name in self._last_use or name in self._kept):
                    raise UnsupportedOperator(f"{node_words(step)}: xpcnn does not make its output {shown(name)}")
        for name in {*step.inputs, *(item.output for item in items)}:
            if self._last_use.get(name, i) <= i and name not in self._kept and name in values:
                budget.give_back(values.pop(name))

    def __repr__(self) -> str:
        return f"<Program of {len(self._steps)} operators on {self.device.name}>"


def _own(y: Array, lasting: set[int]) -> Array:
    """An output that may be written to: no constant of the model, no input, no part of another array."""
    return y.copy() if id(y) in lasting or y.base is not None else y


def _needed(model: Model) -> list[Step]:
    """The steps that an output depends on."""
    wanted = {value.name for value in model.outputs}
    steps: list[Step] = []
    for step in reversed(model.steps):
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            steps.append(step)
    return steps[::-1]


def checked(x: Any, value: Value) -> Any:
    """x as an array of the dtype that a model's input wants. Raises ShapeError where it cannot be, or is misshapen."""
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if value.dtype is not None and x.dtype != value.dtype:
        if not np.can_cast(x.dtype, value.dtype, "same_kind"):
            raise ShapeError(f"input {shown(value.name)} is of {value.dtype}, got {x.dtype}")
        x = x.astype(value.dtype)
    wanted = value.shape
    if wanted is not None and (
        x.ndim != len(wanted) or any(n is not None and n != size for n, size in zip(wanted, x.shape, strict=True))
    ):
        sizes = ", ".join("any" if n is None else str(n) for n in wanted)
        raise ShapeError(
            f"input {shown(value.name)} has shape ({one_line(sizes)}), got an array of shape {tuple(x.shape)}"
        )
    return x
