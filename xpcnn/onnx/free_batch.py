"""Whether a network made with one number standing for N is the same with any: a model may calculate with its N."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.layers.base import Layer
from xpcnn.onnx.reading import Step

__all__ = ["ANY_BATCH", "OTHERS", "Folding", "difference", "same_layer"]

ANY_BATCH = 104_729  # stands for N where the model leaves it open: a prime that no other size is likely to be
OTHERS = (1, 5040)  # the network must come out the same with these; no remainder is the same for all three

# What N may go through: moving, adding and multiplying. After comparisons or extremes three numbers prove nothing.
_PLAIN = frozenset(
    ("Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Expand", "Flatten", "Gather", "Identity", "Mul",
     "Neg", "Range", "ReduceProd", "ReduceSum", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Sub", "Tile",
     "Transpose", "Unsqueeze")
)  # fmt: skip
_LARGEST = 2**16  # elements of an array that is worth keeping for the comparison


@dataclasses.dataclass(frozen=True)
class Folding:
    """An operator that was done beforehand on what follows from shapes; None for an input that is large."""

    step: Step
    inputs: tuple[np.ndarray | None, ...]

    @classmethod
    def of(cls, step: Step, values: Mapping[str, Array]) -> Folding:
        """The folding of `step`, whose inputs lie in `values`."""
        given = (np.asarray(values[name]) for name in step.inputs if name)
        return cls(step, tuple(a if a.size <= _LARGEST else None for a in given))

    def depends(self, other: Folding) -> bool:
        """Whether it does something with N after which nothing can be told. other: the same with another N."""
        different = [not _equal(a, b) for a, b in zip(self.inputs, other.inputs, strict=True)]
        if not any(different) or self.step.op in _PLAIN:
            return False
        if self.step.op == "Where":
            return different[0]
        if self.step.op == "Equal" and all(a is not None for a in (*self.inputs, *other.inputs)):
            return _meet(self.inputs, other.inputs)
        return True


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a, b)


def _meet(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    """Whether some N may equal what it is compared with; exporters ask for -1, which N never is."""
    a, b = np.broadcast_arrays(*ours)
    c, d = np.broadcast_arrays(*theirs)
    if a.shape != c.shape or a.dtype.kind not in "iu":
        return True
    return bool((((a != c) & ((b > 0) | (b != d))) | ((b != d) & (a > 0))).any())


def difference(ours: Sequence[Folding], theirs: Sequence[Folding]) -> str:
    """Why two ways through the same model are not the same but for N; "" where they are."""
    if [f.step.outputs for f in ours] != [f.step.outputs for f in theirs]:
        return "what can be calculated beforehand depends on N"
    for mine, other in zip(ours, theirs, strict=True):
        if mine.depends(other):
            return f"it asks for N in a {mine.step.op}"
    return ""


def same_layer(a: Any, b: Any) -> bool:
    """Whether two layers, or parts of them, are alike to the last number."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Layer):
        return same_layer(vars(a), vars(b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_layer(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_layer, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return bool(a == b)
