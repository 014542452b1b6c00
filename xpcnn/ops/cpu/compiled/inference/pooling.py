"""Max and average pooling of any window, stride and pad: an output pixel at a time, all of its channels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from xpcnn.ops.cpu.compiled.blocking import lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import vector_type
from xpcnn.ops.cpu.compiled.native import compiled

__all__ = ["PoolShape", "pool_kernel"]

POOL = ("i64", "i64", "ptr", "i64", "ptr", "i64", "float")


class PoolShape(NamedTuple):
    """H x W pixels of C channels to OW outputs a row; window, stride and pad (above and to the left) as (h, w)."""

    C: int
    H: int
    W: int
    OW: int
    window: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    x_pixel: int
    out_pixel: int
    average: bool
    count_pad: bool


@functools.cache
def pool_kernel(shape: PoolShape, host: Host) -> Callable[..., None]:
    """kernel(first output row, rows, x, bytes a row, out, bytes a row, numbers in a window).

    x, out: the pictures' first numbers.
    """
    return compiled(_pool_ir(shape, host), (*POOL, "ptr"), host)


class _Along(NamedTuple):
    """What a window sees along one axis: its first element inside the picture, and how many there are."""

    start: Value
    many: Value


def _along(f: Function, i: Value, size: int, window: int, stride: int, pad: int) -> _Along:
    """For output i. Every window holds at least one element of the picture."""
    begin = f.add(f.mul(i, stride), -pad)
    end = f.smaller(f.add(begin, window), size)
    below = f.let(f"icmp slt i64 {begin}, 0")
    start = f.let(f"select i1 {below}, i64 0, i64 {begin}")
    return _Along(start, f.sub(end, start))


def _pool_ir(shape: PoolShape, host: Host) -> str:
    C = shape.C
    lanes = lanes_for(C, host.lanes)
    cut, offsets = vector_cut(C, lanes, min(4, -(-C // lanes)))
    kind = vector_type(lanes)
    f = Function("kernel", POOL)
    first_row, rows, x, x_row, out, out_row, area_ = f.args

    def combine(total: Value, value: Value) -> Value:
        if shape.average:
            return f.let(f"fadd {kind} {total}, {value}")
        # The larger; a NaN, on either side, stays.
        above = f.let(f"fcmp ugt {kind} {value}, {total}")
        ordered = f.let(f"fcmp ord {kind} {total}, zeroinitializer")
        better = f.let(f"and <{lanes} x i1> {above}, {ordered}")
        return f.let(f"select <{lanes} x i1> {better}, {kind} {value}, {kind} {total}")

    def row(r: Value, _: list[Value]) -> list[Value]:
        number = f.add(first_row, r)
        down = _along(f, number, shape.H, shape.window[0], shape.stride[0], shape.pad[0])
        x_line = f.at(x, f.mul(down.start, x_row))
        out_line = f.at(out, f.mul(number, out_row))

        def pixel(c: Value, _: list[Value]) -> list[Value]:
            across = _along(f, c, shape.W, shape.window[1], shape.stride[1], shape.pad[1])
            x_first = f.at(x_line, f.mul(across.start, 4 * shape.x_pixel))
            out_at = f.at(out_line, f.mul(c, 4 * shape.out_pixel))
            divisor = ""
            if shape.average:
                area = area_  # an argument: code must have no constants of its own
                if not shape.count_pad:
                    area = f.let(f"sitofp i64 {f.mul(down.many, across.many)} to float")
                divisor = f.splat(area, lanes)

            def vectors(j: Value, _: list[Value]) -> list[Value]:
                start = f.mul(cut.start(f, j), 4)
                x_at = f.at(x_first, start)
                begin = ["zeroinitializer" if shape.average else f.load(kind, x_at, 4 * o) for o in offsets]

                def window_row(h: Value, totals: list[Value]) -> list[Value]:
                    line = f.at(x_at, f.mul(h, x_row))

                    def element(w: Value, totals: list[Value]) -> list[Value]:
                        at = f.at(line, f.mul(w, 4 * shape.x_pixel))
                        return [combine(t, f.load(kind, at, 4 * o)) for t, o in zip(totals, offsets, strict=True)]

                    return f.loop(across.many, element, [(kind, t) for t in totals])

                totals = f.loop(down.many, window_row, [(kind, t) for t in begin])
                to = f.at(out_at, start)
                for total, offset in zip(totals, offsets, strict=True):
                    value = f.let(f"fdiv {kind} {total}, {divisor}") if shape.average else total
                    f.store(kind, value, to, 4 * offset)
                return []

            f.loop(cut.count, vectors)
            return []

        f.loop(shape.OW, pixel)
        return []

    f.loop(rows, row)
    return f.text(host.attributes)
