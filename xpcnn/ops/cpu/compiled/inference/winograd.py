"""Winograd's convolution for predictions, in two kernels, so that threads can share tiles or filters out.

    `taking`: some tiles' pixels to V (36, tiles, C)
    `giving`: V times one panel after another of the filters U, to M (36, tiles, filters), and from there to the output

Where the filters are large, V of all tiles is made first and each thread takes some panels, so that U is read once;
where the pictures are, each thread takes some tiles all the way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xpcnn.device import Array
from xpcnn.ops.cpu.compiled.blocking import Cut, choose, lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import stepping, vector_type
from xpcnn.ops.cpu.compiled.native import compiled
from xpcnn.ops.cpu.compiled.stores import STORES
from xpcnn.ops.cpu.compiled.winograd_transforms import COEFFICIENTS, Transforms
from xpcnn.ops.cpu.winograd import TILE, transform_filters

__all__ = ["TABLE", "TileShape", "giving_kernel", "pack_transformed", "taking_kernel"]

TABLE = np.array(COEFFICIENTS, dtype=np.float32)
# first tile, tiles, x, bytes a picture, a row, V, table
TAKING = ("i64", "i64", "ptr", "i64", "i64", "ptr", "ptr")
# first tile, tiles, first panel, panels, V, U, b, floor, out, bytes a picture, a row, other and the same, M, table
GIVING = ("i64", "i64", "i64", "i64", "ptr", "ptr", "ptr", "float", *("ptr", "i64", "i64") * 2, "ptr", "ptr")


class TileShape(NamedTuple):
    """C channels to FN filters, OH x OW outputs; x_pixel, out_pixel, other_pixel: floats from pixel to pixel.

    store: "relu", "add" (a residual in `other`) or "largest" (2x2 max pooling). tiles: of how many V and M have room,
    and P at a time in the products.
    """

    C: int
    FN: int
    OH: int
    OW: int
    x_pixel: int
    out_pixel: int
    other_pixel: int
    store: str
    tiles: int
    P: int
    Q: int

    def _cut(self, outputs: int) -> Cut:
        return Cut(outputs // 2 * 2 if self.store == "largest" else outputs, TILE)

    @property
    def rows(self) -> Cut:
        return self._cut(self.OH)

    @property
    def columns(self) -> Cut:
        return self._cut(self.OW)

    @property
    def per_picture(self) -> int:
        return self.rows.count * self.columns.count

    def filters(self, host: Host) -> tuple[Cut, list[int]]:
        return vector_cut(self.FN, lanes_for(self.FN, host.lanes), self.Q)

    def step(self, channels: int) -> int:
        """Bytes from one of the 36 to the next: an odd number of cache lines, so that they do not share a set."""
        return (4 * self.tiles * channels + 63) // 64 * 64 | 64

    @property
    def v_bytes(self) -> int:
        return 36 * self.step(self.C)

    def m_bytes(self, host: Host) -> int:
        return 36 * self.step(self.filters(host)[0].size)


def blocks_for(tiles: int, FN: int, host: Host) -> tuple[int, int]:
    """P tiles and Q vectors of filters in a block of sums, for so many tiles."""
    _, P, Q = choose([1], tiles, -(-FN // lanes_for(FN, host.lanes)), host.registers)
    return P, Q


def pack_transformed(W: Array, cut: Cut) -> Array:
    """Filters (FN, C, 3, 3) as (panels, 36, C, size)."""
    U = transform_filters(W)
    starts = [min(i * cut.size, cut.length - cut.size) for i in range(cut.count)]
    return np.ascontiguousarray(np.stack([U[:, :, s : s + cut.size] for s in starts]), dtype=np.float32)


class _Corner(NamedTuple):
    """The picture a tile lies in, the row and column of its first output, and how many the tile before has made."""

    image: Value
    row: Value
    column: Value
    rows_made: Value
    columns_made: Value


def _corner(f: Function, shape: TileShape, tile: Value) -> _Corner:
    line, across = _divide(f, tile, shape.columns.count)
    image, down = _divide(f, line, shape.rows.count)
    row, column = shape.rows.start(f, down), shape.columns.start(f, across)
    made = shape.rows.repeated(f, down, row), shape.columns.repeated(f, across, column)
    return _Corner(image, row, column, *made)


def _divide(f: Function, a: Value, by: int) -> tuple[Value, Value]:
    if by == 1:
        return a, "0"
    quotient = f.let(f"udiv i64 {a}, {by}")
    return quotient, f.sub(a, f.mul(quotient, by))


@functools.cache
def taking_kernel(shape: TileShape, host: Host) -> Callable[..., None]:
    """See TAKING for the arguments; x: the first pixel that the first output sees."""
    f = Function("kernel", TAKING)
    first, count, x, x_image, x_row, v, table = f.args
    lanes = lanes_for(shape.C, host.lanes)
    transforms = Transforms(f, table, lanes)
    channels, _ = vector_cut(shape.C, lanes, 1)
    step = shape.step(shape.C)

    def tile(i: Value, _: list[Value]) -> list[Value]:
        corner = _corner(f, shape, f.add(first, i))
        at = f.at(f.at(x, f.mul(corner.image, x_image)), f.mul(corner.row, x_row))
        x_tile, v_tile = f.at(at, f.mul(corner.column, 4 * shape.x_pixel)), f.at(v, f.mul(i, 4 * shape.C))

        def vector(j: Value, _: list[Value]) -> list[Value]:
            place = f.mul(channels.start(f, j), 4)
            transforms.into(f.at(x_tile, place), x_row, 4 * shape.x_pixel, f.at(v_tile, place), step)
            return []

        return f.loop(channels.count, vector)

    f.loop(count, tile)
    return compiled(f.text(host.attributes), (*TAKING, "ptr"), host)


@functools.cache
def giving_kernel(shape: TileShape, host: Host) -> Callable[..., None]:
    """See GIVING for the arguments. What V holds beyond the last tile may be anything."""
    f = Function("kernel", GIVING)
    first, count, first_panel, panels, v, u, b, floor_, *targets, m, table = f.args
    cut, offsets = shape.filters(host)
    lanes, C, P = lanes_for(shape.FN, host.lanes), shape.C, shape.P
    kind, vectors = vector_type(lanes), [4 * offset for offset in offsets]
    floor, transforms = f.splat(floor_, lanes), Transforms(f, table, lanes)
    out, other = targets[:3], targets[3:]
    v_step, m_step = shape.step(C), shape.step(cut.size)
    blocks, _ = _divide(f, f.add(count, P - 1), P)
    side = 2 if shape.store == "largest" else 1
    whole, _ = vector_cut(cut.size, lanes, 1)

    def products(u_panel: Value) -> None:
        def point(p: Value, _: list[Value]) -> list[Value]:
            v_point, m_point = f.at(v, f.mul(p, v_step)), f.at(m, f.mul(p, m_step))
            u_point = f.at(u_panel, f.mul(p, 4 * C * cut.size))

            def block(i: Value, _: list[Value]) -> list[Value]:
                v_block, m_block = f.at(v_point, f.mul(i, 4 * P * C)), f.at(m_point, f.mul(i, 4 * P * cut.size))
                zeros = ["zeroinitializer"] * (P * len(offsets))
                rows = [4 * C * r for r in range(P)]
                sums = iter(stepping(f, C, zeros, (v_block, 4), rows, (u_point, 4 * cut.size), vectors, lanes))
                for r in range(P):
                    for offset in offsets:
                        f.store(kind, next(sums), m_block, 4 * (cut.size * r + offset))
                return []

            return f.loop(blocks, block)

        f.loop(36, point)

    def vector_out(m_at: Value, b_at: Value, out_at: Value, other_at: Value, corner: _Corner) -> None:
        bias = f.load(kind, b_at)
        y = [[f.let(f"fadd {kind} {value}, {bias}") for value in line] for line in transforms.out_of(m_at, m_step)]

        def store(r: int, c: int) -> None:
            seen = [y[side * r + i][side * c + j] for i in range(side) for j in range(side)]
            here = f.at(f.at(out_at, f.mul(out[2], r)), 4 * c * shape.out_pixel)
            beside = f.at(f.at(other_at, f.mul(other[2], r)), 4 * c * shape.other_pixel)
            STORES[shape.store](f, lanes, seen, floor, here, beside, 0)

        places = [(r, c) for r in range(TILE // side) for c in range(TILE // side)]

        def all_of_them() -> None:
            for place in places:
                store(*place)

        def those_left() -> None:
            # Two tiles round the same output differently: it must not matter which of them comes last.
            for r, c in places:
                new = [
                    f.let(f"icmp sge i64 {side * i}, {made}")
                    for i, made in ((r, corner.rows_made), (c, corner.columns_made))
                ]
                f.when(f.let(f"and i1 {new[0]}, {new[1]}"), functools.partial(store, r, c))

        if shape.rows.exact and shape.columns.exact:
            all_of_them()
        else:
            made = f.let(f"or i64 {corner.rows_made}, {corner.columns_made}")
            f.when(f.let(f"icmp eq i64 {made}, 0"), all_of_them, those_left)

    def panel(j: Value, _: list[Value]) -> list[Value]:
        number = f.add(first_panel, j)
        start = f.mul(number, cut.size)
        if not cut.exact:
            start = f.smaller(start, cut.length - cut.size)
        start = f.mul(start, 4)
        products(f.at(u, f.mul(number, 36 * 4 * C * cut.size)))

        def tile(i: Value, _: list[Value]) -> list[Value]:
            corner = _corner(f, shape, f.add(first, i))
            row, column = corner.row, corner.column
            if side == 2:
                row, column = (f.let(f"lshr i64 {place}, 1") for place in (row, column))
            places = []
            for (at, image_bytes, row_bytes), pixel in ((out, shape.out_pixel), (other, shape.other_pixel)):
                line = f.at(f.at(at, f.mul(corner.image, image_bytes)), f.mul(row, row_bytes))
                places.append(f.at(f.at(line, f.mul(column, 4 * pixel)), start))
            m_tile, b_panel = f.at(m, f.mul(i, 4 * cut.size)), f.at(b, start)

            def vector(k: Value, _: list[Value]) -> list[Value]:
                more = f.mul(whole.start(f, k), 4)
                out_at, other_at = (f.at(place, more) for place in places)
                vector_out(f.at(m_tile, more), f.at(b_panel, more), out_at, other_at, corner)
                return []

            return f.loop(whole.count, vector)

        f.loop(count, tile)
        return []

    f.loop(panels, panel)
    return compiled(f.text(host.attributes), (*GIVING, "ptr"), host)
