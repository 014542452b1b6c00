"""NumPy's own .npz files, written with fixed dates (the same arrays give the same bytes) and read without pickle."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import IO

import numpy as np

from xpcnn.atomic import atomic_write
from xpcnn.errors import CheckpointError, XpcnnError
from xpcnn.formats._arrays import check_text, own, size_of, storable, unreadable
from xpcnn.formats.limits import DEFLATION, most_unpacked, shown

__all__ = ["load_npy", "load_npz", "save_npz"]

_LONGEST_HEADER = 10_000  # as NumPy has it
_LOCAL_HEADER = 30  # bytes before a member's name and content


def save_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays so that `numpy.load` reads them. Raises ConfigError and ShapeError as `save_arrays` says."""
    checked = storable(path, arrays)
    # Not numpy.savez: it takes the names as keywords, so "file" and "allow_pickle" could not be stored.
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in checked.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load_npz(
    path: str | os.PathLike[str], choose: Callable[[list[str]], Iterable[str]] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, stored or compressed.

    choose: given the names that the file has, says which to read; what it does not name is not looked at.

    Raises CheckpointError, with path and reason, for a file that is missing, damaged, holds anything but arrays of
    numbers, booleans or text, or would unpack to more than `most_unpacked` allows; what `choose` raises goes through.
    """
    size = size_of(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            names = list(members if choose is None else choose(list(members)))
            _check_members([members[name] for name in names], size)
            return {name: _read_member(archive, members[name]) for name in names}
    except CheckpointError as error:
        raise unreadable(path, str(error)) from error
    except XpcnnError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except (MemoryError, OverflowError) as error:
        raise unreadable(path, "it asks for more memory than there is") from error
    except Exception as error:  # damaged bytes can make zipfile and NumPy raise almost anything
        raise unreadable(path, f"damaged, or not a .npz file: {error}") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by the name of their array; those that are no arrays keep their whole name."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise CheckpointError(f"it holds {shown(name)} twice")
        members[name] = info
    return members


def _check_members(infos: list[zipfile.ZipInfo], size: int) -> None:
    """Holds what the directory claims against the file's size, before anything is unpacked."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        name = shown(info.filename)
        if not info.filename.endswith(".npy"):
            raise CheckpointError(f"it holds {name}, which is not an array (.npy)")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise CheckpointError(f"{name} is packed in a way that NumPy does not use")
        stored = info.compress_type == zipfile.ZIP_STORED
        most = info.compress_size if stored else DEFLATION * info.compress_size + 64
        if info.compress_size > size or info.file_size > most:
            raise CheckpointError(f"{name} claims {info.file_size} bytes, more than the file can hold")
        # Members that share their packed bytes are how a small zip unpacks to petabytes.
        if info.header_offset < end:
            raise CheckpointError(f"{name} lies over another array")
        end = info.header_offset + _LOCAL_HEADER + info.compress_size
    total = sum(info.file_size for info in infos)
    if total > most_unpacked(size):
        raise CheckpointError(
            f"it would unpack from {size:,} to {total:,} bytes, which looks like a trap; "
            "if it is meant, save it with numpy.savez, not compressed"
        )


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        shape, dtype, header_bytes = _read_header(member)
    _check_array(shown(info.filename), shape, dtype, header_bytes, info.file_size)
    with archive.open(info) as member:
        return check_text(own(np.lib.format.read_array(member, allow_pickle=False)))


def load_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of a .npy file. Raises CheckpointError, with path and reason, as `load_npz` does."""
    size = size_of(path)
    try:
        with open(path, "rb") as file:
            shape, dtype, header_bytes = _read_header(file)
            _check_array(path, shape, dtype, header_bytes, size)
            file.seek(0)
            return check_text(own(np.lib.format.read_array(file, allow_pickle=False)))
    except CheckpointError as error:
        raise unreadable(path, str(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # damaged headers can make NumPy raise almost anything
        raise unreadable(path, f"damaged, or not a .npy file: {error}") from error


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and the header's length; NumPy itself would make room for as long a header as is claimed."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):  # (3, 0) is for field names outside Latin-1; arrays of numbers have no fields
        raise CheckpointError(f"{version} is not a .npy version for arrays of numbers")
    length = member.read(2 * version[0])
    count = int.from_bytes(length, "little")
    if count > _LONGEST_HEADER:
        raise CheckpointError(f"an array's header claims {count:,} bytes; at most {_LONGEST_HEADER:,} are read")
    header = io.BytesIO(length + member.read(count))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(header)
    return shape, dtype, len(np.lib.format.magic(*version)) + len(header.getvalue())


def _check_array(name: object, shape: tuple[int, ...], dtype: np.dtype, header_bytes: int, size: int) -> None:
    """Holds what a header declares against the bytes there are, before NumPy sets memory aside for the array."""
    if dtype.kind not in "biufcSU":
        raise CheckpointError(f"{name} has dtype {shown(str(dtype))}; only numbers, booleans and text are read")
    declared = header_bytes + dtype.itemsize * _product(shape)
    if declared != size or (dtype.itemsize == 0 and _product(shape)):
        raise CheckpointError(f"{name} declares shape {shape} of {dtype}, but has {size} bytes")


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        if not 0 <= length < 2**63:
            raise CheckpointError("an array declares a shape with lengths that cannot be")
        count *= length
    return count
