"""Convolutions for predictions: any strides between pixels, filters in panels, a residual added at the store.

Pictures are NHWC, but their pixels may lie further apart than they have channels: an input may be some channels of a
wider picture (a group), an output a slice of what branches are joined into. Filters are packed in panels,

    (panels, FH, FW, C, size)           the last panel moved back to end with the last filter

so that one is read in one run, and threads may share the panels out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpcnn.device import Array
from xpcnn.ops.cpu.compiled.blocking import Cut, choose, lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import stepping, vector_type
from xpcnn.ops.cpu.compiled.native import compiled
from xpcnn.ops.cpu.compiled.stores import STORES

__all__ = ["CONV", "DepthwiseShape", "PanelShape", "conv_kernel", "depthwise_kernel", "pack_panels"]

_PANEL = 2**19  # bytes of a panel at most, so that it stays in a core's second-level cache
# rows, first panel, panels, x, bytes from output row to row and tap row to row in x, w, b, floor, out, bytes a row of
# out, other, bytes a row of other
CONV = ("i64", "i64", "i64", "ptr", "i64", "i64", "ptr", "ptr", "float", "ptr", "i64", "ptr", "i64")


class PanelShape(NamedTuple):
    """What a kernel is compiled for.

    C: channels that a filter sees; FN: filters; stride, dilation: along a row; OW: outputs a row; x_pixel, out_pixel,
    other_pixel: floats from one pixel to the next. store: "relu", or "add" with the residual in `other`.
    """

    C: int
    FN: int
    FH: int
    FW: int
    stride: int
    dilation: int
    OW: int
    x_pixel: int
    out_pixel: int
    other_pixel: int = 0
    store: str = "relu"

    def lanes(self, host: Host) -> int:
        return lanes_for(self.FN, host.lanes)

    def block(self, host: Host) -> tuple[int, int]:
        """Pixels and vectors of filters in a block of sums."""
        lanes = self.lanes(host)
        most = max(1, _PANEL // (4 * lanes * self.FH * self.FW * self.C))
        _, P, Q = choose([1], self.OW, min(most, -(-self.FN // lanes)), host.registers)
        return P, Q

    def filters(self, host: Host) -> tuple[Cut, list[int]]:
        """How the filters are cut into panels, and where in a panel (in floats) its vectors begin."""
        return vector_cut(self.FN, self.lanes(host), self.block(host)[1])


def pack_panels(W: Array, cut: Cut) -> Array:
    """Filters (FN, C, FH, FW) as (panels, FH, FW, C, size)."""
    last = W.transpose(2, 3, 1, 0)
    starts = [min(i * cut.size, cut.length - cut.size) for i in range(cut.count)]
    return np.ascontiguousarray(np.stack([last[..., s : s + cut.size] for s in starts]), dtype=np.float32)


@functools.cache
def conv_kernel(shape: PanelShape, host: Host) -> Callable[..., None]:
    """See CONV for its arguments. x: the first number that the first output sees."""
    return compiled(_conv_ir(shape, host), (*CONV, "ptr"), host)


def _conv_ir(shape: PanelShape, host: Host) -> str:
    lanes = shape.lanes(host)
    P, _ = shape.block(host)
    cut, offsets = shape.filters(host)
    vectors = [4 * offset for offset in offsets]
    pixels, kind, save = Cut(shape.OW, P), vector_type(lanes), STORES[shape.store]
    scalars = [4 * p * shape.stride * shape.x_pixel for p in range(P)]
    in_one_run = shape.x_pixel == shape.C and shape.dilation == 1
    tap = 4 * cut.size * shape.C  # bytes of one tap's weights in a panel

    f = Function("kernel", CONV)
    rows, first_panel, panels, x, x_step, x_tap, w, b, floor_, out, out_row, other, other_row = f.args
    floor = f.splat(floor_, lanes)

    def sums_of(x_block: Value, w_panel: Value, sums: list[Value]) -> list[Value]:
        def window_row(fh: Value, acc: list[Value]) -> list[Value]:
            x_at, w_at = f.at(x_block, f.mul(fh, x_tap)), f.at(w_panel, f.mul(fh, tap * shape.FW))
            if in_one_run:
                steps = shape.FW * shape.C
                return stepping(f, steps, acc, (x_at, 4), scalars, (w_at, 4 * cut.size), vectors, lanes)

            def column(fw: Value, acc: list[Value]) -> list[Value]:
                x_here = f.at(x_at, f.mul(fw, 4 * shape.dilation * shape.x_pixel))
                w_here = f.at(w_at, f.mul(fw, tap))
                return stepping(f, shape.C, acc, (x_here, 4), scalars, (w_here, 4 * cut.size), vectors, lanes)

            return f.loop(shape.FW, column, [(kind, a) for a in acc])

        return f.loop(shape.FH, window_row, [(kind, s) for s in sums])

    def panel(j: Value, _: list[Value]) -> list[Value]:
        number = f.add(first_panel, j)
        first = f.mul(number, cut.size)
        if not cut.exact:
            first = f.smaller(first, cut.length - cut.size)
        start = f.mul(first, 4)
        w_panel, b_panel = f.at(w, f.mul(number, tap * shape.FH * shape.FW)), f.at(b, start)
        bias = [f.load(kind, b_panel, v) for v in vectors]

        def row(_: Value, at: list[Value]) -> list[Value]:
            x_row, out_now, other_now = at

            def block(i: Value, _: list[Value]) -> list[Value]:
                pixel = pixels.start(f, i)
                x_block = f.at(x_row, f.mul(pixel, 4 * shape.stride * shape.x_pixel))
                sums = sums_of(x_block, w_panel, bias * P)
                out_block = f.at(out_now, f.mul(pixel, 4 * shape.out_pixel))
                other_block = f.at(other_now, f.mul(pixel, 4 * shape.other_pixel))
                for p in range(P):
                    for q, offset in enumerate(offsets):
                        seen = [sums[p * len(offsets) + q]]
                        beside = p * shape.other_pixel + offset
                        save(
                            f,
                            lanes,
                            seen,
                            floor,
                            f.at(out_block, 4 * (p * shape.out_pixel + offset)),
                            f.at(other_block, 4 * beside),
                            0,
                        )
                return []

            f.loop(pixels.count, block)
            return [f.at(x_row, x_step), f.at(out_now, out_row), f.at(other_now, other_row)]

        f.loop(rows, row, [("ptr", x), ("ptr", f.at(out, start)), ("ptr", f.at(other, start))])
        return []

    f.loop(panels, panel)
    return f.text(host.attributes)


class DepthwiseShape(NamedTuple):
    """A convolution whose every channel is a group of its own, with one filter."""

    C: int
    FH: int
    FW: int
    stride: int
    dilation: int
    OW: int
    x_pixel: int
    out_pixel: int


DEPTHWISE = ("i64", "ptr", "i64", "i64", "ptr", "ptr", "float", "ptr", "i64")
_PIXELS = 4  # outputs at a time


@functools.cache
def depthwise_kernel(shape: DepthwiseShape, host: Host) -> Callable[..., None]:
    """kernel(rows, x, bytes from output row to row and tap row to row in x, w, b, floor, out, bytes a row of out).

    w: (FH, FW, C).
    """
    return compiled(_depthwise_ir(shape, host), (*DEPTHWISE, "ptr"), host)


def _depthwise_ir(shape: DepthwiseShape, host: Host) -> str:
    C, FH, FW = shape.C, shape.FH, shape.FW
    lanes = lanes_for(C, host.lanes)
    channels, _ = vector_cut(C, lanes, 1)
    kind = vector_type(lanes)
    pixels = Cut(shape.OW, min(_PIXELS, shape.OW))

    f = Function("kernel", DEPTHWISE)
    rows, x, x_step, x_tap, w, b, floor_, out, out_row = f.args
    floor = f.splat(floor_, lanes)

    def some_channels(j: Value, _: list[Value]) -> list[Value]:
        first = f.mul(channels.start(f, j), 4)
        bias = f.load(kind, f.at(b, first))
        weights = f.at(w, first)

        def row(_: Value, at: list[Value]) -> list[Value]:
            x_row, out_now = at

            def block(i: Value, _: list[Value]) -> list[Value]:
                pixel = pixels.start(f, i)
                x_at = f.at(x_row, f.mul(pixel, 4 * shape.stride * shape.x_pixel))
                sums = [bias] * pixels.size
                for fh in range(FH):
                    for fw in range(FW):
                        weight: Any = f.load(kind, weights, 4 * C * (FW * fh + fw))
                        for p in range(pixels.size):
                            place = 4 * (p * shape.stride + fw * shape.dilation) * shape.x_pixel
                            value = f.load(kind, x_at, place)
                            sums[p] = f.let(
                                f"call {kind} @llvm.fmuladd.v{lanes}f32({kind} {value}, {kind} {weight}, "
                                f"{kind} {sums[p]})"
                            )
                    x_at = f.at(x_at, x_tap)
                out_at = f.at(out_now, f.mul(pixel, 4 * shape.out_pixel))
                for p in range(pixels.size):
                    STORES["relu"](f, lanes, [sums[p]], floor, out_at, out_at, p * shape.out_pixel)
                return []

            f.loop(pixels.count, block)
            return [f.at(x_row, x_step), f.at(out_now, out_row)]

        f.loop(rows, row, [("ptr", f.at(x, first)), ("ptr", f.at(out, first))])
        return []

    f.loop(channels.count, some_channels)
    return f.text(host.attributes)
