"""safetensors files: arrays by name and a few words of metadata, nothing that runs (huggingface/safetensors)."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from xpcnn.atomic import atomic_write
from xpcnn.errors import CheckpointError, ConfigError, ShapeError
from xpcnn.formats._arrays import own, size_of, storable, unreadable

__all__ = ["load_safetensors", "save_safetensors"]

# About 60 bytes an array, and a run's history in the metadata: far more than either needs.
_LONGEST_HEADER = 16 << 20


def save_safetensors(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes arrays (dtypes and shapes kept, 0-d and empty ones too) and metadata (strings by name).

    Raises ConfigError for names, metadata or paths that will not do, ShapeError for a dtype the format lacks.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save

    for key, value in (metadata or {}).items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise ConfigError(f"cannot write {os.fspath(path)!r}: metadata {key!r}: {value!r} is not a pair of strings")
    # The library stores wrong values for arrays that are not C-contiguous; `storable` makes them so.
    checked = storable(path, arrays)
    if "__metadata__" in checked:
        raise ConfigError(f'cannot write {os.fspath(path)!r}: safetensors keeps the name "__metadata__" for itself')
    try:
        data = save(checked, metadata=dict(metadata) if metadata else None)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        dtypes = sorted({str(array.dtype) for array in checked.values()})
        raise ShapeError(
            f"cannot write {os.fspath(path)!r} as safetensors: {error} (dtypes: {', '.join(dtypes)})"
        ) from error
    with atomic_write(path) as file:
        file.write(data)


def load_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata) of a file. Raises CheckpointError, with path and reason, where it cannot be read.

    The library holds every array's shape and place against the file's size before any memory is taken.
    """
    from safetensors import SafetensorError, safe_open

    size = size_of(path)
    try:
        with open(path, "rb") as head:  # the system's own reason for a forbidden path
            _check_header(head.read(8), size)
        with safe_open(os.fspath(path), framework="numpy") as file:
            arrays = {name: own(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata() or {}
        odd = {a.dtype.name for a in arrays.values() if a.dtype.kind not in "fiub"}
        if odd:  # bfloat16 and the like, where another library has taught NumPy such dtypes
            raise CheckpointError(f"not a safetensors file of NumPy's own dtypes: it holds {', '.join(sorted(odd))}")
    except CheckpointError as error:
        raise unreadable(path, str(error)) from error
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error
    except Exception as error:  # shapes and dtypes that NumPy lacks come as nearly any exception
        raise unreadable(path, f"not a safetensors file of NumPy's own dtypes: {error}") from error
    return arrays, metadata


def _check_header(first: bytes, size: int) -> None:
    """Refuses a header that is longer than the file, or so long that reading its JSON would take much memory."""
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > size - 8:
        raise CheckpointError(f"not a safetensors file: it is {size:,} bytes long and its header would end behind it")
    if length > _LONGEST_HEADER:
        raise CheckpointError(f"its header has {length:,} bytes; at most {_LONGEST_HEADER:,} are read")
