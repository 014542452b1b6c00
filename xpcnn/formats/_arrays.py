"""What all formats share: checks of what is to be written, reading a file, and arrays that own their memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xpcnn.errors import CheckpointError, ConfigError, ShapeError
from xpcnn.formats.limits import not_a_file, one_line

__all__ = ["check_text", "own", "read_file", "size_of", "storable", "unreadable"]


def storable(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays as they are to be written: C-contiguous (0-d stays 0-d) and in the machine's byte order."""
    checked = {}
    for name, array in arrays.items():
        if not isinstance(name, str):
            raise ConfigError(f"cannot write {os.fspath(path)!r}: the name {name!r} is not a string")
        if not isinstance(array, np.ndarray | np.generic):
            raise ConfigError(
                f"cannot write {os.fspath(path)!r}: {name!r} is a {type(array).__module__}.{type(array).__name__}, "
                "not a NumPy array; bring it to the host first with xpcnn.asnumpy"
            )
        if array.dtype.kind not in "biufc":
            raise ShapeError(
                f"cannot write {os.fspath(path)!r}: {name!r} has dtype {array.dtype}; only numbers can be stored"
            )
        checked[name] = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    return checked


def own(array: np.ndarray) -> np.ndarray:
    """`array` as a writable C-contiguous array in the machine's byte order, copied only where it is not one."""
    return np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["C", "W", "A"])


def check_text(array: np.ndarray) -> np.ndarray:
    """`array` itself; CheckpointError for text of no characters, of which NumPy makes strings that Python forbids."""
    if array.dtype.kind == "U" and array.size:
        codes = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1).view(np.uint32)
        if codes.max() > sys.maxunicode:
            raise CheckpointError("it holds text with bytes that are no characters")
    return array


def size_of(path: str | os.PathLike[str]) -> int:
    """The length of a file in bytes; CheckpointError where there is no file, so that nothing endless is opened."""
    try:
        size = os.stat(path).st_size
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not os.path.isfile(path):
        raise unreadable(path, "it is not a file")
    return size


def read_file(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a file; CheckpointError where there are none to be had."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError, MemoryError) as error:
        raise unreadable(path, error) from error


def unreadable(path: str | os.PathLike[str], error: BaseException | str) -> CheckpointError:
    """The error that says why a file could not be read."""
    if os.path.isdir(path):
        cause = "it is a folder; give the file inside it"
    elif not_a_file(path):
        cause = "it is a device or pipe, not a file"
    elif isinstance(error, FileNotFoundError):
        cause = "there is no such file"
    elif isinstance(error, PermissionError):
        cause = "you may not read it"
    else:
        cause = one_line(str(error), 400) or type(error).__name__
    return CheckpointError(f"cannot read {os.fspath(path)!r}: {cause}")
