"""What each op asks of the kernels: its work in chunks that threads share out."""

from __future__ import annotations

import math

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.inference.convolving import Convolving
from xpcnn.executors.inference.memory import Region, Value
from xpcnn.executors.inference.rewrite import Op
from xpcnn.executors.inference.sharing import Phases, apart, floor, parts_of_rows
from xpcnn.layers.affine import Affine
from xpcnn.layers.normalization import LocalResponseNormalization
from xpcnn.ops.cpu.compiled.arrays import NUMBERS_AT, Call
from xpcnn.ops.cpu.compiled.inference.affine import parts_of, streaming_kernel, sum_kernel
from xpcnn.ops.cpu.compiled.inference.elementwise import RowShape, lrn_kernel, lrn_room, pixel_kernel
from xpcnn.ops.cpu.compiled.inference.layout import move_kernel, shuffle_kernel, zero_kernel
from xpcnn.ops.cpu.compiled.inference.pooling import PoolShape, pool_kernel
from xpcnn.ops.cpu.compiled.inference.team import Chunk

__all__ = ["Maker"]

_SAMPLES = 8  # of an affine layer at a time: more outputs would not stay in the first-level cache


class Maker(Convolving):
    """Makes the work of all ops but those that are done by a layer's own code."""

    def phases(self, op: Op) -> Phases:
        """Lists of chunks, each to be begun when all of the one before are done."""
        made: Phases = getattr(self, f"_{op.kind}")(op)
        return made

    def _affine(self, op: Op) -> Phases:
        layer, x, y = op.layer, self.value(op.inputs[0]), self.value(op.name)
        assert isinstance(layer, Affine)
        W, b = self.packed[op]
        D, M = W.shape
        phases: Phases = []
        x_at, x_step = x.at(self.arena), x.region.image
        room = self.arena + self.layout.spare[op].start if op in self.layout.spare else 0
        if x.region.H * x.region.W > 1:
            x_at, x_step = room, 4 * D
            phases.append(self._moved(x, x_at))
            room += 4 * self.n * D
        rows = parts_of_rows(D, M)
        if len(rows) == 1:
            return [
                *phases,
                self._streamed(op, rows[0], (x_at, x_step), b, floor(op), (y.at(self.arena), y.region.image)),
            ]
        nothing = np.zeros(M, np.float32)
        self.alive.append(nothing)
        made: list[Chunk] = []
        step = 4 * apart(M)
        for i, part in enumerate(rows):
            to = room + self.n * step * i, step
            made += self._streamed(op, part, (x_at, x_step), nothing if i else b, -math.inf, to)
        numbers = self.n, room, self.n * step, step, floor(op), y.at(self.arena), y.region.image
        return [*phases, made, [[(sum_kernel(len(rows), M, self.host), (*numbers, NUMBERS_AT))]]]

    def _streamed(
        self, op: Op, rows: slice, x: tuple[int, int], b: Array, least: float, y: tuple[int, int]
    ) -> list[Chunk]:
        """Some rows of W times their part of the samples. x, y: address, and bytes a sample."""
        W, _ = self.packed[op]
        M, chunk = W.shape[1], []
        for image in range(0, self.n, _SAMPLES):
            for first, vectors, lanes in parts_of(M, self.host.lanes):
                kernel = streaming_kernel(min(_SAMPLES, self.n - image), lanes, self.host)
                weights = W.ctypes.data + 4 * (rows.start * M + first), 4 * M, b.ctypes.data + 4 * first
                x_at, y_at = x[0] + image * x[1] + 4 * rows.start, y[0] + image * y[1] + 4 * first
                numbers = vectors, rows.stop - rows.start, x_at, x[1], *weights, least, y_at, y[1]
                chunk.append((kernel, (*numbers, NUMBERS_AT)))
        return [chunk]

    def _flatten(self, op: Op) -> Phases:
        y = self.value(op.name)  # it may be a part of the vectors of a join
        return [self._moved(self.value(op.inputs[0]), y.at(self.arena), y.region.image)]

    def _moved(self, x: Value, to: int, apart: int | None = None) -> list[Chunk]:
        """x, channels first, to n vectors, `apart` bytes from one to the next (None: one after another)."""
        H, W, C = x.region.H, x.region.W, x.C
        kernel, chunks = move_kernel(self.host), []
        at = x.at(self.arena)
        for image in range(self.n):
            source = at + image * x.region.image, x.region.row, 4 * x.pixel, 4
            target = to + image * (4 * C * H * W if apart is None else apart), 4 * W, 4, 4 * H * W
            chunks.append([(kernel, (H, W, C, *source, *target, NUMBERS_AT))])
        return chunks

    def arriving(self, source: int, x: Value) -> list[Chunk]:
        """n pictures (C, H, W), one after another, to where the network's input lies."""
        H, W, C = x.region.H, x.region.W, x.C
        kernel, to, chunks = move_kernel(self.host), x.at(self.arena), []
        for rows in self.rows(H, W * C):
            chunk: Chunk = []
            for image, row, count in rows:
                from_ = source + 4 * (image * C * H * W + row * W), 4 * W, 4, 4 * H * W
                target = to + image * x.region.image + row * x.region.row, x.region.row, 4 * x.pixel, 4
                chunk.append((kernel, (count, W, C, *from_, *target, NUMBERS_AT)))
            chunks.append(chunk)
        return chunks

    def _pool(self, op: Op) -> Phases:
        assert op.window is not None
        x, y, window = self.value(op.inputs[0]), self.value(op.name), op.window
        H, W, OH, OW = x.region.H, x.region.W, y.region.H, y.region.W
        sizes = window.size, window.stride, window.pad
        shape = PoolShape(x.C, H, W, OW, *sizes, x.pixel, y.pixel, window.average, window.count_pad)
        kernel, chunks = pool_kernel(shape, self.host), []
        at, to, area = x.at(self.arena), y.at(self.arena), math.prod(window.size)
        for rows in self.rows(OH, OW * x.C * area / self.host.lanes):
            chunks.append([
                (kernel, (row, count, at + image * x.region.image, x.region.row, to + image * y.region.image,
                          y.region.row, area, NUMBERS_AT))
                for image, row, count in rows
            ])  # fmt: skip
        return [chunks]

    def _lrn(self, op: Op) -> Phases:
        layer, x, y = op.layer, self.value(op.inputs[0]), self.value(op.name)
        assert isinstance(layer, LocalResponseNormalization)
        shape = RowShape(x.C, x.region.W, x.pixel, 0, y.pixel)
        kernel, room = lrn_kernel(shape, layer.size, self.host), self.scratch(lrn_room(x.C, layer.size))
        chunks = []
        for rows in self.rows(x.region.H, 40 * x.C * x.region.W / self.host.lanes):
            chunks.append([
                (kernel, (count, *self._row(x, image, row), *self._row(y, image, row), layer.alpha, layer.k, room,
                          NUMBERS_AT))
                for image, row, count in rows
            ])  # fmt: skip
        return [chunks]

    def _scale(self, op: Op) -> Phases:
        scale, shift = self.packed[op]
        (x,) = op.inputs
        return [self._pixels(op.kind, op, x, x, self.value(op.name), (scale.ctypes.data, shift.ctypes.data))]

    _clip = _scale

    def _add(self, op: Op) -> Phases:
        a, b = op.inputs
        return [self._pixels("add", op, a, b, self.value(op.name))]

    def _join(self, op: Op) -> Phases:
        chunks: list[Chunk] = []
        y, offset = self.value(op.name), self.value(op.name).offset
        for name in op.inputs:
            x = self.value(name)
            if name in self.layout.copies[op]:
                part = Value(x.shape, y.region, offset)
                chunks += self._pixels("copy", op, name, name, part)
            offset += x.C
        return [chunks]

    def _shuffle(self, op: Op) -> Phases:
        x, y = self.value(op.inputs[0]), self.value(op.name)
        kernel, chunks = shuffle_kernel(op.groups, x.C, x.region.W, x.pixel, y.pixel, self.host), []
        for rows in self.rows(x.region.H, x.region.W * x.C):
            chunks.append([
                (kernel, (count, *self._row(x, image, row), *self._row(y, image, row), NUMBERS_AT))
                for image, row, count in rows
            ])  # fmt: skip
        return [chunks]

    def _pixels(
        self, what: str, op: Op, a_name: str, b_name: str, y: Value, scale_shift: tuple[int, int] = (0, 0)
    ) -> list[Chunk]:
        a, b = self.value(a_name), self.value(b_name)
        shape = RowShape(a.C, a.region.W, a.pixel, b.pixel, y.pixel)
        kernel, chunks = pixel_kernel(what, shape, self.host), []
        numbers = *scale_shift, floor(op)
        for rows in self.rows(a.region.H, 2 * a.C * a.region.W / self.host.lanes):
            chunks.append([
                (kernel, (count, *self._row(a, image, row), *self._row(b, image, row), *numbers,
                          *self._row(y, image, row), NUMBERS_AT))
                for image, row, count in rows
            ])  # fmt: skip
        return chunks

    def _row(self, v: Value, image: int, row: int) -> tuple[int, int]:
        """The address of a row, and bytes to the next."""
        return v.at(self.arena) + image * v.region.image + row * v.region.row, v.region.row

    def margin(self, region: Region) -> list[Call]:
        """Zeros around the pictures of a region."""
        top, left, bottom, right = region.margin
        if not any(region.margin):
            return []
        kernel, calls = zero_kernel(self.host), []
        for image in range(self.n):
            start = self.arena + region.start + image * region.image
            for count, row in ((top, 0), (bottom, top + region.H)):
                if count:
                    calls.append((kernel, (1, count * region.row // 4, start + row * region.row, 0, NUMBERS_AT)))
            for count, column in ((left, 0), (right, left + region.W)):
                if count:
                    at = start + top * region.row + 4 * column * region.C
                    calls.append((kernel, (region.H, count * region.C, at, region.row, NUMBERS_AT)))
        return calls
