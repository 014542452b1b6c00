"""Convolution stages: bias, ReLU and 2x2 max pooling are done with the convolution, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.columns_stage import ColumnsStage
from xpcnn.executors.stages import Calls, Job
from xpcnn.graph import Node
from xpcnn.ops.cpu.pooling import Choice, bias_relu, pool_bias_relu
from xpcnn.ops.cpu.rows import Block, RowShape, as_lines

__all__ = ["ConvStage"]


class ConvStage(ColumnsStage):
    """A convolution (one group, no dilation), then a ReLU and a 2x2 max pooling where they follow.

    Forward goes by rows, but by columns where `RowShape` says so; backward by columns.
    """

    def __init__(self, conv: Node, relu: Node | None, pool: Node | None) -> None:
        super().__init__(conv, relu, pool)
        self.shape = RowShape(self.FH, self.FW, self.C, self.FN, self.layer.stride, self.out[1], self.pool)

    def touched_ahead(self, taken: int, given: int) -> int:
        return taken + given if self.shape.possible else super().touched_ahead(taken, given)

    def watched(self) -> tuple[Array, ...]:
        return tuple(self.layer.params.values())

    def prepare(self, backward: bool) -> Any:
        """The weights as matrices, and the bias as often as pixels lie in a row: long runs are added faster."""
        b = self.layer.params.get("b")
        return *super().prepare(backward), None if b is None else np.tile(b, self.shape.width // self.shape.phases)

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        if not self.shape.possible:
            return super().forward(job, *xs)
        x = self._keep_input(job, xs[0]) if job.keep else xs[0].transpose(0, 2, 3, 1)
        y, choice = self._given(job, len(x), x.dtype)
        for call in self._calls(job, x, y, choice):
            call()
        return y.transpose(0, 3, 1, 2), (x, y, choice)

    def bind(self, job: Job, *xs: Array) -> tuple[Array, Calls]:
        if not self.shape.possible:
            return super().bind(job, *xs)
        x = xs[0].transpose(0, 2, 3, 1)
        y, _ = self._given(job, len(x), x.dtype)
        calls = list(self._calls(job, x, y, None))
        for call in calls:
            call()
        return y.transpose(0, 3, 1, 2), calls

    def _calls(self, job: Job, x: Array, y: Array, choice: Choice | None) -> Iterator[Callable[[], object]]:
        """What to call to get y and the choice from x (n, H, W, C), block by block."""
        matrix, _, b = job.prepared[self]
        for images, rows in self.shape.blocks(len(x), y.shape[1] * self.shape.phases, x.itemsize):
            block, inner = self._block(job, images.stop - images.start, rows, x)
            if rows.start == 0:
                yield partial(np.copyto, inner, x[images])
            yield partial(block.run, matrix)
            floor = self._floor(job, block.lines.shape[1:], y.dtype)
            if self.pool:
                here = images, slice(rows.start // 2, rows.stop // 2)
                which = None if choice is None else Choice(*(as_lines(c[here]) for c in choice))
                room = job.scratch("pool", (2, *block.corners[0].shape), y.dtype)
                yield partial(pool_bias_relu, block.corners, b, floor, as_lines(y[here]), room, which)
            else:
                yield partial(bias_relu, block.lines, b, floor, as_lines(y[images, rows]))

    def _floor(self, job: Job, shape: tuple[int, ...], dtype: Any) -> Array | None:
        """Zeros for a ReLU to compare with, in a buffer that nobody writes to; None where there is no ReLU."""
        return job.scratch("zeros", shape, dtype) if self.relu else None

    def _block(self, job: Job, n: int, rows: slice, x: Array) -> tuple[Block, Array]:
        """The block for n pictures' output rows, and where the pictures go: amid zeros that nobody overwrites."""
        key = (id(self), n, rows.start, rows.stop, x.dtype)
        if key not in job.room.calls:
            (_, H, W, C), count = x.shape, rows.stop - rows.start
            shape = (n, H + self.top + self.bottom, W + self.left + self.right, C)
            padded = job.room.get((id(self), "padded"), shape, x.dtype)
            first = rows.start * self.layer.stride[0]
            block = Block(
                self.shape,
                padded[:, first : first + self.shape.seen(count)],
                job.scratch("slab", self.shape.slab(n, count), x.dtype),
                job.scratch("z", self.shape.products(n, count), x.dtype),
            )
            job.room.calls[key] = block, padded[:, self.top : self.top + H, self.left : self.left + W]
        found: tuple[Block, Array] = job.room.calls[key]
        return found

    @property
    def how(self) -> str:
        return "rows" if self.shape.possible else super().how
