"""Kernels that go over rows of pixels: scale and shift, add, copy, and local response normalisation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from xpcnn.ops.cpu.compiled.blocking import lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import vector_type
from xpcnn.ops.cpu.compiled.native import compiled
from xpcnn.ops.cpu.compiled.stores import STORES

__all__ = ["RowShape", "lrn_kernel", "lrn_room", "pixel_kernel"]

PIXELS = ("i64", "ptr", "i64", "ptr", "i64", "ptr", "ptr", "float", "ptr", "i64")
LRN = ("i64", "ptr", "i64", "ptr", "i64", "float", "float", "ptr")
_UNROLLED = 4  # vectors at a time


class RowShape(NamedTuple):
    """W pixels of C channels; a_pixel, b_pixel, out_pixel: floats from one to the next in each array."""

    C: int
    W: int
    a_pixel: int
    b_pixel: int
    out_pixel: int


@functools.cache
def pixel_kernel(what: str, shape: RowShape, host: Host) -> Callable[..., None]:
    """kernel(rows, a, bytes a row, b, bytes a row, scale, shift, floor, out, bytes a row).

    what: "scale": out = max(a * scale + shift, floor), a number a channel; "clip": max(min(a, shift), scale) likewise;
    "add": max(a + b, floor); "copy": a.
    """
    return compiled(_pixel_ir(what, shape, host), (*PIXELS, "ptr"), host)


def _pixel_ir(what: str, shape: RowShape, host: Host) -> str:
    C, W = shape.C, shape.W
    together = {shape.a_pixel, shape.out_pixel, shape.b_pixel if what == "add" else C} == {C} and what in (
        "add",
        "copy",
    )
    if together:
        C, W = C * W, 1
    lanes = lanes_for(C, host.lanes)
    cut, offsets = vector_cut(C, lanes, min(_UNROLLED, -(-C // lanes)))
    kind = vector_type(lanes)
    f = Function("kernel", PIXELS)
    rows, a, a_row, b, b_row, scale, shift, floor_, out, out_row = f.args
    floor = f.splat(floor_, lanes)

    def row(_: Value, at: list[Value]) -> list[Value]:
        def pixel(_: Value, here: list[Value]) -> list[Value]:
            def vectors(j: Value, _: list[Value]) -> list[Value]:
                first = f.mul(cut.start(f, j), 4)
                a_at, b_at, out_at = (f.at(p, first) for p in here)
                for offset in offsets:
                    value = f.load(kind, a_at, 4 * offset)
                    if what == "clip":
                        least = f.load(kind, f.at(scale, first), 4 * offset)
                        most = f.load(kind, f.at(shift, first), 4 * offset)
                        value = _bounded(f, lanes, "olt", _bounded(f, lanes, "ogt", value, most), least)
                    elif what == "scale":
                        factor = f.load(kind, f.at(scale, first), 4 * offset)
                        more = f.load(kind, f.at(shift, first), 4 * offset)
                        value = f.let(
                            f"call {kind} @llvm.fmuladd.v{lanes}f32({kind} {value}, {kind} {factor}, {kind} {more})"
                        )
                    elif what == "add":
                        value = f.let(f"fadd {kind} {value}, {f.load(kind, b_at, 4 * offset)}")
                    if what in ("clip", "copy"):
                        f.store(kind, value, out_at, 4 * offset)
                    else:
                        STORES["relu"](f, lanes, [value], floor, out_at, out_at, offset)
                return []

            f.loop(cut.count, vectors)
            steps = (shape.a_pixel, shape.b_pixel, shape.out_pixel)
            return [f.at(p, 4 * step) for p, step in zip(here, steps, strict=True)]

        f.loop(W, pixel, [("ptr", p) for p in at])
        return [f.at(p, step) for p, step in zip(at, (a_row, b_row, out_row), strict=True)]

    f.loop(rows, row, [("ptr", a), ("ptr", b), ("ptr", out)])
    return f.text(host.attributes)


def _bounded(f: Function, lanes: int, beyond: str, value: Value, bound: Value) -> Value:
    """The bound where the value lies beyond it ("olt": below, "ogt": above); a NaN stays."""
    kind = vector_type(lanes)
    out = f.let(f"fcmp {beyond} {kind} {value}, {bound}")
    return f.let(f"select <{lanes} x i1> {out}, {kind} {bound}, {kind} {value}")


def lrn_room(C: int, size: int) -> int:
    """Bytes of scratch that `lrn_kernel` wants, zeros when it begins and afterwards where it does not write."""
    return 4 * (C + size) + 64


@functools.cache
def lrn_kernel(shape: RowShape, size: int, host: Host) -> Callable[..., None]:
    """kernel(rows, x, bytes a row, out, bytes a row, alpha, k, room): x / (k + alpha * squares' sum) ** 0.75.

    The sum is over `size` channels, (size - 1) // 2 of them before the channel itself.
    """
    return compiled(_lrn_ir(shape, size, host), (*LRN, "ptr"), host)


def _lrn_ir(shape: RowShape, size: int, host: Host) -> str:
    C = shape.C
    lanes = lanes_for(C, host.lanes)
    cut, _ = vector_cut(C, lanes, 1)
    kind, before = vector_type(lanes), (size - 1) // 2
    f = Function("kernel", LRN)
    rows, x, x_row, out, out_row, alpha_, k_, room = f.args
    alpha, k = f.splat(alpha_, lanes), f.splat(k_, lanes)

    def square_root(value: Value) -> Value:
        return f.let(f"call {kind} @llvm.sqrt.v{lanes}f32({kind} {value})")

    def zeros(first: int, count: int) -> None:
        for i in range(count):
            f.store("float", "0.0", room, 4 * (first + i))

    def row(_: Value, at: list[Value]) -> list[Value]:
        def pixel(_: Value, here: list[Value]) -> list[Value]:
            x_at, out_at = here

            def squares(j: Value, _: list[Value]) -> list[Value]:
                first = f.mul(cut.start(f, j), 4)
                value = f.load(kind, f.at(x_at, first))
                f.store(kind, f.let(f"fmul {kind} {value}, {value}"), f.at(room, first), 4 * before)
                return []

            def result(j: Value, _: list[Value]) -> list[Value]:
                first = f.mul(cut.start(f, j), 4)
                near = f.at(room, first)
                total = f.load(kind, near)
                for i in range(1, size):
                    total = f.let(f"fadd {kind} {total}, {f.load(kind, near, 4 * i)}")
                bracket = f.let(f"call {kind} @llvm.fmuladd.v{lanes}f32({kind} {total}, {kind} {alpha}, {kind} {k})")
                root = square_root(bracket)
                power = f.let(f"fmul {kind} {root}, {square_root(root)}")
                value = f.load(kind, f.at(x_at, first))
                f.store(kind, f.let(f"fdiv {kind} {value}, {power}"), f.at(out_at, first))
                return []

            f.loop(cut.count, squares)
            f.loop(cut.count, result)
            return [f.at(x_at, 4 * shape.a_pixel), f.at(out_at, 4 * shape.out_pixel)]

        f.loop(shape.W, pixel, [("ptr", p) for p in at])
        return [f.at(p, step) for p, step in zip(at, (x_row, out_row), strict=True)]

    zeros(0, before)
    zeros(before + C, size - before)
    f.loop(rows, row, [("ptr", x), ("ptr", out)])
    return f.text(host.attributes)
