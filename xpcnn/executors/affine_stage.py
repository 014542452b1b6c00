"""Affine layers, with the ReLU behind them: matrix products, or a compiled kernel where a few samples are predicted."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.stages import Calls, Job, Stage, add_up
from xpcnn.graph import Node
from xpcnn.layers.affine import Affine
from xpcnn.ops.cpu.compiled.affine import AffineKernels

__all__ = ["AffineStage", "CompiledAffineStage"]

FEW = 8  # samples up to which a kernel that reads the weights once for three of them is faster than BLAS
LARGE = 2**23  # bytes of weights from which memory is what counts, and BLAS reads it with all cores


class AffineStage(Stage):
    """An affine layer, with the ReLU behind it if there is one."""

    effort = 2.5  # the weights are read for a few samples

    def __init__(self, affine: Node, *relu: Node) -> None:
        super().__init__(affine, *relu)
        assert isinstance(affine.layer, Affine)
        self.layer, self.relu = affine.layer, bool(relu)

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        (x,) = xs
        W, b = self.layer.params["W"], self.layer.params.get("b")
        n = len(x)
        if x.flags.c_contiguous:
            rows = x.reshape(n, W.shape[0])
        else:
            rows = job.kept(self, "rows", (n, W.shape[0]), x.dtype)
            np.copyto(rows.reshape(x.shape), x)
        y = np.matmul(rows, W, out=job.kept(self, "y", (n, W.shape[1]), W.dtype))
        if b is not None:
            y += b
        if self.relu:
            np.maximum(y, 0.0, out=y)
        return y, (x.shape, rows, y)

    def backward(self, job: Job, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        shape, rows, y = saved
        W = self.layer.params["W"]
        dy = dout
        if self.relu:
            dy = np.multiply(dout, y > 0.0, out=job.scratch("affine dy", y.shape, y.dtype))
        sums = job.sums.setdefault(self, {})
        if "W" in sums:
            sums["W"] += np.matmul(rows.T, dy, out=job.scratch("affine dW", W.shape, W.dtype))
        else:
            sums["W"] = np.matmul(rows.T, dy)
        if "b" in self.layer.params:
            add_up(job, self, "b", dy.sum(axis=0))
        if not self.needs_dx:
            return (None,)
        dx = np.matmul(dy, W.T, out=job.kept(self, "dx", rows.shape, rows.dtype))
        return (dx.reshape(shape),)

    def describe(self) -> str:
        return "matrix product" + (" + relu" if self.relu else "")


class CompiledAffineStage(AffineStage):
    """As an AffineStage, for float32, where kernels can be compiled."""

    def __init__(self, affine: Node, *relu: Node) -> None:
        super().__init__(affine, *relu)
        self.kernels = AffineKernels(*self.layer.params["W"].shape)

    def bind(self, job: Job, *xs: Array) -> tuple[Array, Calls]:
        (x,) = xs
        W, b = self.layer.params["W"], self.layer.params.get("b")
        last = x.ndim == 4 and not x.flags.c_contiguous  # pictures with their channels last
        rows = x.transpose(0, 2, 3, 1) if last else x
        if len(x) > FEW or W.nbytes > LARGE or not all(map(_plain, (rows, W, b))):
            return super().bind(job, x)
        y = job.kept(self, "y", (len(x), W.shape[1]), W.dtype)
        rows, channels = rows.reshape(len(x), W.shape[0]), x.shape[1] if last else 1
        return y, [self.kernels.forward(rows, W, b, y, self.relu, channels)]


def _plain(a: Array | None) -> bool:
    """Whether a kernel can read it where it is."""
    return a is None or (a.dtype == np.float32 and a.flags.aligned and a.flags.c_contiguous)
