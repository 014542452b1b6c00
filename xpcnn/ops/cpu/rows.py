"""Convolution a row of output pixels at a time, from a slab in which the windows overlap.

x is (n, H, W, C), padded already and C-contiguous. For every output column the slab holds what it sees of each row:

    slab[n, ow, h] = x[n, h, ow * stride : ow * stride + FW]        FW * C numbers side by side

so the window of pixel (oh, ow) is FH * FW * C numbers side by side, from slab[n, ow, oh * stride] on. A number is
copied FW times where columns take FH * FW copies, and for each output row the windows of all (n, ow) lie a fixed
distance apart: BLAS takes them as a matrix where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpcnn.device import Array
from xpcnn.ops.cpu import convolution
from xpcnn.ops.cpu.products import at_once, cuts

__all__ = ["Block", "RowShape", "as_lines"]

BLOCK = 2**21  # bytes of slab and products that are made at a time, so that they are still in the cache


@dataclass(frozen=True)
class RowShape:
    """What a convolution's blocks have in common. width: output pixels in a row.

    pool: output pixels of even and odd columns are kept apart, so that the four corners of 2x2 windows lie in arrays
    of their own; an odd last column is left out.
    """

    FH: int
    FW: int
    C: int
    FN: int
    stride: tuple[int, int]
    width: int
    pool: bool

    @property
    def phases(self) -> int:
        return 2 if self.pool else 1

    @property
    def possible(self) -> bool:
        """Whether these products are fast: not with so many weights that few windows are too many for one."""
        return at_once(self.FH * self.FW * self.C, self.FN)[0] > 0

    def seen(self, rows: int) -> int:
        """Rows of x that so many output rows see."""
        return (rows - 1) * self.stride[0] + self.FH

    def slab(self, n: int, rows: int) -> tuple[int, ...]:
        return self.phases, n, self.width // self.phases, self.seen(rows), self.FW, self.C

    def products(self, n: int, rows: int) -> tuple[int, ...]:
        return rows, self.phases, n, self.width // self.phases, self.FN

    def blocks(self, n: int, rows: int, item: int) -> Iterator[tuple[slice, slice]]:
        """n pictures and their output rows cut into parts whose slab and products fit BLOCK, as equal as can be.

        Pictures that fit go whole, several at a time; larger ones a few rows at a time, but no fewer than pooling
        takes. item: bytes of a number.
        """
        limit = min(BLOCK, convolution.BUDGET)
        line = self.width * self.FW * self.C * item  # of one row of x in the slab
        more = max(0, self.FH - self.stride[0]) * line
        row = self.width * self.FN * item + self.stride[0] * line
        together = max(1, limit // (rows * row + more))
        high = rows if together > 1 else max(1, (limit - more) // row // self.phases) * self.phases
        for images in _equal(n, together, 1):
            for part in _equal(rows, high, self.phases):
                yield images, part


def _equal(length: int, most: int, step: int) -> Iterator[slice]:
    """`length` in as few parts of at most `most` as will do; all are multiples of `step`."""
    count = -(-length // most)
    ends = [length // step * i // count * step for i in range(count + 1)]
    return (slice(ends[i], ends[i + 1]) for i in range(count))


class Block:
    """The convolution of some pictures' rows: from x (n, seen rows, Wp, C) by way of `slab` to `z`.

    It keeps views of the three arrays, so that doing it again takes a few calls only.
    """

    def __init__(self, shape: RowShape, x: Array, slab: Array, z: Array) -> None:
        rows, phases, n, width, FN = z.shape
        lines = z.reshape(rows, phases, n, width * FN)
        self.lines = lines[:, 0]  # without pooling: all products, (rows, n, width*FN)
        # With pooling: the four products of each window, in reading order, (rows/2, n, width/2*FN).
        self.corners = (lines[0::2, 0], lines[0::2, -1], lines[1::2, 0], lines[1::2, -1])
        self._copies = list(_copies(shape, x, slab))
        self._products = list(_products(shape, slab, z))

    def run(self, matrix: Array) -> None:
        """Fills z (rows, phases, n, width/phases, FN), from filters as a matrix (FH*FW*C, FN)."""
        for into, seen in self._copies:
            np.copyto(into, seen)
        for windows, filters, out in self._products:
            np.matmul(windows, matrix[:, filters], out=out)


def as_lines(y: Array) -> Array:
    """A part of y (n, rows, width, FN) as blocks have it: (rows, n, width*FN)."""
    n, rows, width, FN = y.shape
    return y.reshape(n, rows, width * FN).transpose(1, 0, 2)


def _copies(shape: RowShape, x: Array, slab: Array) -> Iterator[tuple[Array, Array]]:
    image, row, pixel, item = x.strides
    step = pixel * shape.stride[1]
    seen = as_strided(x, slab.shape, (step, image, step * shape.phases, row, pixel, item), writeable=False)
    if shape.C > 1 or len(x) == 1:
        yield slab, seen
        return
    for fw in range(shape.FW):  # of one channel, FW copies of single numbers are faster than one of runs of FW
        yield slab[..., fw, 0], seen[..., fw, 0]


def _products(shape: RowShape, slab: Array, z: Array) -> Iterator[tuple[Array, slice, Array]]:
    """The matrix products: windows (rows, lots, windows a lot, K), which filters, and where they go."""
    K, FN, rows = shape.FH * shape.FW * shape.C, shape.FN, len(z)
    seen, item, apart = slab.reshape(-1, *slab.shape[3:]), slab.itemsize, slab.strides[2]
    down = shape.stride[0] * slab.strides[3]
    most, filters = at_once(K, FN)
    for first, lots, many in cuts(len(seen), most):
        strides = (down, many * apart, apart, item)
        windows = as_strided(seen[first:], (rows, lots, many, K), strides, writeable=False)
        out = z.reshape(rows, -1, FN)[:, first : first + lots * many].reshape(rows, lots, many, FN)
        for f in range(0, FN, filters):
            yield windows, slice(f, f + filters), out[..., f : f + filters]
