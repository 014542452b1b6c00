"""Named arrays in files: `.safetensors` (the default), `.npz`, and `.pkl` as the book writes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xpcnn.errors import ConfigError

__all__ = ["SUFFIXES", "load_arrays", "save_arrays"]

SUFFIXES = (".safetensors", ".npz", ".pkl")


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes host arrays by name, in the format that the path's suffix says; the file appears whole or not at all.

    path: ends with .safetensors, .npz or .pkl; without any suffix it is written as safetensors, under that very name.
    metadata: words to keep beside the arrays; only .safetensors has a place for them, the others drop them.

    Raises ConfigError for an unknown suffix, a name that is not a string, an array that is not NumPy's, or a path
    that cannot be written; ShapeError for a dtype that the format cannot hold.
    """
    suffix = _suffix(path)
    if suffix == ".npz":
        from xpcnn.formats.npz import save_npz

        save_npz(path, arrays)
    elif suffix == ".pkl":
        from xpcnn.formats.book_pickle import save_params_pickle

        save_params_pickle(path, arrays)
    else:
        from xpcnn.formats.safetensors import save_safetensors

        save_safetensors(path, arrays, metadata)


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a file by name, each a writable C-contiguous array of its own in the machine's byte order.

    Raises ConfigError for an unknown suffix and CheckpointError, with path and reason, for a file that is missing,
    damaged, a folder, or holds anything but arrays.
    """
    suffix = _suffix(path)
    if suffix == ".npz":
        from xpcnn.formats.npz import load_npz

        return load_npz(path)
    if suffix == ".pkl":
        from xpcnn.formats.book_pickle import load_params_pickle

        return load_params_pickle(path)
    from xpcnn.formats.safetensors import load_safetensors

    return load_safetensors(path)[0]


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix in SUFFIXES or not suffix:
        return suffix
    raise ConfigError(
        f"{os.fspath(path)!r} ends with {suffix!r}, which names no known format; use {', '.join(SUFFIXES)}"
    )
