"""`export`: any Network as an .onnx file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from xpcnn import __version__
from xpcnn.atomic import atomic_write
from xpcnn.errors import ConfigError
from xpcnn.graph import INPUT
from xpcnn.layers.base import Shape
from xpcnn.network import Network
from xpcnn.onnx import exporters  # noqa: F401  (registers them)
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.package import onnx_package
from xpcnn.onnx.writing import NEWEST, OLDEST, Writer

__all__ = ["export", "to_onnx"]

_IR = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13}  # of an opset
_MOST = 2**31 - 1  # bytes of a protobuf message


def export(network: Network, path: str | os.PathLike[str], opset: int = 17) -> None:
    """Writes a network, as it predicts, to an .onnx file: scores (N, K), any N, its parameters by their names.

    A network that came from ONNX keeps its names and its final softmax. opset: 13 to 25. The file is written whole or
    not at all, after ONNX's own checker has passed it.

    Raises ConfigError for an opset or layer that cannot be written, a file that cannot be, or more than 2 GiB.
    """
    onnx = onnx_package()
    model = to_onnx(network, opset)
    if model.ByteSize() > _MOST:
        raise ConfigError(f"an .onnx file holds at most 2 GiB, this network would take {model.ByteSize():,} bytes")
    onnx.checker.check_model(model, full_check=True)
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


def to_onnx(network: Network, opset: int = 17) -> Any:
    """The same as an `onnx.ModelProto` in memory."""
    onnx = onnx_package()
    if isinstance(opset, bool) or not isinstance(opset, int) or not OLDEST <= opset <= NEWEST:
        raise ConfigError(f"opset is one of {OLDEST} to {NEWEST}, got {opset!r}")
    source, output = "input", "scores"
    if isinstance(network, OnnxNetwork):
        source, output = network.inputs[0], network.outputs[0]
    dtype = np.dtype(network.param_dtype)
    writer = Writer(onnx, opset, dtype, source)
    for name in (output, *network.nodes):
        writer.free(name)  # nobody else's
    names, shapes = {INPUT: source}, {INPUT: network.input_shape}
    for node in network.nodes.values():
        writer.layer = node.name
        writer.arriving = tuple(shapes[name] for name in node.inputs)
        names[node.name] = writer.write(node.layer, tuple(names[name] for name in node.inputs))
        shapes[node.name] = node.shape
    last = next(reversed(network.nodes))
    given, shape = names[last], network.output_shape
    if isinstance(network, OnnxNetwork) and network.final is not None:
        layer, shape = network.final
        writer.layer, writer.arriving = writer.free("final"), (network.output_shape,)
        given = writer.write(layer, (given,))
        if len(shape) > 1:
            given = writer.node("Reshape", given, writer.whole((0, *shape), "shape"))
    writer.layer = ""
    _rename(writer, given, output)
    return _model(onnx, writer, (source, network.input_shape), (output, shape))


def _rename(writer: Writer, given: str, output: str) -> None:
    """Calls the last value `output`; where no node gave it (nothing was calculated), an Identity does."""
    for node in reversed(writer.nodes):
        if given in node.output and output not in (name for n in writer.nodes for name in n.output):
            for other in writer.nodes:
                other.input[:] = [output if name == given else name for name in other.input]
            node.output[:] = [output if name == given else name for name in node.output]
            return
    writer.nodes.append(writer.onnx.helper.make_node("Identity", [given], [output], name=output))


def _model(onnx: Any, writer: Writer, source: tuple[str, Shape], output: tuple[str, Shape]) -> Any:
    helper = onnx.helper
    kind = helper.np_dtype_to_tensor_dtype(writer.dtype)
    ends = [helper.make_tensor_value_info(name, kind, ["N", *shape]) for name, shape in (source, output)]
    constants = [onnx.numpy_helper.from_array(a, name) for name, a in writer.constants.items()]
    graph = helper.make_graph(writer.nodes, "xpcnn", ends[:1], ends[1:], constants)
    return helper.make_model(
        graph,
        producer_name="xpcnn",
        producer_version=__version__,
        ir_version=_IR[writer.opset],
        opset_imports=[helper.make_opsetid("", writer.opset)],
    )
