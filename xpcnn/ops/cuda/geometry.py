"""A convolution's sizes, and the one rule for how it is calculated."""

from __future__ import annotations

import functools
from enum import Enum
from typing import Any, NamedTuple

from xpcnn.errors import ShapeError
from xpcnn.ops.geometry import IntPair, PadLike, pair, quad, window_output

__all__ = ["COLUMN_BUDGET", "Conv", "Way", "choose_way", "conv"]

COLUMN_BUDGET = 2**29  # bytes of columns that may exist at once
_SHORT = 32  # products a sum of which columns are not worth storing


class Way(Enum):
    """How a convolution goes forward."""

    POINTWISE = "pointwise"  # one matrix product on the pictures themselves
    COLUMNS = "columns"  # im2col, then one matrix product
    IMPLICIT = "implicit"  # one kernel that gathers its columns tile by tile


class Conv(NamedTuple):
    """Sizes of a convolution of x (N, C, H, W) by W (FN, C/groups, FH, FW) to y (N, FN, OH, OW)."""

    x: tuple[int, int, int, int]
    filters: tuple[int, int, int, int]
    out: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def N(self) -> int:
        return self.x[0]

    @property
    def FN(self) -> int:
        return self.filters[0]

    @property
    def K(self) -> int:
        """Rows of the columns, over all groups."""
        return self.x[1] * self.filters[2] * self.filters[3]

    @property
    def P(self) -> int:
        """Pixels of an output picture."""
        return self.out[0] * self.out[1]

    @property
    def y(self) -> tuple[int, int, int, int]:
        return (self.N, self.FN, *self.out)

    @property
    def is_pointwise(self) -> bool:
        return self.filters[2:] == (1, 1) == self.stride and not any(self.pad)


@functools.lru_cache(maxsize=1024)
def _conv(
    x: Any,
    filters: Any,
    stride: tuple[int, int],
    pad: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Conv:
    if len(x) != 4 or len(filters) != 4:
        raise ShapeError(f"expected pictures (N, C, H, W) and filters (FN, C/groups, FH, FW), got {x} and {filters}")
    FN, channels, FH, FW = filters
    if channels * groups != x[1] or FN % groups:
        raise ShapeError(
            f"W of shape {filters} with groups={groups} needs pictures of {channels * groups} channels and a number "
            f"of filters that {groups} divides; got {x[1]} channels and {FN} filters"
        )
    out = window_output((x[2], x[3]), (FH, FW), stride, pad, dilation)
    return Conv(x, filters, out, stride, pad, dilation, groups)


def conv(
    x: tuple[int, ...], filters: tuple[int, ...], stride: IntPair, pad: PadLike, dilation: IntPair, groups: int
) -> Conv:
    """The sizes of a convolution. Raises ShapeError where they do not fit, in the reference's words."""
    return _conv(x, filters, pair(stride, "stride"), quad(pad), pair(dilation, "dilation"), groups)


def choose_way(c: Conv, itemsize: int, budget: int = COLUMN_BUDGET) -> Way:
    """The declared rule: how this convolution goes forward.

    1. A 1x1 filter of stride 1 without pad: POINTWISE. The pictures are the columns; for a batch they are put in the
       order (C, N, H, W) first, as one product of two matrices is one launch and CuPy's product of many matrices
       with one copies, or makes tables of pointers.
    2. Sums of at most 32 products (a first layer on 1 to 3 channels, depthwise filters): IMPLICIT. Columns would be
       written and read for less arithmetic than that costs.
    3. Columns of more than `budget` bytes: IMPLICIT, which stores none.
    4. Everything else: COLUMNS, the reference.

    The limits come from counting bytes, and wait for measurements on a card. cuDNN (by nvidia-cudnn-frontend, which
    takes CuPy pointers) has its place before rule 2, for what it supports; it is not written until a card can run it.
    Backward always goes by columns (in pieces of the batch within `budget`) or, for rule 1, without.
    """
    if c.is_pointwise:
        return Way.POINTWISE
    if c.K // c.groups <= _SHORT or c.N * c.K * c.P * itemsize > budget:
        return Way.IMPLICIT
    return Way.COLUMNS
