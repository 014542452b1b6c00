"""ONNX's own tests as plain cases: a model, inputs, expected outputs and tolerances."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from xpcnn.onnx.backend import Prepared
from xpcnn.onnx.call import OPERATORS
from xpcnn.onnx.loading import load
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model

KINDS = ("node", "pytorch-converted", "pytorch-operator", "simple")


@dataclass(frozen=True)
class Case:
    """One official test. sets: (inputs, expected outputs), as arrays where they are tensors."""

    name: str
    kind: str
    model: Any
    sets: list[tuple[list[Any], list[Any]]]
    rtol: float
    atol: float

    @property
    def operators(self) -> set[str]:
        return {node.op_type for node in self.model.graph.node}


@functools.cache
def all_cases() -> tuple[Case, ...]:
    """All of them, in the order of their kinds and names."""
    return tuple(case for kind in KINDS for case in sorted(_cases(kind), key=lambda case: case.name))


def _cases(kind: str) -> Iterator[Case]:
    for test in load_model_tests(kind=kind):
        if test.model is not None:
            sets = [([_array(a) for a in inputs], [_array(a) for a in outputs]) for inputs, outputs in test.data_sets]
            yield Case(test.name, kind, test.model, sets, test.rtol, test.atol)
            continue
        folder = Path(test.model_dir)
        sets = [(_tensors(f, "input"), _tensors(f, "output")) for f in sorted(folder.glob("test_data_set*"))]
        yield Case(test.name, kind, onnx.load(folder / "model.onnx"), sets, test.rtol, test.atol)


def _array(a: Any) -> Any:
    return numpy_helper.to_array(a) if isinstance(a, onnx.TensorProto) else a


def _tensors(folder: Path, what: str) -> list[Any]:
    files = sorted(folder.glob(f"{what}_*.pb"), key=lambda file: int(file.stem.split("_")[1]))
    return [_tensor(file) for file in files]


def _tensor(file: Path) -> Any:
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(file.read_bytes())
        return numpy_helper.to_array(tensor)
    except Exception:  # a sequence or an optional, which no CNN takes
        return None


def in_scope(case: Case) -> bool:
    """Whether all of a case's operators are known to us, and it is of a kind that is run in full."""
    if case.kind == "simple":  # sequences, optionals and training operators
        return False
    return case.kind != "node" or all((n.domain, n.op_type) in OPERATORS for n in case.model.graph.node)


def attempt(case: Case, program: bool = False) -> str | None:
    """None where a case gives what is expected, else in one line what went wrong."""
    try:
        check(case, program)
    except Exception as error:
        text = " ".join(str(error).split())
        return f"{type(error).__name__}: {text[:300]}"
    return None


def check(case: Case, program: bool = False) -> Any:
    """Raises where outputs differ from the expected ones in number, shape, dtype or value; returns what was loaded."""
    loaded = Program(read_model(case.model)) if program else load(case.model)
    prepared = Prepared(loaded)
    for inputs, outputs in case.sets:
        found = prepared.run(inputs)
        Runner.assert_similar_outputs(outputs, [np.asarray(a) for a in found], case.rtol, case.atol)
    return loaded
