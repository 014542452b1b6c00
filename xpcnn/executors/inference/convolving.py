"""Convolutions: which way each goes, and its work in chunks."""

from __future__ import annotations

from xpcnn.executors.inference.memory import Layout
from xpcnn.executors.inference.rewrite import Op
from xpcnn.executors.inference.sharing import LEAST, Phases, Sharing, floor, numbered
from xpcnn.executors.plan import COMPILED_TRANSFORM, winograd_pays
from xpcnn.executors.winograd_stage import winograd_mode
from xpcnn.layers.convolution import Convolution
from xpcnn.ops.cpu.compiled.arrays import NUMBERS_AT, Call
from xpcnn.ops.cpu.compiled.blocking import lanes_for
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.inference import winograd
from xpcnn.ops.cpu.compiled.inference.convolution import DepthwiseShape, PanelShape, conv_kernel, depthwise_kernel
from xpcnn.ops.cpu.compiled.inference.team import Chunk, Room

__all__ = ["Convolving", "by_tiles", "is_depthwise", "panel_shape", "split_bytes", "tile_shape"]

_SPLIT = 12 * 2**20  # bytes of transformed pixels up to which they are made for all tiles before the products
_TILES = 28  # about so many tiles at a time


class Convolving(Sharing):
    """The three ways of a convolution."""

    def _conv(self, op: Op) -> Phases:
        if tiles := tile_shape(op, self.layout, self.n, self.host):
            return self._winograd(op, tiles)
        if is_depthwise(op):
            return self._depthwise(op)
        layer, x, y = op.layer, self.value(op.inputs[0]), self.value(op.name)
        assert isinstance(layer, Convolution)
        shape = panel_shape(op, self.layout)
        cut, _ = shape.filters(self.host)
        kernel, (w, b) = conv_kernel(shape, self.host), self.packed[op]
        OH, FN, C = y.region.H, shape.FN, shape.C
        steps = layer.stride[0] * x.region.row, layer.dilation[0] * x.region.row
        other = self.value(op.inputs[-1]) if op.residual else y
        panel_work = cut.size / lanes_for(FN, self.host.lanes) * shape.OW * C * shape.FH * shape.FW
        # Either the rows or the filters are shared out: whichever is less to read by every thread.
        by_filters = 4 * w.size > 4 * self.n * x.region.H * x.region.W * C * layer.groups
        panels = layer.groups * cut.count
        parts = max(1, min(self.parts, int(self.n * OH * panels * panel_work / LEAST)))
        row_parts = 1 if by_filters and panels >= parts else min(parts, self.n * OH)
        panel_parts = min(panels, -(-parts // row_parts))
        chunks: list[Chunk] = []
        at, to, beside = (v.at(self.arena, p) for v, p in ((x, layer.pad[:2]), (y, (0, 0)), (other, (0, 0))))
        for rows in self.cut(OH, row_parts):
            for part in range(panel_parts):
                first, last = panels * part // panel_parts, panels * (part + 1) // panel_parts
                chunk: Chunk = []
                for image, row, count in rows:
                    for g, panel, some in numbered(first, last, cut.count):
                        places = (
                            at + image * x.region.image + row * steps[0] + 4 * g * C,
                            *steps,
                            w.ctypes.data + 4 * g * (w.size // layer.groups),
                            b.ctypes.data + 4 * g * FN,
                            floor(op),
                            to + image * y.region.image + row * y.region.row + 4 * g * FN,
                            y.region.row,
                            beside + image * other.region.image + row * other.region.row + 4 * g * FN,
                            other.region.row,
                        )
                        chunk.append((kernel, (count, panel, some, *places, NUMBERS_AT)))
                chunks.append(chunk)
        if op.pooled:
            raise AssertionError("only tiles are pooled at the store")
        return [chunks]

    def _depthwise(self, op: Op) -> Phases:
        layer, x, y = op.layer, self.value(op.inputs[0]), self.value(op.name)
        assert isinstance(layer, Convolution)
        FN, _, FH, FW = layer.params["W"].shape
        _, OH, OW = op.shape
        shape = DepthwiseShape(FN, FH, FW, layer.stride[1], layer.dilation[1], OW, x.pixel, y.pixel)
        kernel, (w, b) = depthwise_kernel(shape, self.host), self.packed[op]
        steps = layer.stride[0] * x.region.row, layer.dilation[0] * x.region.row
        at, to = x.at(self.arena, layer.pad[:2]), y.at(self.arena)
        chunks = []
        for rows in self.rows(OH, OW * FN * FH * FW / self.host.lanes):
            chunk: Chunk = []
            for image, row, count in rows:
                x_at = at + image * x.region.image + row * steps[0]
                y_at = to + image * y.region.image + row * y.region.row
                places = x_at, *steps, w.ctypes.data, b.ctypes.data, floor(op), y_at, y.region.row
                chunk.append((kernel, (count, *places, NUMBERS_AT)))
            chunks.append(chunk)
        return [chunks]

    def _winograd(self, op: Op, shape: winograd.TileShape) -> Phases:
        layer, x, y = op.layer, self.value(op.inputs[0]), self.value(op.name)
        assert isinstance(layer, Convolution)
        other = self.value(op.inputs[-1]) if op.residual else y
        u, b = self.packed[op]
        table, cut = winograd.TABLE.ctypes.data, shape.filters(self.host)[0]
        taking, giving = winograd.taking_kernel(shape, self.host), winograd.giving_kernel(shape, self.host)
        x_at, total = x.at(self.arena, layer.pad[:2]), self.n * shape.per_picture

        def take(first: int, count: int, v: object) -> Call:
            return taking, (first, count, x_at, x.region.image, x.region.row, v, table, NUMBERS_AT)

        def give(first: int, count: int, panel: int, panels: int, v: object, m: Room) -> Call:
            out = y.at(self.arena), y.region.image, y.region.row
            beside = other.at(self.arena), other.region.image, other.region.row
            numbers = first, count, panel, panels, v, u.ctypes.data, b.ctypes.data, floor(op)
            return giving, (*numbers, *out, *beside, m, table, NUMBERS_AT)

        blocks = [(i, min(shape.tiles, total - i)) for i in range(0, total, shape.tiles)]
        spare = self.layout.spare.get(op)
        if spare is None:
            self.scratch(shape.v_bytes + shape.m_bytes(self.host))
            v, m = Room(0), Room(shape.v_bytes)
            return [[[take(*block, v), give(*block, 0, cut.count, v, m)] for block in blocks]]
        self.scratch(shape.m_bytes(self.host))
        start = self.arena + spare.start
        vs = [start + i * shape.v_bytes for i in range(len(blocks))]
        pieces = [
            (v, first, i, min(step, count - i))
            for v, (first, count) in zip(vs, blocks, strict=True)
            for step in [max(1, -(-count // max(1, self.parts // len(blocks))))]
            for i in range(0, count, step)
        ]
        made = [[take(first + i, count, v + 4 * shape.C * i)] for v, first, i, count in pieces]
        parts = min(cut.count, self.parts)
        panels = [(cut.count * i // parts, cut.count * (i + 1) // parts) for i in range(parts)]
        given: list[Chunk]
        if len(blocks) >= self.parts and cut.count < 4:
            given = [[give(*block, 0, cut.count, v, Room(0))] for v, block in zip(vs, blocks, strict=True)]
        else:
            given = [
                [give(*block, j, 1, v, Room(0)) for j in range(low, high) for v, block in zip(vs, blocks, strict=True)]
                for low, high in panels
            ]
        return [made, given]


def is_depthwise(op: Op) -> bool:
    layer = op.layer
    W = layer.params["W"]
    return bool(layer.groups == W.shape[0] and W.shape[1] == 1 and layer.groups > 1 and not op.residual)  # type: ignore[attr-defined]


def panel_shape(op: Op, layout: Layout) -> PanelShape:
    layer, x, y = op.layer, layout.values[op.inputs[0]], layout.values[op.name]
    assert isinstance(layer, Convolution)
    FN, C, FH, FW = layer.params["W"].shape
    other = layout.values[op.inputs[-1]].pixel if op.residual else 0
    OW = op.shape[2]
    pixels = x.pixel, y.pixel, other, "add" if op.residual else "relu"
    return PanelShape(C, FN // layer.groups, FH, FW, layer.stride[1], layer.dilation[1], OW, *pixels)


def by_tiles(op: Op) -> bool:
    """Whether a convolution goes Winograd's way."""
    layer = op.layer
    if not isinstance(layer, Convolution) or layer.groups > 1 or layer.stride != (1, 1) or layer.dilation != (1, 1):
        return False
    FN, C, FH, FW = layer.params["W"].shape
    OH, OW = op.nodes[0].shape[1:]
    return (FH, FW) == (3, 3) and winograd_mode() != "never" and winograd_pays(C, FN, OH, OW, COMPILED_TRANSFORM)


def tile_shape(op: Op, layout: Layout, n: int, host: Host) -> winograd.TileShape | None:
    if not by_tiles(op):
        return None
    layer, x, y = op.layer, layout.values[op.inputs[0]], layout.values[op.name]
    FN, C = layer.params["W"].shape[:2]
    other = layout.values[op.inputs[-1]].pixel if op.residual else 0
    store = "largest" if op.pooled else "add" if op.residual else "relu"
    OH, OW = op.nodes[0].shape[1:]
    shape = winograd.TileShape(C, FN, OH, OW, x.pixel, y.pixel, other, store, 1, 1, 1)
    total = n * shape.per_picture
    _, Q = winograd.blocks_for(min(shape.per_picture, _TILES), FN, host)  # whatever n: so are the weights packed
    most = (host.registers - 1 - Q) // Q
    at_once = -(-total // -(-total // _TILES))
    P = -(-at_once // -(-at_once // most))
    return shape._replace(tiles=-(-at_once // P) * P, P=P, Q=Q)


def split_bytes(op: Op, layout: Layout, n: int, host: Host) -> int:
    """Of an op's transformed pixels, where they are made before the products; 0 where not."""
    shape = tile_shape(op, layout, n, host) if op.kind == "conv" else None
    size = 0 if shape is None else -(-n * shape.per_picture // shape.tiles) * shape.v_bytes
    return size if size <= _SPLIT else 0
