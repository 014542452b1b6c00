"""NumPy's own .npz files, written with fixed dates (the same arrays give the same bytes) and read without pickle."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO

import numpy as np

from xpcnn.atomic import atomic_write
from xpcnn.errors import CheckpointError
from xpcnn.formats._arrays import own, storable, unreadable

__all__ = ["load_npz", "save_npz"]

# Deflate cannot shrink anything by more than this; a member that claims more is a memory bomb.
_MOST_DEFLATION = 1032


def save_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays so that `numpy.load` reads them. Raises ConfigError and ShapeError as `save_arrays` says."""
    checked = storable(path, arrays)
    # Not numpy.savez: it takes the names as keywords, so "file" and "allow_pickle" could not be stored.
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in checked.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, stored or compressed.

    Raises CheckpointError, with path and reason, for a file that is missing, damaged or holds anything but arrays
    of numbers, booleans or text.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = os.path.getsize(path)
            return {_name(info): _read_member(archive, info, size) for info in archive.infolist()}
    except CheckpointError as error:
        raise unreadable(path, str(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        KeyError,
        RuntimeError,
        SyntaxError,
        TypeError,
    ) as error:
        raise unreadable(path, f"damaged, or not a .npz file: {error}") from error
    except (MemoryError, OverflowError) as error:
        raise unreadable(path, "it asks for more memory than there is") from error


def _name(info: zipfile.ZipInfo) -> str:
    if not info.filename.endswith(".npy"):
        raise CheckpointError(f"it holds {info.filename!r}, which is not an array (.npy)")
    return info.filename.removesuffix(".npy")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, archive_size: int) -> np.ndarray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CheckpointError(f"{info.filename!r} is packed in a way that NumPy does not use")
    if info.compress_size > archive_size or info.file_size > _MOST_DEFLATION * info.compress_size + 64:
        raise CheckpointError(f"{info.filename!r} claims {info.file_size} bytes, more than the file can hold")
    with archive.open(info) as member:
        shape, dtype, header_bytes = _read_header(member)
    if dtype.kind not in "biufcSU":
        raise CheckpointError(f"{info.filename!r} has dtype {dtype}; only numbers, booleans and text are read")
    declared = header_bytes + dtype.itemsize * _product(shape)
    # Checked before NumPy sets memory aside for the array.
    if declared != info.file_size or (dtype.itemsize == 0 and _product(shape)):
        raise CheckpointError(f"{info.filename!r} declares shape {shape} of {dtype}, but has {info.file_size} bytes")
    with archive.open(info) as member:
        return own(np.lib.format.read_array(member, allow_pickle=False))


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    else:  # (3, 0) is for field names outside Latin-1; arrays of numbers have no fields
        raise CheckpointError(f"{version} is not a .npy version for arrays of numbers")
    return shape, dtype, member.tell()


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        if length < 0:
            raise CheckpointError(f"an array declares the shape {shape}")
        count *= length
    return count
