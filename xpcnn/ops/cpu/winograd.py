"""Winograd's convolution F(4x4, 3x3): 16 outputs of a 3x3 window from 36 products instead of 144.

A tile of 6x6 input pixels d, filters g and 4x4 outputs y of one channel and one filter are

    y = A' [ (G g G') * (B' d B) ] A           (Lavin, Gray: Fast Algorithms for Convolutional Neural Networks, 2015)

where * is element by element, and channels are summed before A. It is polynomial multiplication: both sides are
evaluated at five points and infinity. The usual points 0, 1, -1, 2, -2 lose a digit to rounding; 0, +-2/3, +-3/2 lose
little (see docs/compiled.md), since the points' powers stay near 1 and 2/3 * 3/2 = 1 keeps the coefficients small.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from xpcnn.device import Array

__all__ = ["POINTS", "TILE", "matrices", "transform_filters"]

POINTS = (2.0 / 3.0, 3.0 / 2.0)  # their product must be 1: the input transforms take it for granted
TILE = 4  # outputs a side
# Filters of one channel transformed at a time: little is in float64 at once, and OpenBLAS wakes no second thread, which
# would wait for more work for milliseconds on a core that the next step wants.
SOME = 2**9

_Matrix = NDArray[np.float64]


@cache
def matrices() -> tuple[_Matrix, _Matrix, _Matrix]:
    """B' (6, 6), G (6, 3) and A' (4, 6); rows of B' and G are the points 0, a, -a, b, -b and infinity."""
    a, b = POINTS
    points = (0.0, a, -a, b, -b)
    Bt, G, At = np.zeros((6, 6)), np.zeros((6, 3)), np.zeros((4, 6))
    for i, p in enumerate(points):
        others = [q for q in points if q != p]
        Bt[i, :5] = np.poly(others)[::-1]  # lowest power first
        G[i] = np.array([1.0, p, p * p]) / np.prod([p - q for q in others])
        At[:, i] = p ** np.arange(4)
    Bt[5] = np.poly(points)[::-1]
    G[5, 2] = At[3, 5] = 1.0
    for matrix in (Bt, G, At):
        matrix.setflags(write=False)  # all callers get the same
    return Bt, G, At


def transform_filters(W: Array) -> Array:
    """G g G' of filters (FN, C, 3, 3), as (36, C, FN) in W's dtype; reckoned in float64."""
    FN, C = W.shape[:2]
    W9, GG = W.transpose(2, 3, 1, 0).reshape(9, C * FN), np.kron(matrices()[1], matrices()[1])
    U = np.empty((36, C * FN), dtype=W.dtype)
    for first in range(0, C * FN, SOME):
        here = slice(first, first + SOME)
        U[:, here] = GG @ W9[:, here].astype(np.float64)
    return U.reshape(36, C, FN)
