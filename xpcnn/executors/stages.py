"""Stages: one or more layers of a network done as one step on a piece of a batch, with memory that is used again.

Arrays between stages have NCHW shapes; a stage that works on channels-last memory hands on a transposed view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.gradients import Gradients
from xpcnn.graph import Node
from xpcnn.layers.base import Context
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.shape import Flatten

__all__ = ["Calls", "Job", "LayerStage", "Stage", "Workspace", "add_up", "channels_last"]

Calls = Sequence[Callable[[], object]]

_LINE = 64  # bytes of a cache line


class Workspace:
    """Buffers by key, allocated when first asked for and used again ever after; one workspace a thread.

    calls: what stages remember of calls on these buffers; forgotten when a buffer is replaced by a larger one.
    replaced: how often that has happened, a buffer's first allocation included.
    """

    def __init__(self) -> None:
        self._buffers: dict[Any, Array] = {}
        self.calls: dict[Any, Any] = {}
        self.replaced = 0

    def get(self, key: object, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of that shape: zeros at first, then what was left there before."""
        size = math.prod(shape)
        flat = self._buffers.get(key)
        if flat is None or flat.size < size or flat.dtype != dtype:
            flat = self._buffers[key] = _aligned_zeros(size, np.dtype(dtype))
            self.calls.clear()
            self.replaced += 1
        return flat[:size].reshape(shape)


def _aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """NumPy's own large arrays begin 16 bytes behind a cache line, so that every wide vector would lie across two."""
    room = np.zeros(size * dtype.itemsize + _LINE, dtype=np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + size * dtype.itemsize].view(dtype)


def _alone(part: Array) -> Array:
    return part


@dataclass
class Job:
    """One piece's way through the stages: how it runs, where its memory is, and what it adds up.

    piece: numbers the pieces whose backward is still to come, so that they do not share kept memory. first: index
    in the batch of the piece's first sample. samples: how many the batch has whose statistics are taken. prepared:
    what `Stage.prepare` made, by stage. sums: parameter gradients of all pieces so far, by stage, in the stage's own
    layout.
    """

    train: bool
    keep: bool
    step: int
    seed: int
    first: int
    piece: int
    room: Workspace
    prepared: dict[Stage, Any]
    samples: int = 0
    thread: int = 0
    meet: Callable[[Array], Array] = _alone
    sums: dict[Stage, dict[str, Array]] = field(default_factory=dict)

    def kept(self, stage: Stage, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Memory that stays as it is until this piece's backward is done."""
        return self.room.get((id(stage), self.piece, name), shape, dtype)

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Memory for use within one stage's forward or backward."""
        return self.room.get(name, shape, dtype)


class Stage:
    """Base of the stages. nodes: those it does; it takes the first one's inputs and gives the last one's output."""

    channels_last = False  # whether pictures lie so in the memory of its output
    effort = 1.7  # time of one of its multiply-adds in prediction, a compiled kernel's being 1
    couples = False  # whether training couples the samples, so that the threads must meet

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        self.name, self.inputs = nodes[-1].name, nodes[0].inputs
        self.needs_dx = nodes[0].needs_dx
        self.learns = any(node.layer.params for node in nodes)

    def touched(self, taken: int, given: int) -> int:
        """About how many numbers a sample's forward or backward reads and writes; it takes and gives so many."""
        return taken + given

    def touched_ahead(self, taken: int, given: int) -> int:
        """The same of a forward without a backward."""
        return self.touched(taken, given)

    def watched(self) -> tuple[Array, ...]:
        """The arrays that `prepare` makes something of."""
        return ()

    def prepare(self, backward: bool) -> Any:
        """What all pieces of a pass share, such as weights in another layout. backward: whether one will follow."""
        return None

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        """The output, and whatever backward needs."""
        raise NotImplementedError

    def place_for(self, job: Job, n: int) -> Array | None:
        """For prediction: memory in which it likes to be handed a batch of n, so that nobody copies; None: any."""
        return None

    def bind(self, job: Job, *xs: Array) -> tuple[Array, Calls]:
        """For prediction on the same memory over and over: the output, and calls that make it anew from xs.

        This one is for stages whose forward leaves its output in kept memory.
        """
        y, _ = self.forward(job, *xs)
        return y, [partial(self.forward, job, *xs)]

    def backward(self, job: Job, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        """The gradient of each input; adds those of the parameters to job.sums."""
        raise NotImplementedError

    def gradients(self, sums: dict[str, Array]) -> Gradients:
        """The sums of all pieces as gradients by node and parameter."""
        return {self.nodes[0].name: sums}

    def describe(self) -> str:
        """How it is done, in a few words."""
        raise NotImplementedError


def add_up(job: Job, stage: Stage, name: str, g: Array) -> None:
    """Adds g, which may lie in memory that is used again, to the stage's sums."""
    sums = job.sums.setdefault(stage, {})
    if name in sums:
        sums[name] += g
    else:
        sums[name] = g.copy()


def channels_last(job: Job, x: Array, name: str) -> Array:
    """x (n, C, H, W) as a C-contiguous (n, H, W, C): a view where its memory is so already, else a copy in scratch."""
    view = x.transpose(0, 2, 3, 1)
    if view.flags.c_contiguous:
        return view
    room = job.scratch(name, view.shape, x.dtype)
    np.copyto(room, view)
    return room


class LayerStage(Stage):
    """Any one layer, by its own reference code."""

    def __init__(self, node: Node, stream: int) -> None:
        super().__init__(node)
        self.stream = stream

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        ctx = Context(
            job.train,
            keep=job.keep,
            need_dx=self.needs_dx,
            seed=job.seed,
            stream=self.stream,
            step=job.step,
            first=job.first,
        )
        return self.nodes[0].layer.forward_in(ctx, *xs), ctx

    def bind(self, job: Job, *xs: Array) -> tuple[Array, Calls]:
        given, _ = self.forward(job, *xs)
        if type(self.nodes[0].layer) in (Dropout, Flatten) and np.may_share_memory(given, xs[0]):
            return given, []  # at test time they hand on what they are given
        y = job.kept(self, "y", given.shape, given.dtype)

        def again() -> None:
            np.copyto(y, self.forward(job, *xs)[0])

        again()
        return y, [again]

    def backward(self, job: Job, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        dxs = self.nodes[0].layer.backward_in(saved, dout)
        for name, g in saved.grads.items():
            add_up(job, self, name, g)
        return dxs if isinstance(dxs, tuple) else (dxs,)

    def describe(self) -> str:
        return "reference"
