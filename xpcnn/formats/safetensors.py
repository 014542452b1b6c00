"""safetensors files: arrays by name and a few words of metadata, nothing that runs (huggingface/safetensors)."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from xpcnn.atomic import atomic_write
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.formats._arrays import own, storable, unreadable

__all__ = ["load_safetensors", "save_safetensors"]


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
    """(arrays, metadata) of a file. Raises CheckpointError, with path and reason, where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb"):  # the system's own reason for a missing, forbidden or folder path
            pass
        with safe_open(os.fspath(path), framework="numpy") as file:
            arrays = {name: own(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error
    except (ValueError, TypeError, AttributeError, KeyError, MemoryError) as error:
        raise unreadable(path, f"not a safetensors file of NumPy's dtypes: {error}") from error
    return arrays, metadata
