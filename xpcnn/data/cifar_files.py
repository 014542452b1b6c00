"""The files of the CIFAR sets: taken out of a folder or tar, and read in either published form."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from xpcnn.data.download import RemoteFile
from xpcnn.errors import CheckpointError, DataError
from xpcnn.formats.limits import not_a_file

__all__ = ["PIXELS", "CifarSet", "class_names", "members", "read_binary", "read_python"]

PIXELS = 3 * 32 * 32

_MOST_MEMBERS = 1000  # the published sets have nine
_PIECE = 1 << 20

Labelled = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class CifarSet:
    """A published CIFAR set. `python`, `binary`: the names of the training files, then the test file.

    rows: records in each training file and in the test file. label_bytes: before each record's pixels in the binary
    form, of which the last is the label. label_key: of the labels in the python form.
    """

    name: str
    title: str
    classes: int
    python: tuple[str, ...]
    binary: tuple[str, ...]
    python_names: tuple[str, str]  # the file of class names and its key
    binary_names: str
    rows: tuple[int, int]
    label_bytes: int
    label_key: str
    places: tuple[str, ...]
    remote: RemoteFile


@contextmanager
def _reading(label: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{label}: {error}") from error
    except OSError as error:
        raise DataError(f"{label}: damaged, or cannot be read ({error.strerror or error})") from error
    except Exception as error:  # tarfile and gzip meet damaged bytes with nearly any exception
        raise DataError(f"{label}: damaged or cut short ({error or type(error).__name__}); get it again") from error


class _Bounded:
    """A stream that ends in an error behind `limit` bytes; it gives no more than a piece at once."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._left = limit

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, _PIECE))
        self._left -= len(data)
        if self._left < 0:
            raise DataError("unpacks to far more than its files are long; this is another archive")
        return data


def members(path: Path, names: set[str], limit: int) -> Iterator[tuple[str, bytes, str]]:
    """The files of those names in a folder or tar, gzipped or not: name, content, and a label for messages.

    Raises DataError for one of more than `limit` bytes, before it is read, for one that comes twice, for an archive
    that unpacks to more than all of them could have, and for a damaged one.
    """
    if path.is_dir():
        for name in sorted(names):
            file = path / name
            if file.is_file():
                with _reading(str(file)):
                    _check_size(file.stat().st_size, limit)
                    content = file.read_bytes()
                yield name, content, str(file)
        return
    seen: set[str] = set()
    with _reading(str(path)), _unzipped(path) as stream:
        for member, content in _tar_members(stream, names, limit):
            if member in seen:
                raise DataError(f"holds {member} twice; get it again")
            seen.add(member)
            yield member, content, f"{path}:{member}"


@contextmanager
def _unzipped(path: Path) -> Iterator[BinaryIO]:
    if not_a_file(path):
        raise DataError("a device or pipe, not a file")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw, mode="rb") as file:
            yield file  # type: ignore[misc]  # a GzipFile reads as a BinaryIO does


def _tar_members(stream: BinaryIO, names: set[str], limit: int) -> Iterator[tuple[str, bytes]]:
    import tarfile

    class Member(tarfile.TarInfo):
        """A header whose own extras (long names, pax) are small: tarfile reads them whole, whatever their size."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Member:
            member = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
            if member.size < 0 or (not member.isreg() and member.size > _PIECE):
                raise tarfile.ReadError("a header that no archive of pictures has")
            return member

    bounded: Any = _Bounded(stream, len(names) * limit + (64 << 20))
    # "r|" reads forward only, so that no offset in a header can lead back, or anywhere.
    with tarfile.open(fileobj=bounded, mode="r|", tarinfo=Member) as tar:
        for count, member in enumerate(tar):
            if count >= _MOST_MEMBERS:
                raise DataError(f"holds more than {_MOST_MEMBERS:,} files; this is another archive")
            name = member.name.rsplit("/", 1)[-1]
            # Only a member's own bytes are read, so links and paths out of the folder cannot lead anywhere.
            if member.isreg() and not member.issparse() and name in names:
                _check_size(member.size, limit, name)
                file = tar.extractfile(member)
                assert file is not None  # it is a regular file
                content = file.read()
                if len(content) != member.size:
                    raise DataError(f"{name} is cut short; get the archive again")
                yield name, content


def _check_size(size: int, limit: int, name: str = "it") -> None:
    if size > limit:
        raise DataError(f"{name} has {size:,} bytes, where at most {limit:,} are expected; this is another file")


def read_binary(spec: CifarSet, content: bytes, label: str, rows: int) -> Labelled:
    """Pictures uint8 (rows, 3, 32, 32) and labels uint8 (rows,) of a file in the binary form."""
    record = spec.label_bytes + PIXELS
    if len(content) != rows * record:
        raise DataError(f"{label}: {len(content):,} bytes, expected {rows:,} records of {record} = {rows * record:,}")
    table = np.frombuffer(content, np.uint8).reshape(rows, record)
    return table[:, spec.label_bytes :].reshape(rows, 3, 32, 32), table[:, spec.label_bytes - 1]


def read_python(spec: CifarSet, content: bytes, label: str, rows: int) -> Labelled:
    """Pictures uint8 (rows, 3, 32, 32) and labels int (rows,) of a file in the python form."""
    batch = _unpickled(content, label)
    if not {"data", spec.label_key} <= batch.keys():
        raise DataError(f"{label}: without 'data' and {spec.label_key!r}; this is no {spec.title} batch")
    x, t = batch["data"], _labels(batch[spec.label_key], label)
    if not isinstance(x, np.ndarray):
        raise DataError(f"{label}: its data is a {type(x).__name__}, not an array")
    if x.dtype != np.uint8 or x.shape != (rows, PIXELS) or t.shape != (rows,) or t.dtype.kind not in "iu":
        raise DataError(
            f"{label}: expected {rows:,} rows of {PIXELS} uint8 and as many labels, "
            f"found {x.dtype} {x.shape} and {t.dtype} {t.shape}"
        )
    return x.reshape(rows, 3, 32, 32), t


def _labels(listed: Any, label: str) -> np.ndarray[Any, Any]:
    """Labels as an array; they may be a list of whole numbers, and of nothing that NumPy would unfold further."""
    if isinstance(listed, np.ndarray):
        return listed
    if not isinstance(listed, list | tuple) or not all(type(item) is int and abs(item) < 2**31 for item in listed):
        raise DataError(f"{label}: its labels make no array of whole numbers")
    return np.array(listed, np.int64)


def class_names(spec: CifarSet, name: str, content: bytes, label: str) -> tuple[str, ...]:
    """The classes' names out of the file `name` that lists them, in either form."""
    if name.endswith(".txt"):
        words = content.decode("utf-8", "replace").split()
    else:
        listed = _unpickled(content, label).get(spec.python_names[1])
        # Texts and nothing else: what else a pickle holds can be endless once it is written out.
        words = listed if isinstance(listed, list) and all(isinstance(word, str) for word in listed) else []
    if len(words) != spec.classes:
        raise DataError(f"{label}: {len(words)} class names, expected {spec.classes}")
    return tuple(words)


def _unpickled(content: bytes, label: str) -> dict[str, Any]:
    from xpcnn.formats.book_pickle import load_pickle

    try:
        value = load_pickle(content, encoding="latin1")  # the batches were written by Python 2
    except CheckpointError as error:
        reason = str(error).removeprefix("cannot read the pickle: ")
        raise DataError(f"{label}: not readable as a CIFAR batch ({reason})") from error
    if not isinstance(value, dict):
        raise DataError(f"{label}: holds a {type(value).__name__}, not a dict; this is no CIFAR batch")
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: item
        for key, item in value.items()
        if isinstance(key, str | bytes)
    }
