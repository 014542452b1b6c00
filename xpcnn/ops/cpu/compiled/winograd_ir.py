"""Winograd's convolution as IR: one kernel that takes chunks of tiles through three steps.

    x (N, IH, IW, C)  --tile by tile-->  V (36, tiles, C)     the 6x6 pixels of a tile at 6x6 points
    V (36, tiles, C) . U (36, C, FN)  =  M (36, tiles, FN)    36 matrix products, by the inner loop of microkernel.py
    M (36, tiles, FN) --tile by tile-->  out                  4x4 pixels; then what stores.py offers

V and M of a chunk stay in a core's second-level cache. Tiles are numbered through all pictures; the last of a row or
column is moved back to end with the picture, and makes some outputs a second time.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from xpcnn.ops.cpu.compiled.blocking import Cut, choose, lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import stepping, vector_type
from xpcnn.ops.cpu.compiled.stores import STORES
from xpcnn.ops.cpu.compiled.winograd_transforms import Transforms
from xpcnn.ops.cpu.winograd import TILE

__all__ = ["Plan", "Tiling", "plan_for", "winograd_ir"]

_BUDGET = 640 * 1024  # bytes of V and M together: most of a core's L2, of which the filters want the rest
_LEAST = 16  # tiles in a chunk, however many channels: for fewer the filters would not be worth their way


class Tiling(NamedTuple):
    """Channels, filters, and the padded picture's height and width. pool: an odd last output is not needed."""

    C: int
    FN: int
    IH: int
    IW: int
    pool: bool

    def _cut(self, outputs: int) -> Cut:
        return Cut(outputs // 2 * 2 if self.pool else outputs, TILE)

    @property
    def rows(self) -> Cut:
        return self._cut(self.IH - 2)

    @property
    def columns(self) -> Cut:
        return self._cut(self.IW - 2)

    @property
    def tiles(self) -> int:
        """In one picture."""
        return self.rows.count * self.columns.count


class Plan(NamedTuple):
    """Tiles in a block of the product (P) and in a chunk; how the filters are cut into vectors."""

    P: int
    chunk: int
    lanes: int
    filters: Cut
    offsets: list[int]

    def step(self, channels: int) -> int:
        """Bytes from one of the 36 to the next: an odd number of cache lines, so that they do not share a set."""
        return (4 * self.chunk * channels + 63) // 64 * 64 | 64


@functools.cache
def plan_for(tiling: Tiling, host: Host, few: bool) -> Plan:
    """How to go about many tiles, or about a few: those of one picture. The filters are cut the same for both."""
    lanes = lanes_for(tiling.FN, host.lanes)
    most = max(_LEAST, _BUDGET // (144 * (tiling.C + tiling.FN)))
    _, P, Q = choose([1], most, -(-tiling.FN // lanes), host.registers)
    chunk = most // P * P
    if few and tiling.tiles < chunk:
        blocks = -(-tiling.tiles // P)
        P = -(-tiling.tiles // blocks)
        chunk = blocks * P
    return Plan(P, chunk, lanes, *vector_cut(tiling.FN, lanes, Q))


def winograd_ir(tiling: Tiling, host: Host, plan: Plan, store: str) -> str:
    """IR of `kernel(tiles, x, x_image, u, b, floor, out, out_image, out_row, other, other_image, other_row, v, m,
    coefficients)`.

    x: pictures in rows one after another, x_image bytes apart; u: packed by groups of filters (36, groups, C, size);
    store, b, floor, out, other: as in forward.py; v, m: room for a chunk; coefficients: those of Transforms.
    """
    kernel = _Kernel(tiling, host, plan, store)
    kernel.write()
    return kernel.f.text(host.attributes)


class _Kernel:
    """The function being written, with what its three steps share."""

    def __init__(self, tiling: Tiling, host: Host, plan: Plan, store: str) -> None:
        self.tiling, self.plan, self.store = tiling, plan, store
        types = ["i64", "ptr", "i64", "ptr", "ptr", "float", *["ptr", "i64", "i64"] * 2, "ptr", "ptr", "ptr"]
        f = self.f = Function("kernel", types)
        self.tiles, self.x, self.x_image, self.u, self.b, floor, *targets, self.v, self.m, table = f.args
        self.out, self.other = (targets[0], *targets[1:3]), (targets[3], *targets[4:6])
        self.taking = Transforms(f, table, lanes_for(tiling.C, host.lanes))
        self.giving = Transforms(f, table, plan.lanes)
        self.floor = f.splat(floor, plan.lanes)

    def write(self) -> None:
        f, chunk = self.f, self.plan.chunk

        def one(i: Value, _: list[Value]) -> list[Value]:
            first = f.mul(i, chunk)
            count = f.smaller(f.sub(self.tiles, first), chunk)
            self._into_v(first, count)
            self._products(_divide(f, f.add(count, self.plan.P - 1), self.plan.P)[0])
            self._out_of_m(first, count)
            return []

        f.loop(_divide(f, f.add(self.tiles, chunk - 1), chunk)[0], one)

    def _corner(self, tile: Value) -> tuple[Value, Value, Value]:
        """The picture a tile lies in, and the row and column of its first output."""
        line, across = _divide(self.f, tile, self.tiling.columns.count)
        image, down = _divide(self.f, line, self.tiling.rows.count)
        return image, self.tiling.rows.start(self.f, down), self.tiling.columns.start(self.f, across)

    def _into_v(self, first: Value, count: Value) -> None:
        f, C = self.f, self.tiling.C
        row_bytes, step = 4 * self.tiling.IW * C, self.plan.step(C)
        channels, _ = vector_cut(C, self.taking.lanes, 1)

        def tile(i: Value, _: list[Value]) -> list[Value]:
            image, row, column = self._corner(f.add(first, i))
            x = f.at(f.at(self.x, f.mul(image, self.x_image)), f.mul(row, row_bytes))
            x, v = f.at(x, f.mul(column, 4 * C)), f.at(self.v, f.mul(i, 4 * C))

            def vector(j: Value, _: list[Value]) -> list[Value]:
                at = f.mul(channels.start(f, j), 4)
                self.taking.into(f.at(x, at), row_bytes, 4 * C, f.at(v, at), step)
                return []

            return f.loop(channels.count, vector)

        f.loop(count, tile)

    def _products(self, blocks: Value) -> None:
        """M = V U for that many blocks of P tiles; what the last one has too many is never looked at."""
        f, plan, C, FN = self.f, self.plan, self.tiling.C, self.tiling.FN
        P, filters = plan.P, plan.filters
        kind, offsets = vector_type(plan.lanes), [4 * offset for offset in plan.offsets]
        rows, panel = [4 * C * r for r in range(P)], 4 * C * filters.size
        zeros = ["zeroinitializer"] * (P * len(offsets))

        def point(p: Value, _: list[Value]) -> list[Value]:
            v, m = f.at(self.v, f.mul(p, plan.step(C))), f.at(self.m, f.mul(p, plan.step(FN)))
            u = f.at(self.u, f.mul(p, filters.count * panel))

            def group(j: Value, _: list[Value]) -> list[Value]:
                u_group, m_group = f.at(u, f.mul(j, panel)), f.at(m, f.mul(filters.start(f, j), 4))

                def block(i: Value, _: list[Value]) -> list[Value]:
                    v_block, m_block = f.at(v, f.mul(i, 4 * P * C)), f.at(m_group, f.mul(i, 4 * P * FN))
                    x, w = (v_block, 4), (u_group, 4 * filters.size)
                    sums = iter(stepping(f, C, zeros, x, rows, w, offsets, plan.lanes))
                    for r in range(P):
                        for offset in offsets:
                            f.store(kind, next(sums), m_block, 4 * FN * r + offset)
                    return []

                return f.loop(blocks, block)

            return f.loop(filters.count, group)

        f.loop(36, point)

    def _out_of_m(self, first: Value, count: Value) -> None:
        f, FN = self.f, self.tiling.FN
        halved = 1 if self.store == "pool" else 0
        widths = (4, 1 if self.store == "pool" else 4)  # bytes an element of out, of other
        filters, _ = vector_cut(FN, self.plan.lanes, 1)

        def tile(i: Value, _: list[Value]) -> list[Value]:
            image, row, column = self._corner(f.add(first, i))
            row, column = (f.let(f"lshr i64 {place}, {halved}") for place in (row, column))
            starts = []
            for (start, image_bytes, row_bytes), width in zip((self.out, self.other), widths, strict=True):
                line = f.at(f.at(start, f.mul(image, image_bytes)), f.mul(row, row_bytes))
                starts.append(f.at(line, f.mul(column, width * FN)))
            m = f.at(self.m, f.mul(i, 4 * FN))

            def vector(j: Value, _: list[Value]) -> list[Value]:
                start = filters.start(f, j)
                out, other = (f.at(at, f.mul(start, width)) for at, width in zip(starts, widths, strict=True))
                at = f.mul(start, 4)
                self._vector_out(f.at(m, at), f.at(self.b, at), out, other)
                return []

            return f.loop(filters.count, vector)

        f.loop(count, tile)

    def _vector_out(self, m: Value, b: Value, out: Value, other: Value) -> None:
        f, lanes, FN = self.f, self.plan.lanes, self.tiling.FN
        kind = vector_type(lanes)
        bias = f.load(kind, b)
        y = [
            [f.let(f"fadd {kind} {value}, {bias}") for value in line]
            for line in self.giving.out_of(m, self.plan.step(FN))
        ]
        side = 2 if self.store == "pool" else 1
        for r in range(TILE // side):
            for c in range(TILE // side):
                seen = [y[side * r + i][side * c + j] for i in range(side) for j in range(side)]
                STORES[self.store](f, lanes, seen, self.floor, out, other, c * FN)
            out, other = f.at(out, self.out[2]), f.at(other, self.other[2])


def _divide(f: Function, a: Value, by: int) -> tuple[Value, Value]:
    """Quotient and remainder."""
    if by == 1:
        return a, "0"
    quotient = f.let(f"udiv i64 {a}, {by}")
    return quotient, f.sub(a, f.mul(quotient, by))
