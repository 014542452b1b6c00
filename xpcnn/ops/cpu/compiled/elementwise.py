"""The way back through 2x2 max pooling and ReLU, as IR: every element of g is written once, most of them 0."""

from __future__ import annotations

from xpcnn.ops.cpu.compiled.blocking import lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import vector_type

__all__ = ["unpool_ir"]

_MOST_VECTORS = 8  # taken at a time


def unpool_ir(FN: int, host: Host, relu: bool) -> str:
    """IR of `kernel(n, rows, columns, dout, index, y, g)`, the last four each with bytes an image, bytes a row.

    Each element of dout (n, rows, columns, FN) goes to that of its 2x2 places in g that index (0..3) names, if y > 0
    (where relu); the other places become 0.
    """
    lanes = lanes_for(FN, host.lanes)
    filters, offsets = vector_cut(FN, lanes, min(_MOST_VECTORS, -(-FN // lanes)))
    kind, flags, small, whole = vector_type(lanes), f"<{lanes} x i1>", f"<{lanes} x i8>", f"<{lanes} x i32>"
    f = Function("kernel", ["i64"] * 3 + ["ptr", "i64", "i64"] * 4)
    n, rows, columns = f.args[:3]
    starts, image_steps, row_steps = f.args[3::3], f.args[4::3], f.args[5::3]
    widths = (4, 1, 4, 4)  # bytes an element of dout, index, y, g
    g_row = row_steps[3]
    places = [(f.everywhere(number, lanes), f.mul(g_row, number // 2), 4 * FN * (number % 2)) for number in range(4)]

    def vector(offset: int, dout: Value, index: Value, y: Value, g: Value) -> None:
        value = f.load(kind, dout, 4 * offset)
        if relu:
            alive = f.let(f"fcmp ugt {kind} {f.load(kind, y, 4 * offset)}, zeroinitializer")
            value = f.let(f"select {flags} {alive}, {kind} {value}, {kind} zeroinitializer")
        winner = f.let(f"zext {small} {f.load(small, index, offset, align=1)} to {whole}")
        for number, down, right in places:
            won = f.let(f"icmp eq {whole} {winner}, {number}")
            kept = f.let(f"select {flags} {won}, {kind} {value}, {kind} zeroinitializer")
            f.store(kind, kept, f.at(g, down), right + 4 * offset)

    def pixel(_: Value, at: list[Value]) -> list[Value]:
        def group(j: Value, _: list[Value]) -> list[Value]:
            first = filters.start(f, j)
            inside = [f.at(p, f.mul(first, width)) for p, width in zip(at, widths, strict=True)]
            for offset in offsets:
                vector(offset, *inside)
            return []

        f.loop(filters.count, group)
        return [f.at(p, width * FN * many) for p, width, many in zip(at, widths, (1, 1, 1, 2), strict=True)]

    def row(_: Value, at: list[Value]) -> list[Value]:
        f.loop(columns, pixel, [("ptr", p) for p in at])
        steps = [*row_steps[:3], f.mul(g_row, 2)]
        return [f.at(p, step) for p, step in zip(at, steps, strict=True)]

    def image(_: Value, at: list[Value]) -> list[Value]:
        f.loop(rows, row, [("ptr", p) for p in at])
        return [f.at(p, step) for p, step in zip(at, image_steps, strict=True)]

    f.loop(n, image, [("ptr", p) for p in starts])
    return f.text(host.attributes)
