"""How a convolution is cut into register blocks: how many scalars (P) and vectors (Q) for this shape and machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from xpcnn.ops.cpu.compiled.ir import Function, Value

__all__ = ["Cut", "Shape", "choose", "lanes_for", "vector_cut"]


class Shape(NamedTuple):
    """What a kernel is compiled for; IW is the width of the padded input, in pixels.

    apart: pixels from one output to the next in memory; columns: outputs a row, 0 for all that there are.
    """

    C: int
    FN: int
    FH: int
    FW: int
    stride_h: int
    stride_w: int
    IW: int
    apart: int = 1
    columns: int = 0

    @property
    def OW(self) -> int:
        return self.columns or (self.IW - self.FW) // self.stride_w + 1

    @property
    def row(self) -> int:
        """Bytes of one input row."""
        return 4 * self.IW * self.C

    @property
    def pixel(self) -> int:
        """Bytes from one window to the next along a row."""
        return 4 * self.stride_w * self.C

    @property
    def out_pixel(self) -> int:
        """Floats from one output pixel to the next."""
        return self.apart * self.FN

    @property
    def window_row(self) -> int:
        """Floats in one row of a window."""
        return self.FW * self.C


@dataclass(frozen=True)
class Cut:
    """`length` things taken `size` at a time; the last block is moved back to end with the last thing.

    So one piece of code serves all blocks and nothing outside is touched, without masks: where the size does not
    divide, a few sums are made twice, with the same result.
    """

    length: int
    size: int

    @property
    def count(self) -> int:
        return -(-self.length // self.size)

    @property
    def exact(self) -> bool:
        return self.length % self.size == 0

    def start(self, f: Function, i: Value) -> Value:
        """Where block i starts."""
        first = f.mul(i, self.size) if self.count > 1 else "0"
        return first if self.exact else f.smaller(first, self.length - self.size)

    def repeated(self, f: Function, i: Value, start: Value) -> Value:
        """How many of block i's things the block before it has already done."""
        return "0" if self.exact else f.sub(f.mul(i, self.size), start)


def lanes_for(FN: int, host_lanes: int) -> int:
    """Floats a vector: the machine's own, or for fewer filters the largest power of two that fits into them."""
    return min(host_lanes, 1 << (FN.bit_length() - 1))


def vector_cut(FN: int, lanes: int, Q: int) -> tuple[Cut, list[int]]:
    """The filters as groups of Q vectors, and where in a group (in floats) each vector starts.

    Several groups: each is Q*lanes wide and the last is moved back. One group: its last vector is moved back.
    """
    if Q * lanes >= FN:
        return Cut(FN, FN), [min(q * lanes, FN - lanes) for q in range(Q)]
    return Cut(FN, Q * lanes), [q * lanes for q in range(Q)]


def _cost(P: int, Q: int) -> float:
    """Cycles a step on a core with two multiply-adds and two loads a cycle, four cycles from sum to next sum.

    The last term prefers, where two cuts waste equally little, the one that loads less and reads the weights less
    often. It is small: any block of 8 sums and more was seen to keep such a core busy, so what a cut repeats counts.
    """
    return max(P * Q / 2.0, (P + Q) / 2.0, 4.0) + (1 + Q) / 8.0


def choose(heights: list[int], width: int, vectors: int, registers: int, multiple: int = 1) -> tuple[int, int, int]:
    """The block (rows, columns, Q) that does the whole in the fewest cycles: rows*columns scalars, Q vectors.

    heights: rows a block may have, `height` in all being the largest; width: columns in all; columns a multiple of
    `multiple` (2 where pairs are pooled).
    """
    tall = max(heights)

    def fitting() -> Iterator[tuple[float, int, tuple[int, int, int]]]:
        columns_tried = range(multiple, min(width, registers) + 1, multiple)
        for rows, columns, Q in itertools.product(heights, columns_tried, range(1, min(vectors, registers) + 1)):
            P = rows * columns
            if registers >= P * Q + Q + 1:  # sums, vectors and one scalar spread out
                rounds = -(-tall // rows) * -(-width // columns) * -(-vectors // Q)
                yield rounds * _cost(P, Q), rounds, (rows, columns, Q)

    return min(fitting())[2]
