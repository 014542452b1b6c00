"""Inputs and comparisons that the tests of the CUDA operations share."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES = ["float32", "float64", "float16"]


def normal(seed: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def judged(a: np.ndarray) -> np.ndarray:
    """What the reference gets: float16 numbers as float32, because the kernels calculate in that."""
    return a.astype(np.float32) if a.dtype == np.float16 else a


def assert_near(got: np.ndarray, want: Any, dtype: str, terms: int = 8, magnitude: float | None = None) -> None:
    """Asserts got's dtype and |got - want| <= (2 * terms * eps(calculation) + eps(dtype)) * magnitude.

    Sums of `terms` products in any order differ by about that much (see tests/oracles.py); the last term is the
    rounding of the result to its dtype. magnitude: of the largest such sum; want's largest element if not given.
    """
    want = np.asarray(want, dtype=np.float64)
    assert got.dtype == np.dtype(dtype)
    assert got.shape == want.shape
    if magnitude is None:
        magnitude = float(np.abs(want[np.isfinite(want)]).max(initial=0.0))
    calculation = np.finfo(np.float32 if dtype == "float16" else dtype).eps
    limit = (2.0 * max(terms, 4) * float(calculation) + float(np.finfo(dtype).eps)) * magnitude
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0.0, atol=limit)


def assert_same(got: np.ndarray, want: Any, dtype: str) -> None:
    """Asserts equal numbers (NaN equals NaN) and the dtype."""
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got, np.asarray(want).astype(dtype))


def window(seed: int, most: int = 3, dilated: bool = True) -> dict[str, Any]:
    """A random window of pictures: shape of x, window, stride, pad, dilation; every size that divides nothing."""
    random = np.random.default_rng(seed)
    FH, FW, SH, SW, DH, DW = (int(n) for n in random.integers(1, most + 1, 6))
    if not dilated:
        DH = DW = 1
    pad = tuple(int(n) for n in random.integers(0, (FH, FW, FH, FW)))
    least = (DH * (FH - 1) + 1, DW * (FW - 1) + 1)
    H, W = (int(size + more) for size, more in zip(least, random.integers(0, 8, 2), strict=True))
    N, C = (int(n) for n in random.integers(1, 5, 2))
    return {"shape": (N, C, H, W), "window": (FH, FW), "stride": (SH, SW), "pad": pad, "dilation": (DH, DW)}
