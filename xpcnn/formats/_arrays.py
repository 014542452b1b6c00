"""What all formats share: checks of what is to be written, reading a file, and arrays that own their memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xpcnn.errors import CheckpointError, ConfigError, ShapeError

__all__ = ["own", "read_file", "storable", "unreadable"]


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
    elif isinstance(error, FileNotFoundError):
        cause = "there is no such file"
    elif isinstance(error, PermissionError):
        cause = "you may not read it"
    else:
        cause = str(error) or type(error).__name__
    return CheckpointError(f"cannot read {os.fspath(path)!r}: {cause}")
