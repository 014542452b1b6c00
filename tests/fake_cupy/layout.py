"""Dtypes and memory layouts that CuPy has."""

from __future__ import annotations

from typing import Any

import numpy as np

_KINDS = "?bhilqBHILQefdFD"


def device_dtype(dtype: Any) -> np.dtype:
    """A dtype that CuPy has; raises ValueError for others (objects, strings, dates), as CuPy does."""
    found = np.dtype(dtype)
    if found.char not in _KINDS:
        raise ValueError(f"Unsupported dtype {found}")
    return found


def is_dense(a: np.ndarray) -> bool:
    """True where the elements fill their stretch of memory, in whatever order of the axes."""
    axes = sorted((s, n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1)
    step = a.itemsize
    for stride, length in axes:
        if stride != step:
            return False
        step *= length
    return True


class Flags:
    """CuPy's flags: three of NumPy's, to be read only."""

    def __init__(self, a: np.ndarray, owndata: bool) -> None:
        self.c_contiguous, self.f_contiguous, self.owndata = a.flags.c_contiguous, a.flags.f_contiguous, owndata

    @property
    def fnc(self) -> bool:
        return self.f_contiguous and not self.c_contiguous

    @property
    def forc(self) -> bool:
        return self.f_contiguous or self.c_contiguous

    def __getitem__(self, name: str) -> bool:
        return getattr(
            self, {"C_CONTIGUOUS": "c_contiguous", "F_CONTIGUOUS": "f_contiguous", "OWNDATA": "owndata"}[name]
        )
