"""From the text of a .cu file to a launch: sources, options, argument types, grids. CuPy comes with the arrays.

Kernels work on plain C-contiguous memory. One text serves every dtype: its options say what numbers arrays hold and
what is calculated in (see kernels/common.cuh). CuPy compiles a text once for each set of options and device, and
keeps the result on disk.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import DeviceError, ShapeError

__all__ = ["DTYPES", "MAX_BLOCKS", "THREADS", "WIDE", "launch", "options", "output", "parts_of", "source", "sum_dtype"]

THREADS = 256
MAX_BLOCKS = 65536  # of a grid over elements; its threads take several elements each beyond that
WIDE = 2**30  # elements of an array from which on indices are 64-bit
PARTS = 64  # blocks at most that share one channel's sum
_FILL = 528  # blocks that fill a large GPU: four on each of 132 multiprocessors
_LEAST = 2048  # elements of a channel that are worth a block of their own

DTYPES = {"float16": ("__half", "float"), "float32": ("float", "float"), "float64": ("double", "double")}


def sum_dtype(dtype: np.dtype) -> np.dtype:
    """What kernels calculate in for arrays of `dtype`: float64 for float64, else float32."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


@functools.cache
def source(file: str) -> str:
    """The text of kernels/`file`.cu with what all kernels share before it."""
    folder = importlib.resources.files("xpcnn.ops.cuda") / "kernels"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in ("common.cuh", f"{file}.cu"))


@functools.cache
def options(dtype: str, wide: bool = False, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The compiler's options for arrays of `dtype`; wide: 64-bit indices."""
    real, total = DTYPES[dtype]
    half = ("-DXP_HALF",) if dtype == "float16" else ()
    index = "long long" if wide else "int"
    named = {"REAL": real, "SUM": total, "INDEX": index, "THREADS": THREADS}
    return ("--std=c++17", *half, *(f"-DXP_{name}={value}" for name, value in named.items()), *more)


@functools.cache
def _kernel(xp: ModuleType, file: str, name: str, options: tuple[str, ...]) -> Any:
    return xp.RawKernel(source(file), name, options)


@functools.cache
def _null(xp: ModuleType) -> Any:
    # An array of nothing has address 0. None itself becomes another number in CuPy up to 13 (its issue 9046).
    return xp.empty(0, dtype=np.uint8).data


@functools.lru_cache(maxsize=4096)
def _integers(values: tuple[int, ...], wide: bool) -> tuple[Any, ...]:
    return tuple(map(np.int64 if wide else np.int32, values))


def launch(
    file: str,
    name: str,
    dtype: np.dtype,
    arguments: Sequence[Any],
    *,
    threads_wanted: int | None = None,
    blocks: int | None = None,
    threads: int = THREADS,
    more: tuple[str, ...] = (),
) -> None:
    """Runs kernel `name` of kernels/`file`.cu, compiled for arrays of `dtype`, on the current device and stream.

    arguments: in the kernel's order: CuPy arrays, None for a null pointer, Python integers (indices) and floats (what
    is calculated in), or NumPy scalars where the kernel has another type. The grid is `blocks`, or as many as give
    `threads_wanted` threads; nothing runs where that is none.
    Raises DeviceError for NumPy arrays, ShapeError for arrays that are not C-contiguous.
    """
    grid = min(-(-(threads_wanted or 0) // threads), MAX_BLOCKS) if blocks is None else blocks
    arrays = [a for a in arguments if hasattr(a, "flags") and not isinstance(a, np.generic)]
    xp = get_array_module(*arrays)
    if xp is np:
        raise DeviceError(f"the CUDA kernel {name} got NumPy arrays; bring them to the GPU by device.asarray(a)")
    for a in arrays:
        if not a.flags.c_contiguous:
            raise ShapeError(f"the CUDA kernel {name} got an array of shape {a.shape} that is not C-contiguous")
    if grid == 0:
        return
    wide = max(a.size for a in arrays) >= WIDE
    number = sum_dtype(dtype).type
    integers = iter(_integers(tuple(a for a in arguments if type(a) is int), wide))
    converted = []
    for a in arguments:
        if type(a) is int:
            a = next(integers)
        elif type(a) is float:
            a = number(a)
        converted.append(_null(xp) if a is None else a)
    _kernel(xp, file, name, options(dtype.name, wide, more))((grid,), (threads,), tuple(converted))


def output(xp: ModuleType, out: Array | None, shape: tuple[int, ...], dtype: Any, name: str = "out") -> Array:
    """`out` where it is an array of this shape and dtype, a new one where it is None; ShapeError else."""
    if out is None:
        return xp.empty(shape, dtype=dtype)
    if out.shape != shape or out.dtype != dtype:
        raise ShapeError(f"{name} must be {shape} {np.dtype(dtype)}, got {out.shape} {out.dtype}")
    return out


def parts_of(count: int, channels: int) -> int:
    """Among how many blocks a sum over `count` elements of each of `channels` is shared: by the shape alone, so that
    equal calls add in equal order."""
    return max(1, min(PARTS, -(-_FILL // max(channels, 1)), -(-count // _LEAST)))
