"""The weight gradient's kernel as IR."""

from __future__ import annotations

from xpcnn.ops.cpu.compiled.blocking import Cut, Shape, choose, lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import stepping, vector_type

__all__ = ["grad_w_ir"]


def grad_w_ir(shape: Shape, host: Host) -> str:
    """IR of `kernel(n, rows, x, x_image, g, g_image, g_row, dw)`: dw (FH, FW, C, FN) += sums over n images' rows.

    A block of dw stays in registers over all n*rows*OW pixels; the caller hands over as many as the cache holds.
    """
    lanes = lanes_for(shape.FN, host.lanes)
    heights = list(range(1, shape.FH + 1))
    high, wide, Q = choose(heights, shape.window_row, -(-shape.FN // lanes), host.registers)
    filters, offsets = vector_cut(shape.FN, lanes, Q)
    window_rows, window_columns = Cut(shape.FH, high), Cut(shape.window_row, wide)
    kind = vector_type(lanes)
    block = [(r, c) for r in range(high) for c in range(wide)]
    scalar_offsets = [r * shape.row + 4 * c for r, c in block]

    f = Function("kernel", ["i64", "i64", "ptr", "i64", "ptr", "i64", "i64", "ptr"])
    n, rows, x, x_image, g, g_image, g_row, dw = f.args

    def sums_over_pixels(x_first: Value, g_first: Value) -> list[Value]:
        def row(_: Value, carried: list[Value]) -> list[Value]:
            x_at, g_at, *acc = carried
            acc = stepping(
                f, shape.OW, acc, (x_at, shape.pixel), scalar_offsets,
                (g_at, 4 * shape.FN), [4 * offset for offset in offsets], lanes,
            )  # fmt: skip
            return [f.at(x_at, shape.stride_h * shape.row), f.at(g_at, g_row), *acc]

        def image(_: Value, carried: list[Value]) -> list[Value]:
            x_at, g_at, *acc = carried
            acc = f.loop(rows, row, [("ptr", x_at), ("ptr", g_at), *((kind, a) for a in acc)])[2:]
            return [f.at(x_at, x_image), f.at(g_at, g_image), *acc]

        zeros = [(kind, "zeroinitializer")] * (len(block) * Q)
        return f.loop(n, image, [("ptr", x_first), ("ptr", g_first), *zeros])[2:]

    def add(fh: Value, column: Value, filter_: Value) -> None:
        """One block: the rows from fh, the window's columns and the filters from block `column` and `filter_`."""
        r0, c0, f0 = window_rows.start(f, fh), window_columns.start(f, column), filters.start(f, filter_)
        x_first = f.at(f.at(x, f.mul(r0, shape.row)), f.mul(c0, 4))
        sums = sums_over_pixels(x_first, f.at(g, f.mul(f0, 4)))
        first = f.add(f.mul(r0, shape.window_row), c0)
        dw_at = f.at(dw, f.mul(f.add(f.mul(first, shape.FN), f0), 4))
        # Sums that the block before has already added (see Cut) must not be added again.
        done_rows, done_columns = window_rows.repeated(f, fh, r0), window_columns.repeated(f, column, c0)
        done_lanes = [_first_lanes(f, lanes, filters.repeated(f, filter_, f0), q, offsets[q]) for q in range(Q)]
        for i, (r, c) in enumerate(block):
            fresh_row = _fresh(f, [(r, done_rows), (c, done_columns)])
            for q in range(Q):
                value = sums[i * Q + q]
                if fresh_row:
                    value = f.let(f"select i1 {fresh_row}, {kind} {value}, {kind} zeroinitializer")
                if done_lanes[q]:
                    value = f.let(f"select <{lanes} x i1> {done_lanes[q]}, {kind} zeroinitializer, {kind} {value}")
                place = 4 * ((r * shape.window_row + c) * shape.FN + offsets[q])
                total = f.let(f"fadd {kind} {f.load(kind, dw_at, place)}, {value}")
                f.store(kind, total, dw_at, place)

    def over_rows(fh: Value, _: list[Value]) -> list[Value]:
        def over_columns(column: Value, _: list[Value]) -> list[Value]:
            def over_filters(filter_: Value, _: list[Value]) -> list[Value]:
                add(fh, column, filter_)
                return []

            return f.loop(filters.count, over_filters)

        return f.loop(window_columns.count, over_columns)

    f.loop(window_rows.count, over_rows)
    return f.text(host.attributes)


def _fresh(f: Function, places: list[tuple[int, Value]]) -> Value:
    """Whether a place (row, column) lies behind those already done; "" where that is known."""
    tests = [f.let(f"icmp sge i64 {place}, {done}") for place, done in places if done != "0"]
    if len(tests) == 2:
        return f.let(f"and i1 {tests[0]}, {tests[1]}")
    return tests[0] if tests else ""


def _first_lanes(f: Function, lanes: int, repeated: Value, q: int, offset: int) -> Value:
    """Which lanes of vector q hold sums that another vector has; "" where none do.

    Either the whole group was moved back by `repeated`, or, in the only group, vector q by q*lanes - offset.
    """
    moved = q * lanes - offset
    if moved:
        return f.below(moved, lanes)
    return "" if repeated == "0" else f.below(f.let(f"sub nsw i64 {repeated}, {offset}"), lanes)
