"""From NumPy arrays to the bare addresses that a kernel takes, with cheap checks; and a call that remembers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpcnn.errors import ShapeError
from xpcnn.ops.cpu.compiled.ir import NUMBERS

__all__ = ["FLOAT", "INDEX", "NOTHING", "NUMBERS_AT", "Bound", "Call", "Place", "flat", "place"]

Call = tuple[Callable[..., None], tuple[Any, ...]]  # a kernel and its arguments

FLOAT = np.dtype(np.float32)
INDEX = np.dtype(np.uint8)
_NUMBERS = np.arange(NUMBERS, dtype=np.int32)
NUMBERS_AT = _NUMBERS.ctypes.data  # the table that every kernel is handed


class Bound:
    """Kernels with their arguments: calling it does the work on what the arrays then hold, as often as wanted.

    It checks nothing and makes no objects, and keeps the arrays alive; it is for buffers that are used over and over.
    """

    __slots__ = ("arrays", "calls")

    def __init__(self, calls: Sequence[Call], arrays: Sequence[Any]) -> None:
        self.calls = tuple(calls)
        self.arrays = tuple(arrays)

    def __call__(self) -> None:
        for kernel, arguments in self.calls:
            kernel(*arguments)


class Place(NamedTuple):
    """Where an (N, H, W, C) array lies: the address of its first element, bytes from image to image, row to row."""

    address: int
    image: int
    row: int


NOTHING = Place(0, 0, 0)


def _address(name: str, a: np.ndarray[Any, Any], write: bool) -> int:
    if write and not a.flags.writeable:
        raise ShapeError(f"{name} is to be written to, but it is read-only")
    return int(a.ctypes.data)


def _check(name: str, a: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if not isinstance(a, np.ndarray) or a.dtype != dtype or a.shape != shape or not a.flags.aligned:
        found = f"{a.dtype} of shape {a.shape}" if isinstance(a, np.ndarray) else f"a {type(a).__name__}"
        raise ShapeError(f"{name} must be {dtype} of shape {shape}, aligned; got {found}")


def place(
    name: str, a: Any, shape: tuple[int, ...], dtype: np.dtype[Any] = FLOAT, write: bool = False, apart: int = 1
) -> Place:
    """Checks an (N, H, W, C) array whose images and rows may lie anyhow, but its pixels `apart` pixels from another."""
    _check(name, a, shape, dtype)
    (image, row, pixel, element), size = a.strides, a.itemsize
    if a.size and ((shape[3] > 1 and element != size) or (shape[2] > 1 and pixel != size * shape[3] * apart)):
        raise ShapeError(f"each row of {name} must be contiguous (NHWC); got strides {a.strides} for shape {shape}")
    return Place(_address(name, a, write), image, row)


def flat(name: str, a: Any, shape: tuple[int, ...], write: bool = False) -> int:
    """Checks a C-contiguous float32 array; its address."""
    _check(name, a, shape, FLOAT)
    if not a.flags.c_contiguous:
        raise ShapeError(f"{name} must be C-contiguous; got strides {a.strides} for shape {shape}")
    return _address(name, a, write)
