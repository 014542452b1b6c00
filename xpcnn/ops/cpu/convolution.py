"""Convolution on channels-last arrays: one copy into columns, one matrix product, no col2im.

x is (n, H, W, C), y (n, OH, OW, FN), both C-contiguous; the weights come as a matrix (FH*FW*C, FN) from `as_matrix`.
A row of the columns is the window of one output pixel: FH runs of FW*C numbers that lie side by side in x.
"""

from __future__ import annotations

import numpy as np

from xpcnn.device import Array
from xpcnn.ops.reference.convolution import window_slices

__all__ = [
    "as_filters",
    "as_flipped_matrix",
    "as_matrix",
    "columns",
    "fold_columns",
    "pad_into",
    "strips",
]

_Pad = tuple[int, int, int, int]


BUDGET = 8 * 2**20  # bytes of columns at most, whatever the pictures' size (one row of output pixels excepted)


def strips(n: int, rows: int, row_bytes: int) -> list[slice]:
    """Output rows cut so that the columns of each part stay within BUDGET.

    Only where there is one picture: the rows of several do not lie together, and larger pictures come one by one.
    """
    if n != 1:
        return [slice(0, rows)]
    step = max(1, BUDGET // row_bytes)
    return [slice(r, min(r + step, rows)) for r in range(0, rows, step)]


def as_matrix(W: Array) -> Array:
    """Filters (FN, C, FH, FW) as the matrix (FH*FW*C, FN) that columns are multiplied by."""
    FN = W.shape[0]
    return np.ascontiguousarray(W.transpose(2, 3, 1, 0)).reshape(-1, FN)


def as_filters(matrix: Array, shape: tuple[int, int, int, int]) -> Array:
    """A matrix (FH*FW*C, FN) as filters of `shape` (FN, C, FH, FW); the inverse of `as_matrix`, as a view."""
    FN, C, FH, FW = shape
    return matrix.reshape(FH, FW, C, FN).transpose(3, 2, 0, 1)


def as_flipped_matrix(W: Array) -> Array:
    """Filters (FN, C, FH, FW) as the matrix (FH*FW*FN, C) that turns columns of dy into dx."""
    C = W.shape[1]
    return np.ascontiguousarray(W[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)).reshape(-1, C)


def pad_into(buffer: Array, x: Array, pad: _Pad) -> Array:
    """Writes x (n, H, W, C) into the middle of `buffer` and zeros around it; returns the buffer."""
    top, left, bottom, right = pad
    rows, width = buffer.shape[1] - bottom, buffer.shape[2] - right
    buffer[:, :top] = 0.0
    buffer[:, rows:] = 0.0
    buffer[:, top:rows, :left] = 0.0
    buffer[:, top:rows, width:] = 0.0
    buffer[:, top:rows, left:width] = x
    return buffer


def columns(x: Array, stride: tuple[int, int], out: Array, dilation: tuple[int, int] = (1, 1)) -> Array:
    """Copies the windows of x (n, H, W, C), padded already, into out (n, OH, OW, FH, FW, C); returns it as a matrix.

    x may be some of the channels of a larger array.
    """
    n, OH, OW, FH, FW, C = out.shape
    image, row, pixel = x.strides[:3]
    steps = (image, row * stride[0], pixel * stride[1], row * dilation[0], pixel * dilation[1], x.itemsize)
    np.copyto(out, np.lib.stride_tricks.as_strided(x, out.shape, steps, writeable=False))
    return out.reshape(n * OH * OW, FH * FW * C)


def fold_columns(dcols: Array, stride: tuple[int, int], dx: Array, dilation: tuple[int, int] = (1, 1)) -> None:
    """Adds dcols (n, OH, OW, FH, FW, C) to the windows of dx (n, Hp, Wp, C) that they came from."""
    _, OH, OW, FH, FW, _ = dcols.shape
    for fh, fw, (rows, width) in window_slices((FH, FW), (OH, OW), stride, dilation):
        window = dx[:, rows, width]
        window += dcols[:, :, :, fh, fw]
