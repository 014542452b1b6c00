"""Pinned host memory: ordinary memory that the double recognises."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np


class PinnedMemoryPointer(bytearray):
    """CuPy's: offers its bytes through the buffer protocol, for `numpy.frombuffer`."""

    @property
    def ptr(self) -> int:
        return np.frombuffer(self, np.uint8).ctypes.data

    def size(self) -> int:
        return len(self)


class PinnedMemoryPool:
    """CuPy's, as far as it can be asked."""

    def free_all_blocks(self) -> None:
        """Nothing is held back here."""

    def n_free_blocks(self) -> int:
        return 0


_ranges: dict[int, int] = {}  # start and end of each pinned array


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    """Host memory that copies may go to and from while the host goes on; its size is rounded up as by CuPy."""
    memory = PinnedMemoryPointer(max(512, -(-size // 512) * 512))
    start = memory.ptr
    _ranges[start] = start + len(memory)
    weakref.finalize(memory, _ranges.pop, start).atexit = False
    return memory


def is_pinned(a: np.ndarray) -> bool:
    """True where the array lies in pinned memory."""
    start = a.ctypes.data
    return any(first <= start < end for first, end in _ranges.items())


def empty_pinned(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray:
    """A NumPy array in pinned memory."""
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, alloc_pinned_memory(size), order=order)


def zeros_pinned(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray:
    """As empty_pinned, of zeros."""
    made = empty_pinned(shape, dtype, order)
    made[...] = 0
    return made


def empty_like_pinned(
    a: np.ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> np.ndarray:
    """A NumPy array in pinned memory, shaped as `a`."""
    order = "F" if order == "F" or (order in "AK" and a.flags.fnc) else "C"
    return empty_pinned(a.shape if shape is None else shape, a.dtype if dtype is None else dtype, order)


def zeros_like_pinned(
    a: np.ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> np.ndarray:
    """As empty_like_pinned, of zeros."""
    made = empty_like_pinned(a, dtype, order, subok, shape)
    made[...] = 0
    return made
