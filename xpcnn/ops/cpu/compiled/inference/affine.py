"""Affine layers whose weights do not fit the caches: they are read once, row by row, in the order in which they lie.

The outputs of all samples stay in the caches meanwhile; several rows are taken at a time, so that an output is loaded
and stored once for several multiply-adds. Whole rows are read at more than the rate of halves or quarters of them, so
threads share out rows, not outputs, and their parts are added up afterwards, always in one order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from xpcnn.ops.cpu.compiled.blocking import lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import vector_type
from xpcnn.ops.cpu.compiled.native import compiled
from xpcnn.ops.cpu.compiled.stores import STORES

__all__ = ["parts_of", "streaming_kernel", "sum_kernel"]

# vectors of outputs, rows of W, x, bytes a sample, W, bytes a row, b, floor, y, bytes a sample
AFFINE = ("i64", "i64", "ptr", "i64", "ptr", "i64", "ptr", "float", "ptr", "i64")
_ROWS = 8  # of W at a time
_KEPT = 2  # samples whose scalars for these rows stay in registers; those of more are read from the cache again


SUM = ("i64", "ptr", "i64", "i64", "float", "ptr", "i64")


def parts_of(outputs: int, lanes: int) -> list[tuple[int, int, int]]:
    """Outputs cut into (first, vectors, lanes): all whole vectors, then shorter ones for the rest."""
    parts, first = [], 0
    while first < outputs:
        vectors = (outputs - first) // lanes
        if vectors:
            parts.append((first, vectors, lanes))
            first += vectors * lanes
        else:
            lanes //= 2
    return parts


@functools.cache
def streaming_kernel(n: int, lanes: int, host: Host) -> Callable[..., None]:
    """y = max(x @ W + b, floor) for n samples and some of the outputs; see AFFINE for the arguments."""
    return compiled(_affine_ir(n, lanes, host), (*AFFINE, "ptr"), host)


def _affine_ir(n: int, lanes: int, host: Host) -> str:
    f = Function("kernel", AFFINE)
    vectors, D, x, x_step, W, W_row, b, floor_, y, y_step = f.args
    kind, size = vector_type(lanes), 4 * lanes
    floor = f.splat(floor_, lanes)

    def each_sample(pointer: Value, step: Value) -> list[Value]:
        return [f.at(pointer, f.mul(step, i)) if i else pointer for i in range(n)]

    def begin(_: Value, at: list[Value]) -> list[Value]:
        bias = f.load(kind, at[0])
        for place in each_sample(at[1], y_step):
            f.store(kind, bias, place)
        return [f.at(p, size) for p in at]

    f.loop(vectors, begin, [("ptr", b), ("ptr", y)])

    def spread(sample: Value, r: int) -> Value:
        return f.splat(f.load("float", sample, 4 * r), lanes)

    def rows_of(count: int) -> Callable[[Value, list[Value]], list[Value]]:
        def some(_: Value, at: list[Value]) -> list[Value]:
            x_at, w_at = at
            samples = each_sample(x_at, x_step)
            kept = [[spread(sample, r) for r in range(count)] for sample in samples] if n <= _KEPT else None

            def vector(_: Value, here: list[Value]) -> list[Value]:
                w_here, y_here = here
                loaded = [f.load(kind, f.at(w_here, f.mul(W_row, r)) if r else w_here) for r in range(count)]
                for i, place in enumerate(each_sample(y_here, y_step)):
                    total = f.load(kind, place)
                    for r, weights in enumerate(loaded):
                        scalar = kept[i][r] if kept else spread(samples[i], r)
                        arguments = f"{kind} {scalar}, {kind} {weights}, {kind} {total}"
                        total = f.let(f"call {kind} @llvm.fmuladd.v{lanes}f32({arguments})")
                    f.store(kind, total, place)
                return [f.at(p, size) for p in here]

            f.loop(vectors, vector, [("ptr", w_at), ("ptr", y)])
            return [f.at(x_at, 4 * count), f.at(w_at, f.mul(W_row, count))]

        return some

    together = _ROWS
    whole = f.let(f"udiv i64 {D}, {together}")
    x_rest, w_rest = _maybe(f, whole, rows_of(together), [x, W])
    rest = f.sub(D, f.mul(whole, together))
    _maybe(f, rest, rows_of(1), [x_rest, w_rest])

    def end(_: Value, at: list[Value]) -> list[Value]:
        for place in each_sample(at[0], y_step):
            STORES["relu"](f, lanes, [f.load(kind, place)], floor, place, place, 0)
        return [f.at(at[0], size)]

    f.loop(vectors, end, [("ptr", y)])
    return f.text(host.attributes)


def _maybe(
    f: Function, count: Value, body: Callable[[Value, list[Value]], list[Value]], pointers: list[Value]
) -> list[Value]:
    """A loop that may have no round at all; carries pointers."""
    return f.loop_or_none(count, body, [("ptr", p) for p in pointers])


@functools.cache
def sum_kernel(parts: int, outputs: int, host: Host) -> Callable[..., None]:
    """kernel(samples, from, bytes a part, bytes a sample, floor, y, bytes a sample): y = max(sum of parts, floor)."""
    lanes = lanes_for(outputs, host.lanes)
    cut, _ = vector_cut(outputs, lanes, 1)
    kind = vector_type(lanes)
    f = Function("kernel", SUM)
    n, source, part, sample, floor_, y, y_step = f.args
    floor = f.splat(floor_, lanes)

    def one(_: Value, at: list[Value]) -> list[Value]:
        def vector(j: Value, _: list[Value]) -> list[Value]:
            place = f.mul(cut.start(f, j), 4)
            here, to = f.at(at[0], place), f.at(at[1], place)
            total = f.load(kind, here)
            for i in range(1, parts):
                total = f.let(f"fadd {kind} {total}, {f.load(kind, f.at(here, f.mul(part, i)))}")
            STORES["relu"](f, lanes, [total], floor, to, to, 0)
            return []

        f.loop(cut.count, vector)
        return [f.at(at[0], sample), f.at(at[1], y_step)]

    f.loop(n, one, [("ptr", source), ("ptr", y)])
    return compiled(f.text(host.attributes), (*SUM, "ptr"), host)
