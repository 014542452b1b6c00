"""Batch normalisation over threads: each has a part of the batch, and they meet to add up the statistics."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.stages import Job, Stage, add_up, channels_last
from xpcnn.graph import Node
from xpcnn.layers.normalization import BatchNormalization
from xpcnn.ops.reference import inverse_deviation

__all__ = ["Meeting", "NormStage"]


class Meeting:
    """Where the threads of one pass exchange sums; the parts are added in the threads' order, whoever comes first."""

    def __init__(self, threads: int) -> None:
        self._barrier = threading.Barrier(threads)
        self._parts: list[Any] = [None] * threads

    def total(self, thread: int, part: Array) -> Array:
        """The sum of all threads' parts; each thread calls this equally often."""
        self._parts[thread] = part
        self._barrier.wait()
        total = self._parts[0].copy()
        for other in self._parts[1:]:
            total += other
        self._barrier.wait()  # nobody puts a new part in before all have read the old ones
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

    def watched(self) -> tuple[Array, ...]:
        params, state = self.layer.params, self.layer.state
        return params["gamma"], params["beta"], state["running_mean"], state["running_var"]

    def prepare(self, backward: bool) -> Any:
        """For test time: what each channel is multiplied by, and what is added to it."""
        layer = self.layer
        scale = layer.params["gamma"] * inverse_deviation(layer.state["running_var"], layer.eps)
        return scale, layer.params["beta"] - layer.state["running_mean"] * scale

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        x = channels_last(job, xs[0], "norm x") if xs[0].ndim == 4 else xs[0]
        rows = x.reshape(-1, x.shape[-1])
        y = job.kept(self, "y", rows.shape, rows.dtype)
        if not job.train:
            np.multiply(rows, job.prepared[self][0], out=y)
            y += job.prepared[self][1]
            if self.relu:
                np.maximum(y, 0.0, out=y)
            return _as_given(y, x), None
        layer = self.layer
        ones = np.ones(len(rows), rows.dtype)
        count = float(len(rows) // len(x) * job.samples)
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
        given = channels_last(job, dout, "dout") if dout.ndim == 4 else dout
        dy = given.reshape(x_hat.shape)
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
        dx = dx.reshape(shape)
        return (dx.transpose(0, 3, 1, 2) if dx.ndim == 4 else dx,)

    def describe(self) -> str:
        return "the threads meet" + (" + relu" if self.relu else "")


def _as_given(rows: Array, x: Array) -> Array:
    """Rows (n*H*W, C) or (n, D) in the shape of x: (n, C, H, W) for pictures."""
    y = rows.reshape(x.shape)
    return y.transpose(0, 3, 1, 2) if y.ndim == 4 else y
