"""Convolutions in groups, or with dilation: a set of columns for each group."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.columns_stage import ColumnsStage
from xpcnn.executors.eager import Gradients
from xpcnn.executors.stages import Job, add_up
from xpcnn.graph import Node
from xpcnn.ops.cpu.convolution import as_filters, as_matrix, columns, fold_columns
from xpcnn.ops.cpu.pooling import Choice
from xpcnn.ops.cpu.windows import depthwise

__all__ = ["GroupedStage"]


class GroupedStage(ColumnsStage):
    """As a ColumnsStage, for any groups and dilation. C is a group's number of channels, FN all groups' filters."""

    def __init__(self, conv: Node, relu: Node | None, pool: Node | None) -> None:
        super().__init__(conv, relu, pool)
        self.groups, self.dilation = self.layer.groups, self.layer.dilation
        self.direct_dx = False
        self.pointwise = (self.FH, self.FW, *self.layer.stride, *self.layer.pad) == (1, 1, 1, 1, 0, 0, 0, 0)
        self.single = self.C == 1 and self.groups == self.FN  # each channel has one filter, to itself

    def prepare(self, backward: bool) -> Any:
        W = self.layer.params["W"]
        if self.single and not backward:
            return np.ascontiguousarray(W[:, 0].transpose(1, 2, 0))
        return [as_matrix(part) for part in np.split(W, self.groups)]

    def _parts(self) -> list[tuple[int, slice, slice]]:
        """For each group its number, its channels and its filters."""
        C, FN = self.C, self.FN // self.groups  # W's own second axis is a group's channels already
        return [(g, slice(g * C, (g + 1) * C), slice(g * FN, (g + 1) * FN)) for g in range(self.groups)]

    def _group_columns(self, job: Job, padded: Array, rows: slice, channels: slice) -> Array:
        shape = (len(padded), rows.stop - rows.start, self.out[1], self.FH, self.FW, self.C)
        room = job.scratch("columns", shape, padded.dtype)
        stride = self.layer.stride
        return columns(padded[:, rows.start * stride[0] :, :, channels], stride, room, self.dilation)

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        x = self._keep_input(job, xs[0])
        z = self._output(job, "z" if self.pool else "y", len(x), x.dtype)
        if self.single and not job.keep:
            stride, pad, room = self.layer.stride, (self.top, self.left), job.scratch("products", z.shape, z.dtype)
            depthwise(x, job.prepared[self], stride, pad, self.dilation, room, z)
            return self._finish(job, z)[0].transpose(0, 3, 1, 2), None
        if self.pointwise and not job.keep:
            seen, given = x.reshape(-1, x.shape[3]), z.reshape(-1, self.FN)
            for g, channels, filters in self._parts():
                np.matmul(seen[:, channels], job.prepared[self][g], out=given[:, filters])
            return self._finish(job, z)[0].transpose(0, 3, 1, 2), None
        padded = self._padded(job, x)
        for rows in self._strips(len(x), x.dtype):
            for g, channels, filters in self._parts():
                part = z[:, rows, :, filters]
                cols = self._group_columns(job, padded, rows, channels)
                part[...] = (cols @ job.prepared[self][g]).reshape(part.shape)
        y, choice = self._finish(job, z)
        return y.transpose(0, 3, 1, 2), (x, y, choice)

    def _by_columns(self, job: Job, x: Array, dy: Array, choice: Choice | None) -> Array | None:
        n, (OH, OW) = len(x), self.out
        g_all = job.scratch("dy spread", (n, OH, OW, self.FN), x.dtype)
        self._spread(job, dy, choice, g_all)
        padded = self._padded(job, x)
        dx = self._padded_dx(job, x)
        stride = self.layer.stride
        for rows in self._strips(n, x.dtype):
            for g, channels, filters in self._parts():
                g_rows = np.ascontiguousarray(g_all[:, rows, :, filters]).reshape(-1, self.FN // self.groups)
                cols = self._group_columns(job, padded, rows, channels)
                add_up(job, self, f"W{g}", cols.T @ g_rows)
                if dx is not None:
                    dcols = np.matmul(g_rows, job.prepared[self][g].T, out=cols)
                    windows = dcols.reshape(n, -1, OW, self.FH, self.FW, self.C)
                    fold_columns(windows, stride, dx[:, rows.start * stride[0] :, :, channels], self.dilation)
        return self._unpadded(dx, x)

    def gradients(self, sums: dict[str, Array]) -> Gradients:
        shape = (self.FN // self.groups, self.C, self.FH, self.FW)
        grads = {"W": np.concatenate([as_filters(sums[f"W{g}"], shape) for g in range(self.groups)])}
        if "b" in sums:
            grads["b"] = sums["b"]
        return {self.nodes[0].name: grads}

    @property
    def how(self) -> str:
        return f"columns of {self.groups} group(s)" + (", for predictions without" if self.single else "")
