"""`load`: from an .onnx file to something that runs."""

from __future__ import annotations

from os import PathLike
from typing import Any

from xpcnn.device import Device
from xpcnn.onnx import operators  # noqa: F401  (registers the translators)
from xpcnn.onnx.call import NotANetwork
from xpcnn.onnx.network import OnnxNetwork, build_network
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model

__all__ = ["load"]


def load(
    source: str | PathLike[str] | bytes | Any, device: str | Device | None = "cpu", *, seed: int | None = None
) -> OnnxNetwork | Program:
    """The ONNX model of a path, of a file's bytes, or of an `onnx.ModelProto`, ready to `run` on `device`.

    A model with one input of float samples (N, ...) and one output, whose weights are constants, becomes an ordinary
    Network of any N, which can be trained, saved and exported. Any other is a Program, whose `why` says what kept it
    from being one. seed: of the dropout masks, should it be trained.

    Raises CheckpointError for a file that is damaged or unsound, UnsupportedOperator naming the node that cannot be
    run, DeviceError for a device that cannot be used.
    """
    model = read_model(source)
    try:
        return build_network(model, device, seed)
    except NotANetwork as reason:
        return Program(model, device, why=str(reason))
