"""What a convolution kernel may do with its sums at the store: ReLU, a ReLU's mask, 2x2 max pooling, a sum.

Each is a function (f, lanes, seen, floor, out, other, place): `seen` are the sums of one vector of filters, one of
them, or the four of a pooling window; `place` is where they go, in elements from `out` and `other`.
"""

from __future__ import annotations

from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import vector_type

__all__ = ["STORES"]


def _at_least(f: Function, kind: str, value: Value, floor: Value) -> Value:
    """max(value, floor); a NaN stays."""
    below = f.let(f"fcmp olt {kind} {value}, {floor}")
    return f.let(f"select {_flags(kind)} {below}, {kind} {floor}, {kind} {value}")


def _flags(kind: str) -> str:
    return kind.replace("float", "i1")


def _save_relu(f: Function, lanes: int, seen: list[Value], floor: Value, out: Value, other: Value, place: int) -> None:
    kind = vector_type(lanes)
    f.store(kind, _at_least(f, kind, seen[0], floor), out, 4 * place)


def _save_masked(
    f: Function, lanes: int, seen: list[Value], floor: Value, out: Value, other: Value, place: int
) -> None:
    kind = vector_type(lanes)
    y = f.load(kind, other, 4 * place)
    alive = f.let(f"fcmp ugt {kind} {y}, zeroinitializer")
    # The product with 0 or 1 that the reference takes would turn infinity into NaN; here a dead unit gets 0.
    f.store(kind, f.let(f"select {_flags(kind)} {alive}, {kind} {seen[0]}, {kind} zeroinitializer"), out, 4 * place)


def _save_added(f: Function, lanes: int, seen: list[Value], floor: Value, out: Value, other: Value, place: int) -> None:
    kind = vector_type(lanes)
    total = f.let(f"fadd {kind} {seen[0]}, {f.load(kind, other, 4 * place)}")
    f.store(kind, _at_least(f, kind, total, floor), out, 4 * place)


def _save_largest(
    f: Function, lanes: int, seen: list[Value], floor: Value, out: Value, other: Value, place: int
) -> None:
    """As _save_pooled, without the index."""
    kind = vector_type(lanes)
    best = seen[0]
    for value in seen[1:]:
        above = f.let(f"fcmp ugt {kind} {value}, {best}")
        open_ = f.let(f"fcmp ord {kind} {best}, zeroinitializer")
        better = f.let(f"and {_flags(kind)} {above}, {open_}")
        best = f.let(f"select {_flags(kind)} {better}, {kind} {value}, {kind} {best}")
    f.store(kind, _at_least(f, kind, best, floor), out, 4 * place)


def _save_pooled(
    f: Function, lanes: int, seen: list[Value], floor: Value, out: Value, other: Value, place: int
) -> None:
    """seen: (0,0), (0,1), (1,0), (1,1) of the window. The first of equals wins, a NaN wins over everything."""
    kind, flags, whole = vector_type(lanes), f"<{lanes} x i1>", f"<{lanes} x i32>"
    best, index = seen[0], "zeroinitializer"
    for number, value in enumerate(seen[1:], start=1):
        above = f.let(f"fcmp ugt {kind} {value}, {best}")  # also true where either is NaN
        open_ = f.let(f"fcmp ord {kind} {best}, zeroinitializer")  # best is not NaN yet
        better = f.let(f"and {flags} {above}, {open_}")
        best = f.let(f"select {flags} {better}, {kind} {value}, {kind} {best}")
        mine = f.everywhere(number, lanes)
        index = f.let(f"select {flags} {better}, {whole} {mine}, {whole} {index}")
    f.store(kind, _at_least(f, kind, best, floor), out, 4 * place)
    small = f"<{lanes} x i8>"
    f.store(small, f.let(f"trunc {whole} {index} to {small}"), other, place, align=1)


STORES = {
    "relu": _save_relu,
    "mask": _save_masked,
    "pool": _save_pooled,
    "add": _save_added,
    "largest": _save_largest,
}
