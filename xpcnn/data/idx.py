"""The IDX format of the MNIST files, gzipped or not.

Layout (Y. LeCun, "The MNIST database", section "File formats"): two zero bytes, one byte for the element type,
one for the number of dimensions, each dimension as a 4-byte big-endian integer, then the elements, big-endian.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from xpcnn.atomic import atomic_write
from xpcnn.errors import DataError
from xpcnn.formats.limits import most_unpacked, not_a_file

__all__ = ["IdxHeader", "read_idx", "read_idx_header", "write_idx"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 32


class IdxHeader(NamedTuple):
    """What an idx file's first bytes promise: `dtype` (native byte order) and `shape`."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def read_idx_header(path: str | os.PathLike[str]) -> IdxHeader:
    """Dtype and shape of an idx file, without reading its elements; raises DataError as `read_idx` does."""
    with _opened(path) as file:
        dtype, shape = _header(file, Path(path))
    return IdxHeader(dtype.newbyteorder("="), shape)


def read_idx(path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """Read an idx file, gzipped or not (told by its content, not its name).

    Returns a C-contiguous array in the machine's byte order: uint8, int8, int16, int32, float32 or float64, of the
    shape that the header gives. The header is held against the file's size before memory is taken, and no more is
    unpacked than it promises, save one byte to notice what is too much.

    Raises DataError, naming the file and the reason, for a file that is missing, not idx, cut short, too long or
    damaged.
    """
    path = Path(path)
    with _opened(path) as file:
        dtype, shape = _header(file, path)
        promised = math.prod(shape) * dtype.itemsize
        _check_size(file, path, promised)
        try:
            array = np.empty(shape, dtype)
        except (MemoryError, ValueError) as error:  # ValueError: an axis of 0 beside others whose product overflows
            raise DataError(f"{path}: the header promises {shape}, for which there is no room ({error})") from error
        _fill(file, path, array, promised)
    if not dtype.isnative:
        array.byteswap(inplace=True)
    return array.view(dtype.newbyteorder("="))


def write_idx(path: str | os.PathLike[str], array: np.ndarray[Any, Any]) -> None:
    """Write an array of 1 to 32 dimensions as an idx file, gzipped where the name ends in ".gz".

    dtype: uint8, int8, int16, int32, float32 or float64; others raise DataError, for idx has no code for them.
    """
    path = Path(path)
    array = np.asarray(array)
    wanted = array.dtype.newbyteorder(">")
    code = next((code for code, name in _TYPES.items() if np.dtype(name) == wanted), None)
    if code is None:
        kinds = ", ".join(np.dtype(name).name for name in _TYPES.values())
        raise DataError(f"{path}: idx cannot hold {array.dtype} (it holds {kinds}); convert with .astype first")
    if not 1 <= array.ndim <= _MAX_DIMENSIONS or max(array.shape) >= 2**32:
        raise DataError(f"{path}: idx cannot hold the shape {array.shape}; give 1 to {_MAX_DIMENSIONS} dimensions")
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    body = np.ascontiguousarray(array, dtype=wanted).tobytes()
    with atomic_write(path) as file:
        if path.suffix == ".gz":
            # No name and no time inside, so that the same array always gives the same bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
                packed.write(header)
                packed.write(body)
        else:
            file.write(header)
            file.write(body)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    try:
        if not_a_file(path):
            raise DataError(f"{path}: cannot be read (a device or pipe, not a file)")
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=raw, mode="rb") as file:
                    yield file  # type: ignore[misc]  # a GzipFile reads as a BinaryIO does
            else:
                yield raw
    except EOFError as error:
        raise DataError(f"{path}: the gzip stream is cut short; get the file again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip stream is damaged ({error}); get the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _header(file: BinaryIO, path: Path) -> IdxHeader:
    magic = file.read(4)
    if len(magic) < 4:
        raise DataError(f"{path}: {len(magic)} bytes long, but an idx file begins with 4; the file is cut short")
    zero, code, dimensions = struct.unpack(">HBB", magic)
    if zero or code not in _TYPES or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise DataError(f"{path}: not an idx file: it begins with 0x{magic.hex()}, not with 0x0000, a type, a rank")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"{path}: the header ends before its {dimensions} dimensions; the file is cut short")
    return IdxHeader(np.dtype(_TYPES[code]), struct.unpack(f">{dimensions}I", sizes))


def _check_size(file: BinaryIO, path: Path, promised: int) -> None:
    size = path.stat().st_size
    if isinstance(file, gzip.GzipFile):
        if promised > most_unpacked(size):
            raise DataError(
                f"{path}: the header promises {promised:,} bytes out of {size:,} gzipped ones, far more than pictures "
                "give; the file is cut short or damaged, or give it unzipped"
            )
        return
    body = size - file.tell()
    if body != promised:
        fault = "cut short" if body < promised else "too long"
        raise DataError(f"{path}: the header promises {promised:,} bytes but {body:,} follow it; the file is {fault}")


def _fill(file: BinaryIO, path: Path, array: np.ndarray[Any, Any], promised: int) -> None:
    flat: Any = array.reshape(-1).view(np.uint8)
    view = memoryview(flat)
    done = 0
    while done < promised:
        count = file.readinto(view[done : done + (1 << 20)])  # type: ignore[attr-defined]
        if not count:
            raise DataError(
                f"{path}: the header promises {promised:,} bytes but {done:,} follow it; the file is cut short"
            )
        done += count
    # Also takes the reader to the end of the gzip stream, where its checksum is checked.
    if file.read(1):
        raise DataError(f"{path}: more than the {promised:,} bytes that the header promises; the file is too long")
