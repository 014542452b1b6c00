"""The way back through 2x2 max pooling and ReLU, as IR: every element of g is written once, most of them 0."""

from __future__ import annotations

from xpcnn.ops.cpu.compiled.blocking import lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import vector_type

__all__ = ["unpool_ir"]

_MOST_VECTORS = 8  # taken at a time


def unpool_ir(FN: int, host: Host, relu: bool) -> str:
    """IR of `kernel(n, rows, columns, dout, index, y, y_image, y_row, g, g_image, g_row)`.

    Each dout (n, rows, columns, FN) goes to the one of its 2x2 places in g that index (0..3) names, if y > 0 (where
    relu); the other places become 0.
    """
    lanes = lanes_for(FN, host.lanes)
    filters, offsets = vector_cut(FN, lanes, min(_MOST_VECTORS, -(-FN // lanes)))
    kind, flags, small, whole = vector_type(lanes), f"<{lanes} x i1>", f"<{lanes} x i8>", f"<{lanes} x i32>"
    f = Function("kernel", ["i64"] * 3 + ["ptr"] * 3 + ["i64"] * 2 + ["ptr"] + ["i64"] * 2)
    n, rows, columns, dout, index, y, y_image, y_row, g, g_image, g_row = f.args
    places = [(number, f.mul(g_row, number // 2), 4 * FN * (number % 2)) for number in range(4)]
    same = ["<" + ", ".join([f"i32 {number}"] * lanes) + ">" for number in range(4)]

    def pixel(_: Value, at: list[Value]) -> list[Value]:
        dout_at, index_at, y_at, g_at = at

        def group(j: Value, _: list[Value]) -> list[Value]:
            first = filters.start(f, j)
            four = f.mul(first, 4)
            dout_in, index_in, y_in, g_in = (
                f.at(dout_at, four), f.at(index_at, first), f.at(y_at, four), f.at(g_at, four)
            )  # fmt: skip
            for offset in offsets:
                value = f.load(kind, dout_in, 4 * offset)
                if relu:
                    alive = f.let(f"fcmp ogt {kind} {f.load(kind, y_in, 4 * offset)}, zeroinitializer")
                    value = f.let(f"select {flags} {alive}, {kind} {value}, {kind} zeroinitializer")
                winner = f.let(f"zext {small} {f.load(small, index_in, offset, align=1)} to {whole}")
                for number, down, right in places:
                    won = f.let(f"icmp eq {whole} {winner}, {same[number]}")
                    kept = f.let(f"select {flags} {won}, {kind} {value}, {kind} zeroinitializer")
                    f.store(kind, kept, f.at(g_in, down), right + 4 * offset)
            return []

        f.loop(filters.count, group)
        return [f.at(dout_at, 4 * FN), f.at(index_at, FN), f.at(y_at, 4 * FN), f.at(g_at, 8 * FN)]

    def row(_: Value, at: list[Value]) -> list[Value]:
        dout_at, index_at, y_at, g_at = at
        new = f.loop(columns, pixel, [("ptr", p) for p in at])
        return [new[0], new[1], f.at(y_at, y_row), f.at(g_at, f.mul(g_row, 2))]

    def image(_: Value, at: list[Value]) -> list[Value]:
        new = f.loop(rows, row, [("ptr", p) for p in at])
        return [new[0], new[1], f.at(at[2], y_image), f.at(at[3], g_image)]

    f.loop(n, image, [("ptr", dout), ("ptr", index), ("ptr", y), ("ptr", g)])
    return f.text(host.attributes)
