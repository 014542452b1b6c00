"""Convolution on channels-last arrays: one copy into columns, one matrix product, no col2im.

x is (n, H, W, C), y (n, OH, OW, FN), both C-contiguous; the weights come as a matrix (FH*FW*C, FN) from `as_matrix`.
A row of the columns is the window of one output pixel: FH runs of FW*C numbers that lie side by side in x.
"""

from __future__ import annotations

import numpy as np

from xpcnn.device import Array

__all__ = [
    "as_filters",
    "as_flipped_matrix",
    "as_matrix",
    "columns",
    "conv_forward",
    "conv_gradients",
    "fold_columns",
    "pad_into",
]

_Pad = tuple[int, int, int, int]


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


def columns(x: Array, FH: int, FW: int, stride: tuple[int, int], out: Array) -> Array:
    """Copies the windows of x (n, H, W, C), padded already, into out (n, OH, OW, FH, FW*C); returns it as a matrix."""
    n, OH, OW = out.shape[:3]
    image, row, pixel = x.strides[:3]
    windows = np.lib.stride_tricks.as_strided(
        x, out.shape, (image, row * stride[0], pixel * stride[1], row, x.itemsize), writeable=False
    )
    np.copyto(out, windows)
    return out.reshape(n * OH * OW, FH * out.shape[4])


def conv_forward(x: Array, matrix: Array, FH: int, FW: int, stride: tuple[int, int], cols: Array, out: Array) -> Array:
    """Convolution without bias of x, padded already, into out (n*OH*OW, FN); returns the columns as a matrix.

    cols: room for the columns, (n, OH, OW, FH, FW*C).
    """
    rows = columns(x, FH, FW, stride, cols)
    np.matmul(rows, matrix, out=out)
    return rows


def conv_gradients(x: Array, dy: Array, flipped: Array, FH: int, FW: int, cols: Array, dx: Array) -> Array:
    """For stride 1: writes dx (n*H*W, C) and returns dW as a matrix (C, FH*FW*FN), both axes of the window flipped.

    x: (n*H*W, C), not padded. dy: (n, H+FH-1, W+FW-1, FN), the gradient of the output with FH-1-top zeros above it,
    and so on around. cols: room for its columns, (n, H, W, FH, FW*FN), which serve both products.
    """
    rows = columns(dy, FH, FW, (1, 1), cols)
    np.matmul(rows, flipped, out=dx)
    return np.matmul(x.T, rows)


def fold_columns(dcols: Array, stride: tuple[int, int], dx: Array) -> None:
    """Adds dcols (n, OH, OW, FH, FW, C) to the windows of dx (n, Hp, Wp, C) that they came from."""
    _, OH, OW, FH, FW, _ = dcols.shape
    for fh in range(FH):
        for fw in range(FW):
            window = dx[
                :, fh : fh + stride[0] * (OH - 1) + 1 : stride[0], fw : fw + stride[1] * (OW - 1) + 1 : stride[1]
            ]
            window += dcols[:, :, :, fh, fw]
