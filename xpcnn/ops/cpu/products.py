"""Matrix products cut to the size that BLAS is fastest at.

OpenBLAS's kernels for AVX-512 take matrices of up to a million multiply-adds as they lie in memory; larger ones are
first copied into packs, which with the few dozen columns of a convolution costs a fifth of the time. NumPy takes a
stack of matrices in one call. Other BLAS libraries pack always, and get their products whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from xpcnn.device import Array
from xpcnn.threads import blas_architectures

__all__ = ["at_once", "cross", "cuts", "product"]

SMALL = 10**6  # multiply-adds up to which these kernels take matrices unpacked
COLUMNS = 64  # of the second matrix at a time, where all of them would leave a product fewer than FEW rows
FEW = 8
KERNEL = 4  # rows that a kernel takes at a time
LONG = 96  # rows a part from which sums over rows are faster in parts: else adding up the parts costs too much


@cache
def _takes_unpacked() -> bool:
    return bool(blas_architectures() & {"SkylakeX", "Cooperlake", "SapphireRapids"})


def at_once(K: int, N: int) -> tuple[int, int]:
    """Rows of a and columns of b (K, N) that one product should take; no rows: more than any would be too much."""
    if not _takes_unpacked():
        return 2**31, N
    columns = N if FEW * N * K <= SMALL else min(N, COLUMNS)
    return SMALL // (columns * K) // KERNEL * KERNEL, columns


def cuts(count: int, most: int) -> Iterator[tuple[int, int, int]]:
    """`count` rows in lots of at most `most`, about equal: as (first, lots, rows a lot), the last lot by itself."""
    per = -(-count // -(-count // most))
    if per < count:
        per = -(-per // KERNEL) * KERNEL
    whole = count // per
    yield 0, whole, per
    if count % per:
        yield whole * per, 1, count % per


def product(a: Array, b: Array, out: Array) -> Array:
    """a (R, K) @ b (K, N) into out (R, N), whose rows may lie apart."""
    R, K = a.shape
    N = b.shape[1]
    rows, columns = at_once(K, N)
    if rows == 0 or (rows >= R and columns == N):
        return np.matmul(a, b, out=out)
    for first, lots, many in cuts(R, rows):
        here = slice(first, first + lots * many)
        taken, given = a[here].reshape(lots, many, K), out[here].reshape(lots, many, N)
        for c in range(0, N, columns):
            np.matmul(taken, b[:, c : c + columns], out=given[..., c : c + columns])
    return out


def cross(a: Array, b: Array) -> Array:
    """a (R, M) transposed @ b (R, N): a new array (M, N)."""
    R, M = a.shape
    N = b.shape[1]
    most = SMALL // (M * N)
    if not _takes_unpacked() or most < LONG or most >= R:
        return a.T @ b
    total = None
    for first, lots, many in cuts(R, most):
        here = slice(first, first + lots * many)
        parts = np.matmul(a[here].reshape(lots, many, M).transpose(0, 2, 1), b[here].reshape(lots, many, N))
        part = parts.sum(axis=0)
        total = part if total is None else np.add(total, part, out=total)
    return total
