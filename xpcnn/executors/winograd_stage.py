"""Convolution stages that go Winograd's way, by NumPy alone.

XPCNN_WINOGRAD in the environment says where that way may be taken, here and in compiled_winograd_stage.py: "predict"
(the default: where nothing is kept for a backward pass), "always" (in training also), "never". It is read when a
network's plan is made. Rounding differs from that of plain sums (docs/compiled.md), enough to decide otherwise where
two numbers of a pooling window, or a number and 0, are as good as equal: hence not by default in training.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.errors import ConfigError
from xpcnn.executors.conv_stage import ConvStage
from xpcnn.executors.stages import Calls, Job, channels_last
from xpcnn.graph import Node
from xpcnn.ops.cpu.pooling import Choice, bias_relu, pool_bias_relu
from xpcnn.ops.cpu.tiles import Place, TileBlock, tile_blocks
from xpcnn.ops.cpu.winograd import transform_filters

__all__ = ["WinogradStage", "winograd_mode"]

_MODES = ("predict", "always", "never")


def winograd_mode() -> str:
    """What XPCNN_WINOGRAD says. Raises ConfigError for a word that it does not know."""
    mode = os.environ.get("XPCNN_WINOGRAD", "").strip().lower() or "predict"
    if mode not in _MODES:
        raise ConfigError(f"XPCNN_WINOGRAD is {mode!r}; it may be one of {', '.join(_MODES)}")
    return mode


class WinogradStage(ConvStage):
    """As a ConvStage, for 3x3 filters, stride 1 and float32. always: forward in training too; its backward is plain."""

    effort = 0.7

    def __init__(self, conv: Node, relu: Node | None, pool: Node | None, always: bool) -> None:
        super().__init__(conv, relu, pool)
        self.always = always
        OH, OW = self.out
        self.made = (OH // 2 * 2, OW // 2 * 2) if self.pool else (OH, OW)

    def touched_ahead(self, taken: int, given: int) -> int:
        return taken + given  # what lies between is made block by block

    def prepare(self, backward: bool) -> Any:
        """As ConvStage, and where they will be used the transformed filters."""
        plain = super().prepare(backward)
        return plain if backward and not self.always else (*plain, transform_filters(self.layer.params["W"]))

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        if job.keep and not self.always:
            return super().forward(job, *xs)
        x = self._keep_input(job, xs[0]) if job.keep else channels_last(job, xs[0], "conv x")
        y, choice = self._given(job, len(x), x.dtype)
        for call in self._tiles(job, x, y, choice):
            call()
        return y.transpose(0, 3, 1, 2), (x, y, choice)

    def bind(self, job: Job, *xs: Array) -> tuple[Array, Calls]:
        given, x = xs[0].transpose(0, 2, 3, 1), channels_last(job, xs[0], "conv x")
        y, _ = self._given(job, len(x), x.dtype)
        calls: list[Callable[[], object]] = [] if given.flags.c_contiguous else [partial(np.copyto, x, given)]
        calls += self._tiles(job, x, y, None)
        for call in calls:
            call()
        return y.transpose(0, 3, 1, 2), calls

    def _tiles(self, job: Job, x: Array, y: Array, choice: Choice | None) -> Iterator[Callable[[], object]]:
        """What to call to get y and the choice from x (n, H, W, C), block by block."""
        U, b, wide = job.prepared[self][3], job.prepared[self][2], self.shape.phases
        for block, z, (images, rows, columns) in self._blocks(job, x, y):
            yield partial(block.run, x, U)
            n, high, width, FN = z.shape
            lines = z.reshape(n, high, wide, width // wide * FN)
            line_b = None if b is None else b[: width // wide * FN]
            floor = self._floor(job, lines.shape[3:], y.dtype)
            if not self.pool:
                yield partial(bias_relu, lines[:, :, 0], line_b, floor, lines[:, :, 0])
                continue
            here = images, slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)
            corners = (lines[:, 0::2, 0], lines[:, 0::2, 1], lines[:, 1::2, 0], lines[:, 1::2, 1])
            shape = corners[0].shape
            which = None if choice is None else Choice(*(c[here].reshape(shape) for c in choice))
            room = job.scratch("pool", (2, *shape), y.dtype)
            yield partial(pool_bias_relu, corners, line_b, floor, y[here].reshape(shape), room, which)

    def _blocks(self, job: Job, x: Array, y: Array) -> list[tuple[TileBlock, Array, Place]]:
        """The blocks of y, where each puts its sums, and which it is; made once for the same memory."""
        key = (id(self), job.piece, job.keep, len(x))
        if key not in job.room.calls:
            places = tile_blocks(len(x), *self.made, self.C + self.FN)
            most = np.max([TileBlock.sizes(place, self.C, self.FN) for place in places], axis=0)
            h, v, m = (job.scratch(f"tiles {number}", (int(size),), x.dtype) for number, size in enumerate(most))
            shapes = [(*(part.stop - part.start for part in place), self.FN) for place in places]
            if self.pool:
                z = job.scratch("z", (max(map(math.prod, shapes)),), x.dtype)
                zs = [z[: math.prod(shape)].reshape(shape) for shape in shapes]
            else:
                zs = [y[place] for place in places]
            job.room.calls[key] = [
                (TileBlock(place, x.shape[1:], (self.top, self.left), (h, v, m), z, self.shape.phases), z, place)
                for place, z in zip(places, zs, strict=True)
            ]
        found: list[tuple[TileBlock, Array, Place]] = job.room.calls[key]
        return found

    def describe(self) -> str:
        how = "winograd 4x4" if self.always else f"{self.how}, for predictions winograd 4x4"
        return how + super().describe().removeprefix(self.how)
