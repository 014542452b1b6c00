"""The forward kernel as IR, with what may be fused into its store: bias, ReLU, 2x2 max pooling, a ReLU's mask."""

from __future__ import annotations

from collections.abc import Callable

from xpcnn.ops.cpu.compiled.blocking import Cut, Shape, choose, lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import stepping, vector_type
from xpcnn.ops.cpu.compiled.stores import STORES

__all__ = ["forward_ir"]

_POINTERS_AND_STRIDES = ["ptr", "i64", "i64"]  # first float, bytes an image, bytes a row


def forward_ir(shape: Shape, host: Host, store: str) -> str:
    """IR of `kernel(n, rows, x, x_image, w, b, floor, out, out_image, out_row, other, other_image, other_row)`.

    store: "relu": out = max(sum + b, floor). "pool": the same of the largest of 2x2 sums, its place 0..3 to `other`
    (bytes). "mask": out = sum + b where `other` (floats) > 0, else 0. rows: output rows (of pooled pixels).
    """
    tall = 2 if store == "pool" else 1
    width = shape.OW // 2 * 2 if store == "pool" else shape.OW
    lanes = lanes_for(shape.FN, host.lanes)
    _, columns, Q = choose([tall], width, -(-shape.FN // lanes), host.registers, tall)
    filters, offsets = vector_cut(shape.FN, lanes, Q)
    vector_offsets = [4 * offset for offset in offsets]
    pixels = Cut(width // tall, columns // tall)
    kind = vector_type(lanes)

    f = Function("kernel", ["i64", "i64", "ptr", "i64", "ptr", "ptr", "float", *_POINTERS_AND_STRIDES * 2])
    n, rows, x, x_image, w, b, floor_, out, out_image, out_row, other, other_image, other_row = f.args
    other_size = 1 if store == "pool" else 4
    floor = f.splat(floor_, lanes)
    scalar_offsets = [
        r * shape.stride_h * shape.row + column * shape.pixel for r in range(tall) for column in range(columns)
    ]

    def block(i: Value, x_row: Value, w_group: Value, bias: list[Value], out_at: Value, other_at: Value) -> None:
        first = pixels.start(f, i)
        x_block = f.at(x_row, f.mul(first, tall * shape.pixel))
        sums = bias * (tall * columns)

        def window_row(fh: Value, acc: list[Value]) -> list[Value]:
            x_at = f.at(x_block, f.mul(fh, shape.row))
            w_at = f.at(w_group, f.mul(fh, 4 * shape.window_row * shape.FN))
            steps = shape.window_row
            return stepping(f, steps, acc, (x_at, 4), scalar_offsets, (w_at, 4 * shape.FN), vector_offsets, lanes)

        sums = f.loop(shape.FH, window_row, [(kind, s) for s in sums])
        out_block = f.at(out_at, f.mul(first, 4 * shape.out_pixel))
        other_block = f.at(other_at, f.mul(first, other_size * shape.out_pixel))
        save = STORES[store]
        for p in range(pixels.size):
            for q, offset in enumerate(offsets):
                seen = [sums[(r * columns + tall * p + c) * Q + q] for r in range(tall) for c in range(tall)]
                save(f, lanes, seen, floor, out_block, other_block, p * shape.out_pixel + offset)

    def group(j: Value, x_at: Value, out_at: Value, other_at: Value) -> None:
        first = filters.start(f, j)
        bytes_in = f.mul(first, 4)
        w_group, b_group = f.at(w, bytes_in), f.at(b, bytes_in)
        bias = [f.load(kind, b_group, offset) for offset in vector_offsets]
        out_at, other_at = f.at(out_at, bytes_in), f.at(other_at, f.mul(first, other_size))

        def row(_: Value, at: list[Value]) -> list[Value]:
            x_row, out_now, other_now = at
            f.loop(pixels.count, _quiet(lambda i: block(i, x_row, w_group, bias, out_now, other_now)))
            x_next = f.at(x_row, tall * shape.stride_h * shape.row)
            return [x_next, f.at(out_now, out_row), f.at(other_now, other_row)]

        f.loop(rows, row, [("ptr", x_at), ("ptr", out_at), ("ptr", other_at)])

    def image(_: Value, at: list[Value]) -> list[Value]:
        f.loop(filters.count, _quiet(lambda j: group(j, *at)))
        return [f.at(p, step) for p, step in zip(at, (x_image, out_image, other_image), strict=True)]

    f.loop(n, image, [("ptr", x), ("ptr", out), ("ptr", other)])
    return f.text(host.attributes)


def _quiet(body: Callable[[Value], None]) -> Callable[[Value, list[Value]], list[Value]]:
    """A loop body that carries nothing."""

    def carrying_nothing(i: Value, _: list[Value]) -> list[Value]:
        body(i)
        return []

    return carrying_nothing
