"""Kernels that only move numbers: channels to the end and back, zeros for margins, and channels shuffled."""

from __future__ import annotations

import functools
from collections.abc import Callable

from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.native import compiled

__all__ = ["move_kernel", "shuffle_kernel", "zero_kernel"]

MOVE = ("i64", "i64", "i64", *("ptr", "i64", "i64", "i64") * 2)
SHUFFLE = ("i64", "ptr", "i64", "ptr", "i64")
ZERO = ("i64", "i64", "ptr", "i64")


@functools.cache
def move_kernel(host: Host) -> Callable[..., None]:
    """kernel(a, b, c, from, bytes along a, b, c, to, bytes along a, b, c): floats of an (a, b, c) array."""
    f = Function("kernel", MOVE)
    *counts, source, sa, sb, sc, target, ta, tb, tc = f.args

    def along(axis: int, at: list[Value]) -> None:
        steps = [(sa, ta), (sb, tb), (sc, tc)][axis]

        def one(_: Value, here: list[Value]) -> list[Value]:
            if axis == 2:
                f.store("float", f.load("float", here[0]), here[1])
            else:
                along(axis + 1, here)
            return [f.at(p, step) for p, step in zip(here, steps, strict=True)]

        f.loop(counts[axis], one, [("ptr", p) for p in at])

    along(0, [source, target])
    return compiled(f.text(host.attributes), (*MOVE, "ptr"), host)


@functools.cache
def zero_kernel(host: Host) -> Callable[..., None]:
    """kernel(rows, floats, to, bytes a row): zeros."""
    f = Function("kernel", ZERO)
    rows, floats, to, step = f.args

    def row(_: Value, at: list[Value]) -> list[Value]:
        def one(_: Value, here: list[Value]) -> list[Value]:
            f.store("float", "0.0", here[0])
            return [f.at(here[0], 4)]

        f.loop(floats, one, [("ptr", at[0])])
        return [f.at(at[0], step)]

    f.loop(rows, row, [("ptr", to)])
    return compiled(f.text(host.attributes), (*ZERO, "ptr"), host)


@functools.cache
def shuffle_kernel(groups: int, C: int, W: int, x_pixel: int, out_pixel: int, host: Host) -> Callable[..., None]:
    """kernel(rows, x, bytes a row, out, bytes a row): channel i of group g goes to place i * groups + g."""
    f = Function("kernel", SHUFFLE)
    rows, x, x_row, out, out_row = f.args
    each = C // groups

    def row(_: Value, at: list[Value]) -> list[Value]:
        def pixel(_: Value, here: list[Value]) -> list[Value]:
            def place(i: Value, now: list[Value]) -> list[Value]:
                for g in range(groups):
                    f.store("float", f.load("float", now[0], 4 * g * each), now[1], 4 * g)
                return [f.at(now[0], 4), f.at(now[1], 4 * groups)]

            f.loop(each, place, [("ptr", p) for p in here])
            return [f.at(here[0], 4 * x_pixel), f.at(here[1], 4 * out_pixel)]

        f.loop(W, pixel, [("ptr", p) for p in at])
        return [f.at(p, step) for p, step in zip(at, (x_row, out_row), strict=True)]

    f.loop(rows, row, [("ptr", x), ("ptr", out)])
    return compiled(f.text(host.attributes), (*SHUFFLE, "ptr"), host)
