"""Convolution stages that go by columns: bias, ReLU and 2x2 max pooling are done with them, on channels-last memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.eager import Gradients
from xpcnn.executors.stages import Job, Stage, add_up, channels_last
from xpcnn.graph import Node
from xpcnn.layers.convolution import Convolution
from xpcnn.ops.cpu.convolution import (
    as_filters,
    as_flipped_matrix,
    as_matrix,
    columns,
    fold_columns,
    pad_into,
    strips,
)
from xpcnn.ops.cpu.pooling import Choice, bias_relu, pool_bias_relu, pool_scatter
from xpcnn.ops.cpu.products import cross, product

__all__ = ["ColumnsStage", "corners_of"]

_Corners = tuple[Array, Array, Array, Array]


def corners_of(z: Array) -> _Corners:
    """The four elements of each 2x2 window of z (n, OH, OW, FN), in reading order, as views, without an odd rest."""
    rows, width = z.shape[1] // 2 * 2, z.shape[2] // 2 * 2
    return (
        z[:, 0:rows:2, 0:width:2],
        z[:, 0:rows:2, 1:width:2],
        z[:, 1:rows:2, 0:width:2],
        z[:, 1:rows:2, 1:width:2],
    )


class ColumnsStage(Stage):
    """A convolution (one group, no dilation), then a ReLU and a 2x2 max pooling where they follow."""

    channels_last = True

    def __init__(self, conv: Node, relu: Node | None, pool: Node | None) -> None:
        super().__init__(*(node for node in (conv, relu, pool) if node is not None))
        assert isinstance(conv.layer, Convolution)
        self.layer = conv.layer
        self.relu, self.pool = relu is not None, pool is not None
        shape: tuple[int, int, int, int] = conv.layer.params["W"].shape
        self.FN, self.C, self.FH, self.FW = shape
        self.out: tuple[int, int] = (conv.shape[1], conv.shape[2])
        self.top, self.left, self.bottom, self.right = self.layer.pad
        # dx as a convolution of dy needs pads that are not negative: FH - 1 - top and so on.
        self.direct_dx = self.layer.stride == (1, 1) and all(
            pad < size for pad, size in zip(self.layer.pad, (self.FH, self.FW) * 2, strict=True)
        )

    def touched(self, taken: int, given: int) -> int:
        pixels = self.out[0] * self.out[1]
        return taken + given + pixels * (self.FN + self.FH * self.FW * self.C)

    def watched(self) -> tuple[Array, ...]:
        return (self.layer.params["W"],)

    def prepare(self, backward: bool) -> Any:
        W = self.layer.params["W"]
        return as_matrix(W), as_flipped_matrix(W) if backward and self.needs_dx and self.direct_dx else None

    # -- forward -----------------------------------------------------------------------------------------------

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        x = channels_last(job, xs[0], "conv x") if not job.keep else self._keep_input(job, xs[0])
        n, dtype = len(x), x.dtype
        z = self._output(job, "z" if self.pool else "y", n, dtype)
        padded, matrix = self._padded(job, x), job.prepared[self][0]
        for rows in self._strips(n, dtype):
            np.matmul(self._columns(job, padded, rows), matrix, out=z[:, rows].reshape(-1, self.FN))
        y, choice = self._finish(job, z)
        return y.transpose(0, 3, 1, 2), (x, y, choice)

    def _strips(self, n: int, dtype: Any) -> list[slice]:
        return strips(n, self.out[0], self.out[1] * self.FH * self.FW * self.C * dtype.itemsize)

    def _columns(self, job: Job, padded: Array, rows: slice) -> Array:
        """The windows of the output rows `rows`, as a matrix in scratch."""
        stride_h = self.layer.stride[0]
        seen = padded[:, rows.start * stride_h : (rows.stop - 1) * stride_h + self.FH]
        shape = (len(padded), rows.stop - rows.start, self.out[1], self.FH, self.FW, self.C)
        return columns(seen, self.layer.stride, job.scratch("columns", shape, padded.dtype))

    def _output(self, job: Job, name: str, n: int, dtype: Any) -> Array:
        """Room for the convolution's output: scratch where it is pooled at once, else what is handed on."""
        shape = (n, *self.out, self.FN)
        return job.scratch(name, shape, dtype) if self.pool else job.kept(self, name, shape, dtype)

    def _keep_input(self, job: Job, x: Array) -> Array:
        """x channels-last in memory that stays until backward: the stage before's own, or a copy."""
        view = x.transpose(0, 2, 3, 1)
        if view.flags.c_contiguous:
            return view
        room = job.kept(self, "x", view.shape, x.dtype)
        np.copyto(room, view)
        return room

    def _padded(self, job: Job, x: Array) -> Array:
        n, H, W, C = x.shape
        if not any(self.layer.pad):
            return x
        room = job.scratch("padded", (n, H + self.top + self.bottom, W + self.left + self.right, C), x.dtype)
        return pad_into(room, x, self.layer.pad)

    def _finish(self, job: Job, z: Array) -> tuple[Array, Choice | None]:
        """Bias, ReLU and pooling: z (n, OH, OW, FN) to the stage's output and the pooling's choice."""
        b, floor = self.layer.params.get("b"), 0.0 if self.relu else None
        if not self.pool:
            bias_relu(z, b, floor, z)
            return z, None
        y, choice = self._given(job, len(z), z.dtype)
        pool_bias_relu(corners_of(z), b, floor, y, job.scratch("pool", (2, *y.shape), y.dtype), choice)
        return y, choice

    def _given(self, job: Job, n: int, dtype: Any) -> tuple[Array, Choice | None]:
        """Kept memory for the output, and for the pooling's choice where a backward will want it."""
        OH, OW = self.out
        shape = (n, OH // 2, OW // 2, self.FN) if self.pool else (n, OH, OW, self.FN)
        y = job.kept(self, "y", shape, dtype)
        if not (self.pool and job.keep):
            return y, None
        return y, Choice(*(job.kept(self, name, shape, bool) for name in Choice._fields))

    # -- backward ----------------------------------------------------------------------------------------------

    def backward(self, job: Job, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        x, y, choice = saved
        dy = channels_last(job, dout, "dout")
        if self.relu:
            dy = np.multiply(dy, y > 0.0, out=job.scratch("masked", y.shape, y.dtype))
        if "b" in self.layer.params:
            rows = dy.reshape(-1, self.FN)
            add_up(job, self, "b", np.ones(len(rows), rows.dtype) @ rows)
        if self.needs_dx and self.direct_dx:
            return (self._direct(job, x, dy, choice),)
        return (self._by_columns(job, x, dy, choice),)

    def _spread(self, job: Job, dy: Array, choice: Choice | None, into: Array) -> None:
        """Writes the gradient of the convolution's output, un-pooled where it was pooled, into `into`."""
        if choice is None:
            np.copyto(into, dy)
            return
        OH, OW = self.out
        if OH % 2:
            into[:, OH - 1] = 0.0
        if OW % 2:
            into[:, :, OW - 1] = 0.0
        pool_scatter(dy, choice, corners_of(into), job.scratch("pool", dy.shape, dy.dtype))

    def _direct(self, job: Job, x: Array, dy: Array, choice: Choice | None) -> Array:
        """dx and dW from one set of columns of the padded output gradient."""
        n, H, W, _ = x.shape
        above, before = self.FH - 1 - self.top, self.FW - 1 - self.left
        OH, OW = self.out
        padded = job.scratch("dy padded", (n, H + self.FH - 1, W + self.FW - 1, self.FN), x.dtype)
        padded[:, :above] = 0.0
        padded[:, above + OH :] = 0.0
        padded[:, above : above + OH, :before] = 0.0
        padded[:, above : above + OH, before + OW :] = 0.0
        self._spread(job, dy, choice, padded[:, above : above + OH, before : before + OW])
        dx = job.kept(self, "dx", x.shape, x.dtype)
        for rows in strips(n, H, W * self.FH * self.FW * self.FN * x.itemsize):
            shape = (n, rows.stop - rows.start, W, self.FH, self.FW, self.FN)
            seen = padded[:, rows.start : rows.stop - 1 + self.FH]
            cols = columns(seen, (1, 1), job.scratch("columns", shape, x.dtype))
            # The same columns serve both products: of dy with the flipped filters, and of x with dy.
            product(cols, job.prepared[self][1], out=dx[:, rows].reshape(-1, self.C))
            add_up(job, self, "flipped W", cross(x[:, rows].reshape(-1, self.C), cols))
        return dx.transpose(0, 3, 1, 2)

    def _by_columns(self, job: Job, x: Array, dy: Array, choice: Choice | None) -> Array | None:
        """dW from the input's columns made again, and dx by adding columns up: any stride and pad."""
        n, C, (OH, OW) = len(x), x.shape[3], self.out
        if choice is None:
            g = dy
        else:
            g = job.scratch("dy spread", (n, OH, OW, self.FN), x.dtype)
            self._spread(job, dy, choice, g)
        padded_x = self._padded(job, x)
        dx = self._padded_dx(job, x)
        stride = self.layer.stride
        for rows in self._strips(n, x.dtype):
            g_rows = g[:, rows].reshape(-1, self.FN)
            cols = self._columns(job, padded_x, rows)
            add_up(job, self, "W", cross(cols, g_rows))
            if dx is not None:
                dcols = product(g_rows, job.prepared[self][0].T, out=cols)
                seen = dx[:, rows.start * stride[0] : (rows.stop - 1) * stride[0] + self.FH]
                fold_columns(dcols.reshape(n, -1, OW, self.FH, self.FW, C), stride, seen)
        return self._unpadded(dx, x)

    def _padded_dx(self, job: Job, x: Array) -> Array | None:
        """Zeros for the gradient of the padded input, to be added to; None where nobody asks for it."""
        if not self.needs_dx:
            return None
        n, H, W, C = x.shape
        dx = job.kept(self, "dx", (n, H + self.top + self.bottom, W + self.left + self.right, C), x.dtype)
        dx.fill(0.0)
        return dx

    def _unpadded(self, dx: Array | None, x: Array) -> Array | None:
        """What of `_padded_dx` belongs to the input x itself, in NCHW shape."""
        if dx is None:
            return None
        _, H, W, _ = x.shape
        return dx[:, self.top : self.top + H, self.left : self.left + W].transpose(0, 3, 1, 2)

    def gradients(self, sums: dict[str, Array]) -> Gradients:
        grads = {}
        if "W" in sums:
            grads["W"] = np.ascontiguousarray(as_filters(sums["W"], (self.FN, self.C, self.FH, self.FW)))
        if "flipped W" in sums:
            flipped = sums["flipped W"].reshape(self.C, self.FH, self.FW, self.FN)
            grads["W"] = np.ascontiguousarray(flipped[:, ::-1, ::-1].transpose(3, 0, 1, 2))
        if "b" in sums:
            grads["b"] = sums["b"]
        return {self.nodes[0].name: grads}

    @property
    def how(self) -> str:
        """The way forward, in a word or two."""
        return "columns"

    def describe(self) -> str:
        return self.how + (" + relu" if self.relu else "") + (" + 2x2 max pool" if self.pool else "")
