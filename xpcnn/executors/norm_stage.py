"""Batch normalisation over threads: each has a part of the batch, and they meet to add up the statistics."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.channels import channel_map
from xpcnn.executors.stages import Calls, Job, LayerStage, Stage, add_up, channels_last
from xpcnn.graph import Node
from xpcnn.layers.activation import Relu
from xpcnn.layers.arithmetic import WithConstant
from xpcnn.layers.normalization import BatchNormalization
from xpcnn.ops.reference import inverse_deviation
from xpcnn.rng import stream_number

__all__ = ["AppliedStage", "Meeting", "NormStage"]


class Meeting:
    """Where the threads of one pass exchange sums; the parts are added in the threads' order, whoever comes first.

    across: makes a sum, in place, that of all processes; called by the first thread alone.
    """

    def __init__(self, threads: int, across: Callable[[Array], None] | None = None) -> None:
        self._barrier = threading.Barrier(threads)
        self._parts: list[Any] = [None] * threads
        self._across = across
        self._everywhere: Any = None  # the last sum over all processes

    def total(self, thread: int, part: Array) -> Array:
        """The sum of all threads' parts; each thread calls this equally often."""
        self._parts[thread] = part
        self._barrier.wait()
        if self._across is None:
            total = self._added()
        else:
            if thread == 0:
                self._everywhere = self._added()
                self._across(self._everywhere)
            self._barrier.wait()
            total = self._everywhere.copy()
        self._barrier.wait()  # nobody puts a new part in before all have read the old ones
        return total

    def _added(self) -> Array:
        total: Array = self._parts[0].copy()
        for other in self._parts[1:]:
            total += other
        return total

    def cancel(self) -> None:
        """Wakes those who wait, with a BrokenBarrierError: somebody will not come."""
        self._barrier.abort()


class NormStage(Stage):
    """A batch normalisation, with the ReLU behind it if there is one, on a thread's whole part of the batch."""

    channels_last = True
    couples = True

    def __init__(self, norm: Node, *relu: Node) -> None:
        super().__init__(norm, *relu)
        assert isinstance(norm.layer, BatchNormalization)
        self.layer, self.relu = norm.layer, bool(relu)
        self.after: list[Node] = []  # layers behind it that are done with it at test time: see `take_over`

    def take_over(self, chain: list[Node]) -> list[Stage]:
        """Does `chain`, constants of the channels and perhaps a ReLU, at test time; what is left to do in training."""
        self.after = chain
        return [AppliedStage(node, stream_number(node.name)) for node in chain]

    def watched(self) -> tuple[Array, ...]:
        params, state = self.layer.params, self.layer.state
        constants = [node.layer.constant for node in self.after if isinstance(node.layer, WithConstant)]
        return params["gamma"], params["beta"], state["running_mean"], state["running_var"], *constants

    def prepare(self, backward: bool) -> Any:
        """For test time: what each channel is multiplied by, and what is added to it."""
        layer = self.layer
        if self.after:
            gamma, layers = layer.params["gamma"], [layer, *(node.layer for node in self.after)]
            maps = channel_map([one for one in layers if not isinstance(one, Relu)], len(gamma))
            return tuple(np.broadcast_to(a, gamma.shape).astype(gamma.dtype) for a in maps)
        scale = layer.params["gamma"] * inverse_deviation(layer.state["running_var"], layer.eps)
        return scale, layer.params["beta"] - layer.state["running_mean"] * scale

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        x = _channels_last(job, xs[0], "norm x")
        rows = x.reshape(-1, x.shape[-1])
        y = job.kept(self, "y", rows.shape, rows.dtype)
        if not job.train:
            np.multiply(rows, job.prepared[self][0], out=y)
            y += job.prepared[self][1]
            if self.relu or (self.after and isinstance(self.after[-1].layer, Relu)):
                np.maximum(y, 0.0, out=y)
            return _as_given(y, x), None
        layer = self.layer
        ones = np.ones(len(rows), rows.dtype)
        count = float(math.prod(x.shape[1:-1]) * job.samples)
        mean = job.meet(ones @ rows) / count
        x_hat = np.subtract(rows, mean, out=job.kept(self, "x_hat", rows.shape, rows.dtype))
        squares = np.multiply(x_hat, x_hat, out=y)
        var = job.meet(ones @ squares) / count
        inverse_std = inverse_deviation(var, layer.eps)
        x_hat *= inverse_std
        if job.thread == 0:
            layer.move_running(mean, var)
        np.multiply(x_hat, layer.params["gamma"], out=y)
        y += layer.params["beta"]
        if self.relu:
            np.maximum(y, 0.0, out=y)
        return _as_given(y, x), (x.shape, x_hat, inverse_std, count, y)

    def backward(self, job: Job, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        shape, x_hat, inverse_std, count, y = saved
        dy = _channels_last(job, dout, "dout").reshape(x_hat.shape)
        if self.relu:
            dy = np.multiply(dy, y > 0.0, out=job.scratch("norm dy", y.shape, y.dtype))
        ones = np.ones(len(dy), dy.dtype)
        dx = np.multiply(dy, x_hat, out=job.kept(self, "dx", dy.shape, dy.dtype))
        dgamma, dbeta = ones @ dx, ones @ dy
        add_up(job, self, "gamma", dgamma)
        add_up(job, self, "beta", dbeta)
        mean_dgamma, mean_dbeta = job.meet(np.stack([dgamma, dbeta])) / count
        np.multiply(x_hat, mean_dgamma, out=dx)
        np.subtract(dy, dx, out=dx)
        dx -= mean_dbeta
        dx *= self.layer.params["gamma"] * inverse_std
        return (np.moveaxis(dx.reshape(shape), -1, 1),)

    def describe(self) -> str:
        how = "the threads meet" + (" + relu" if self.relu else "")
        return how + (f", for predictions with {', '.join(node.name for node in self.after)}" if self.after else "")


class AppliedStage(LayerStage):
    """A layer that the normalisation before it has done already where nothing is learned."""

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        return super().forward(job, *xs) if job.train else (xs[0], None)

    def bind(self, job: Job, *xs: Array) -> tuple[Array, Calls]:
        return xs[0], []


def _channels_last(job: Job, x: Array, name: str) -> Array:
    """x (n, C, ...) as (n, ..., C), whose memory goes as its axes do."""
    if x.ndim == 4:
        return channels_last(job, x, name)
    view = np.moveaxis(x, 1, -1)
    if view.ndim == 2 or view.flags.c_contiguous:
        return view
    room = job.scratch(name, view.shape, x.dtype)
    np.copyto(room, view)
    return room


def _as_given(rows: Array, x: Array) -> Array:
    """Rows (n * places, C) as (n, C, ...), for x (n, ..., C)."""
    y = rows.reshape(x.shape)
    return y.transpose(0, 3, 1, 2) if y.ndim == 4 else np.moveaxis(y, -1, 1)
