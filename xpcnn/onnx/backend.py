"""xpcnn as ONNX's own test suite, and programs written for `onnx.backend`, call it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx.backend.base import Backend as BaseBackend
from onnx.backend.base import BackendRep

from xpcnn.device import asnumpy, get_device
from xpcnn.errors import ConfigError, DeviceError, ShapeError
from xpcnn.formats.limits import listed
from xpcnn.onnx.loading import load
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.package import onnx_package
from xpcnn.onnx.program import Program

__all__ = ["Backend", "Prepared"]


class Prepared(BackendRep):
    """A loaded model, called with its inputs in their order."""

    def __init__(self, model: OnnxNetwork | Program) -> None:
        self.model = model

    def run(self, inputs: Any, **kwargs: Any) -> tuple[np.ndarray, ...]:
        """The outputs in their order, on the host. inputs: a sequence in the model's order, or a mapping by name."""
        wanted = self.model.inputs
        if len(inputs) != len(wanted):
            raise ShapeError(f"this model takes {len(wanted)} inputs, {listed(wanted)}; got {len(inputs)}")
        given = inputs if hasattr(inputs, "keys") else dict(zip(wanted, inputs, strict=True))
        found = self.model.run(given)
        return tuple(asnumpy(found[name]) for name in self.model.outputs)


class Backend(BaseBackend):
    """`onnx.backend.base.Backend`: prepare, run_model and run_node, on "CPU" or "CUDA"."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Prepared:
        """A model ready to run. model: an `onnx.ModelProto`."""
        return Prepared(load(model, device.lower()))

    @classmethod
    def run_node(
        cls, node: Any, inputs: Sequence[Any], device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[np.ndarray, ...]:
        """The outputs of one node. kwargs: opset_version, the newest that is known if it is left out."""
        onnx = onnx_package()
        helper, unknown = onnx.helper, onnx.TensorProto.UNDEFINED
        arrays = [np.asarray(x) for x in inputs]
        names = [name for name in node.input if name]
        graph_inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in zip(names, arrays, strict=True)
        ]
        graph_outputs = [helper.make_tensor_value_info(name, unknown, None) for name in node.output if name]
        opset = helper.make_opsetid("", kwargs.get("opset_version", onnx.defs.onnx_opset_version()))
        graph = helper.make_graph([node], "node", graph_inputs, graph_outputs)
        return cls.prepare(helper.make_model(graph, opset_imports=[opset]), device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models run on it here."""
        try:
            get_device(device.lower())
        except (ConfigError, DeviceError):
            return False
        return True
