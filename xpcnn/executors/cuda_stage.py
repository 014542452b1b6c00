"""What the stages of the CUDA path share: one pass of a batch over fixed device memory, and layers done plainly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xpcnn.device import Array
from xpcnn.executors.device_memory import DeviceRoom
from xpcnn.flat import FlatArrays
from xpcnn.graph import Node
from xpcnn.layers.base import Context, Layer
from xpcnn.ops.cuda.module import sum_dtype
from xpcnn.rng import stream_number

__all__ = ["CudaPass", "CudaStage", "LayerStage", "Others"]


@dataclass(frozen=True)
class Others:
    """The processes that have the rest of a batch of so many `samples`, and this one's number among them.

    add_up: replaces an array by the sum of all processes' arrays, in the order of the current stream.
    """

    add_up: Callable[[Array], None]
    rank: int
    size: int
    samples: int

    def total(self, part: Array) -> Array:
        self.add_up(part)
        return part


@dataclass
class CudaPass:
    """One batch's, or one piece's, way there and back.

    first: index in the batch of the piece's first sample. room: memory that lasts over all passes; what a stage takes
    by `CudaStage.own` stays as it is until its backward, what it takes by `scratch` until its function ends. weights:
    parameters in the dtype of the pictures, by layer. others: where the batch's other samples are in other processes.
    """

    train: bool
    keep: bool
    step: int
    seed: int
    first: int
    room: DeviceRoom
    flat: FlatArrays
    weights: Mapping[int, Mapping[str, Array]]
    others: Others | None = None
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


def _as_summed(a: Array) -> Array:
    """`a` in the dtype that kernels calculate in; whole numbers, such as places of a max pooling, as they are."""
    return a.astype(sum_dtype(a.dtype), copy=False) if a.dtype.kind == "f" else a


class LayerStage(CudaStage):
    """Any one layer, by its own reference code; it may stand at several places.

    Where pictures are float16 the layer calculates in float32, as the kernels do, and its results are rounded.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.layer, self.couples = node.layer, node.layer.needs_whole_batch
        self.stream = stream_number(node.name)

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        ctx = Context(
            p.train, keep=p.keep, need_dx=self.needs_dx, seed=p.seed, stream=self.stream, step=p.step, first=p.first,
            total=None if p.others is None else p.others.total, samples=p.others.samples if p.others else len(xs[0]),
        )  # fmt: skip
        y = self.layer.forward_in(ctx, *(_as_summed(x) for x in xs))
        return (y.astype(xs[0].dtype, copy=False) if y.dtype.kind == "f" else y), ctx

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        dxs = self.layer.backward_in(saved, _as_summed(dout))
        again = id(self.layer) in p.begun
        p.begun.add(id(self.layer))
        for name, g in saved.grads.items():
            view = self.layer.grads[name]
            if again:
                view += g
            else:
                view[...] = g
        each = dxs if isinstance(dxs, tuple) else (dxs,)
        return tuple(None if dx is None else dx.astype(dout.dtype, copy=False) for dx in each)

    def describe(self) -> str:
        return "reference"
