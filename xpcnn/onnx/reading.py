"""From an .onnx file to a checked Model of plain Python and NumPy; nothing in the file is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.errors import CheckpointError, XpcnnError
from xpcnn.formats.limits import listed, not_a_file, one_line, shown
from xpcnn.onnx.call import OPERATORS, UnsupportedOperator
from xpcnn.onnx.package import onnx_package

__all__ = ["BETWEEN", "Model", "Step", "Value", "read_model"]

BETWEEN = "\0"  # ends the names of what an operator's own layers hand on; a model's names do not have it

_DOMAINS = ("", "ai.onnx")
_MOST = 2**18  # nodes; the largest networks have some ten thousand


@dataclass(frozen=True)
class Value:
    """An input or output of a model. shape: numbers, None where any will do; None: any shape at all."""

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Step:
    """One node; see `xpcnn.onnx.call.Call` for its parts."""

    op: str
    domain: str
    name: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """A graph in the order in which it runs: every name is defined once, before it is used."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    constants: dict[str, np.ndarray]
    steps: tuple[Step, ...]


def read_model(source: str | PathLike[str] | bytes | Any) -> Model:
    """The model of a path, of the bytes of a file, or of an `onnx.ModelProto`.

    Raises CheckpointError for what is no sound ONNX model, UnsupportedOperator naming a node that cannot be run.
    """
    onnx = onnx_package()
    folder: Path | None = None
    if isinstance(source, str | PathLike):
        path = Path(source)
        folder, what = path.parent, str(path)
        if not_a_file(path):
            raise CheckpointError(f"{path} cannot be read: it is a device, pipe or socket")
        try:
            proto = onnx.load_model(str(path), "protobuf", load_external_data=False)
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} does not exist") from error
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
        except Exception as error:  # protobuf's own DecodeError has no stable place
            raise CheckpointError(f"{path} is not an ONNX file, or is damaged: {one_line(str(error))}") from error
    elif isinstance(source, bytes):
        what = "the model"
        try:
            proto = onnx.load_model_from_string(source, "protobuf")
        except Exception as error:
            raise CheckpointError(f"these bytes are not an ONNX file: {one_line(str(error))}") from error
    else:
        proto, what = source, "the model"
    try:
        return _Reader(onnx, proto, folder, what).model()
    except XpcnnError:
        raise
    except Exception as error:  # the packages' own words, for what they find unsound
        raise CheckpointError(f"{what} is not a sound ONNX model: {one_line(str(error))}") from error


class _Reader:
    def __init__(self, onnx: Any, proto: Any, folder: Path | None, what: str) -> None:
        self.onnx, self.proto, self.folder, self.what = onnx, proto, folder, what
        self.beside: dict[Path, int] = {}  # other files with numbers, and their sizes
        self.taken = 0  # bytes out of them
        self.opsets: dict[str, int] = {}
        for o in proto.opset_import:
            domain = "" if o.domain in _DOMAINS else self.text(o.domain)
            if self.opsets.setdefault(domain, o.version) != o.version:
                raise self.fault(f"it imports two opsets of the domain {shown(domain)}")

    def fault(self, text: str) -> CheckpointError:
        return CheckpointError(f"{self.what}: {one_line(text, 500)}")

    def text(self, name: Any) -> str:
        """A name, which protobuf hands over as bytes where they are no text."""
        if not isinstance(name, str) or BETWEEN in name:
            raise self.fault(f"the name {shown(name)} is no text")
        return name

    def model(self) -> Model:
        if not self.proto.HasField("graph") or not self.opsets:
            raise self.fault("there is no graph in it; is it an ONNX file?")
        graph, newest = self.proto.graph, self.onnx.defs.onnx_opset_version()
        if not 0 < self.opsets.get("", 1) <= newest:
            raise UnsupportedOperator(
                f"{self.what}: it is of opset {shown(self.opsets[''])}; the package onnx here knows 1 to {newest}"
            )
        if max(map(len, (graph.node, graph.initializer, graph.input, graph.output))) > _MOST:
            raise self.fault(f"it has more than {_MOST:,} nodes, tensors, inputs or outputs")
        if self.proto.functions or graph.sparse_initializer:
            raise self.fault("functions of its own and sparse initializers are not known to xpcnn; export it without")
        constants: dict[str, np.ndarray] = {}
        for tensor in graph.initializer:
            if self.text(tensor.name) in constants:
                raise self.fault(f"two initializers are called {shown(tensor.name)}")
            constants[tensor.name] = self.array(tensor)
        inputs = tuple(self.value(v) for v in graph.input if v.name not in constants)
        steps = tuple(self.step(node, i) for i, node in enumerate(graph.node))
        model = Model(inputs, tuple(self.value(v) for v in graph.output), constants, steps)
        self.check_names(model)
        self.check_nodes()
        return model

    def value(self, proto: Any) -> Value:
        self.text(proto.name)
        if proto.type.WhichOneof("value") != "tensor_type":
            return Value(proto.name, None, None)
        tensor = proto.type.tensor_type
        dtype = self.dtype(tensor.elem_type) if tensor.elem_type else None
        if not tensor.HasField("shape"):
            return Value(proto.name, dtype, None)
        sizes = (int(d.dim_value) if d.HasField("dim_value") else None for d in tensor.shape.dim)
        # Some exporters write 0 or -1 for a size that is left open.
        return Value(proto.name, dtype, tuple(n if n is not None and n >= 0 else None for n in sizes))

    def dtype(self, code: int) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(code))
        return dtype

    def array(self, tensor: Any) -> np.ndarray:
        if any(n < 0 for n in tensor.dims):
            raise self.fault(f"tensor {shown(tensor.name)} has the shape {tuple(tensor.dims)}")
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            return self.external(tensor)
        array: np.ndarray = self.onnx.numpy_helper.to_array(tensor)
        return array

    def external(self, tensor: Any) -> np.ndarray:
        """A tensor whose numbers lie in another file, which must be beside the model's own."""
        told = {entry.key: entry.value for entry in tensor.external_data}
        name = told.get("location", "")
        if self.folder is None:
            raise self.fault(f"tensor {shown(tensor.name)} lies in the file {shown(name)}; load the model by its path")
        folder = self.folder.resolve()
        path = (folder / name).resolve()
        if not name or not path.is_relative_to(folder) or not path.is_file():
            raise self.fault(f"tensor {shown(tensor.name)} lies in {shown(name)}, which is no file beside the model")
        dtype = self.dtype(tensor.data_type)
        count = math.prod(tensor.dims)
        self.beside[path] = path.stat().st_size
        offset = int(told.get("offset", 0))
        size = int(told.get("length", count * dtype.itemsize))
        if offset < 0 or size != count * dtype.itemsize or offset + size > path.stat().st_size:
            raise self.fault(
                f"tensor {shown(tensor.name)} of shape {tuple(tensor.dims)} does not fit {size} bytes from {offset} on "
                f"in {shown(name)}, which has {path.stat().st_size}"
            )
        self.taken += size
        if self.taken > 2 * sum(self.beside.values()):
            raise self.fault("its tensors take the same numbers out of other files again and again")
        return np.fromfile(path, dtype, count, offset=offset).reshape(tuple(tensor.dims))

    def step(self, node: Any, i: int) -> Step:
        for each in (
            node.name,
            node.op_type,
            node.domain,
            *node.input,
            *node.output,
            *(a.name for a in node.attribute),
        ):
            self.text(each)
        domain = "" if node.domain in _DOMAINS else node.domain
        name = node.name or (node.output[0] if node.output else f"number {i}")
        words = f"node {shown(name)}: operator {shown(f'{domain}.{node.op_type}'.lstrip('.'))}"
        known = OPERATORS.get((domain, node.op_type))
        if known is None:
            raise UnsupportedOperator(f"{words} is not one that xpcnn knows; docs/interop.md lists those")
        if domain not in self.opsets:
            raise self.fault(f"{words} is of a domain that the model does not import")
        opset = self.opsets[domain]
        try:
            schema = self.onnx.defs.get_schema(node.op_type, max_inclusive_version=opset, domain=domain)
        except Exception as error:  # onnx.defs.SchemaError is not exported everywhere
            raise UnsupportedOperator(f"{words} does not exist in opset {opset}") from error
        if schema.since_version not in known.versions:
            have = ", ".join(map(str, known.versions))
            raise UnsupportedOperator(
                f"{words} has the meaning it got in opset {schema.since_version}; xpcnn knows those of {have}"
            )
        attributes = {a.name: self.attribute(a, words) for a in node.attribute}
        if len(attributes) < len(node.attribute):
            raise self.fault(f"{words} has an attribute twice")
        return Step(node.op_type, domain, name, schema.since_version, tuple(node.input), tuple(node.output), attributes)

    def attribute(self, proto: Any, words: str) -> Any:
        kinds = self.onnx.AttributeProto
        if proto.ref_attr_name:
            raise self.fault(f"{words} has the attribute {shown(proto.name)} of a function that it is not in")
        if proto.type == kinds.TENSOR:
            return self.array(proto.t)
        if proto.type == kinds.STRING:
            return proto.s.decode("utf-8", "replace")
        if proto.type == kinds.STRINGS:
            return [s.decode("utf-8", "replace") for s in proto.strings]
        if proto.type in (kinds.INT, kinds.FLOAT, kinds.INTS, kinds.FLOATS):
            value = self.onnx.helper.get_attribute_value(proto)
            return list(value) if proto.type in (kinds.INTS, kinds.FLOATS) else value
        raise UnsupportedOperator(f"{words} has the attribute {shown(proto.name)} of a kind that xpcnn does not read")

    def check_names(self, model: Model) -> None:
        """Every name defined once and before it is used: so there is no cycle and nothing dangles."""
        defined = set(model.constants)
        for value in model.inputs:
            if value.name in defined:
                raise self.fault(f"two inputs are called {shown(value.name)}")
            defined.add(value.name)
        ever = {name for step in model.steps for name in step.outputs}
        for step in model.steps:
            for name in step.inputs:
                if name and name not in defined:
                    why = (
                        "which only a later node gives: a cycle, or nodes out of order"
                        if name in ever
                        else "which nothing gives"
                    )
                    raise self.fault(f"node {shown(step.name)} takes {shown(name)}, {why}")
            for name in step.outputs:
                if name and name in defined:
                    raise self.fault(f"{shown(name)} is given twice, the second time by node {shown(step.name)}")
                defined.add(name)
        dangling = [v.name for v in model.outputs if v.name not in defined]
        if dangling or not model.outputs:
            raise self.fault(f"its outputs {listed(dangling)} are given by nothing")

    def check_nodes(self) -> None:
        """ONNX's own rules for each node: which attributes and how many inputs it may have, and of which kind."""
        checker = self.onnx.checker
        context = checker.DEFAULT_CONTEXT.__class__()
        context.ir_version = self.proto.ir_version
        context.opset_imports = {o.domain: o.version for o in self.proto.opset_import}
        for node in self.proto.graph.node:
            try:
                checker.check_node(node, context)
            except checker.ValidationError as error:
                name = node.name or next(iter(node.output), "")
                raise self.fault(f"node {shown(name)} ({node.op_type}): {one_line(str(error))}") from error
