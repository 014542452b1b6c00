"""What the stages of the CUDA path share: one pass of a batch over fixed device memory, and layers done plainly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xpcnn.device import Array
from xpcnn.executors.device_memory import DeviceRoom
from xpcnn.flat import FlatArrays
from xpcnn.graph import Node
from xpcnn.layers.base import Context, Layer
from xpcnn.rng import stream_number

__all__ = ["CudaPass", "CudaStage", "LayerStage"]


@dataclass
class CudaPass:
    """One batch's, or one piece's, way there and back.

    first: index in the batch of the piece's first sample. room: memory that lasts over all passes; what a stage takes
    by `CudaStage.own` stays as it is until its backward, what it takes by `scratch` until its function ends. weights:
    parameters in the dtype of the pictures, by layer.
    """

    train: bool
    keep: bool
    step: int
    seed: int
    first: int
    room: DeviceRoom
    flat: FlatArrays
    weights: Mapping[int, Mapping[str, Array]]
    begun: set[int] = field(default_factory=set)  # layers that have a gradient already

    def weight(self, layer: Layer, name: str) -> Array | None:
        return self.weights[id(layer)].get(name)

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.room.get(name, shape, dtype)


class CudaStage:
    """One or more layers of a graph done together; takes the first one's inputs and gives the last one's output."""

    couples = False  # whether training couples the samples, so that a batch cannot go in pieces

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        self.name, self.inputs = nodes[-1].name, nodes[0].inputs
        self.needs_dx = nodes[0].needs_dx
        self.learns = any(node.layer.params for node in nodes)

    def own(self, p: CudaPass, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        return p.room.get((self.name, name), shape, dtype)

    def bias_gradient(self, p: CudaPass, layer: Layer, size: int) -> Array:
        """Where the gradient of `b` belongs: memory to throw away where the layer has none."""
        view = layer.grads.get("b")
        return p.scratch("unwanted b", (size,), p.flat.grads.dtype) if view is None else view

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        """The output, and what backward needs."""
        raise NotImplementedError

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        """The gradient of each input; those of the parameters go into `layer.grads`."""
        raise NotImplementedError

    def describe(self) -> str:
        """How it is done, in a few words."""
        raise NotImplementedError


class LayerStage(CudaStage):
    """Any one layer, by its own reference code; it may stand at several places."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.layer, self.couples = node.layer, node.layer.needs_whole_batch
        self.stream = stream_number(node.name)

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        ctx = Context(
            p.train, keep=p.keep, need_dx=self.needs_dx, seed=p.seed, stream=self.stream, step=p.step, first=p.first
        )
        return self.layer.forward_in(ctx, *xs), ctx

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        dxs = self.layer.backward_in(saved, dout)
        again = id(self.layer) in p.begun
        p.begun.add(id(self.layer))
        for name, g in saved.grads.items():
            view = self.layer.grads[name]
            if again:
                view += g
            else:
                view[...] = g
        return dxs if isinstance(dxs, tuple) else (dxs,)

    def describe(self) -> str:
        return "reference"
