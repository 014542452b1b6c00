"""The files of the CIFAR sets: taken out of a folder or tar, and read in either published form."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.data.download import RemoteFile
from xpcnn.errors import CheckpointError, DataError

__all__ = ["PIXELS", "CifarSet", "class_names", "members", "read_binary", "read_python"]

PIXELS = 3 * 32 * 32

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
    import tarfile

    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{label}: damaged or cut short ({error}); get it again") from error
    except OSError as error:
        raise DataError(f"{label}: cannot be read ({error.strerror or error})") from error


def members(path: Path, names: set[str], limit: int) -> Iterator[tuple[str, bytes, str]]:
    """The files of those names in a folder or tar: name, content, and a label for messages.

    Raises DataError for one of more than `limit` bytes, before it is read, and for a damaged tar.
    """
    import tarfile

    if path.is_dir():
        for name in sorted(names):
            file = path / name
            if file.is_file():
                with _reading(str(file)):
                    _check_size(file.stat().st_size, limit, str(file))
                    content = file.read_bytes()
                yield name, content, str(file)
        return
    with _reading(str(path)), tarfile.open(path, "r:*") as tar:
        for member in tar:
            name = member.name.rsplit("/", 1)[-1]
            # Only a member's own bytes are read, so links and paths out of the folder cannot lead anywhere.
            if member.isreg() and name in names:
                label = f"{path}:{member.name}"
                _check_size(member.size, limit, label)
                stream = tar.extractfile(member)
                assert stream is not None  # it is a regular file
                yield name, stream.read(), label


def _check_size(size: int, limit: int, label: str) -> None:
    if size > limit:
        raise DataError(f"{label}: {size:,} bytes, where at most {limit:,} are expected; this is another file")


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
    try:
        x, t = np.asarray(batch["data"]), np.asarray(batch[spec.label_key])
    except ValueError as error:
        raise DataError(f"{label}: its labels make no array ({error})") from error
    if x.dtype != np.uint8 or x.shape != (rows, PIXELS) or t.shape != (rows,) or t.dtype.kind not in "iu":
        raise DataError(
            f"{label}: expected {rows:,} rows of {PIXELS} uint8 and as many labels, "
            f"found {x.dtype} {x.shape} and {t.dtype} {t.shape}"
        )
    return x.reshape(rows, 3, 32, 32), t


def class_names(spec: CifarSet, name: str, content: bytes, label: str) -> tuple[str, ...]:
    """The classes' names out of the file `name` that lists them, in either form."""
    if name.endswith(".txt"):
        words = content.decode("utf-8", "replace").split()
    else:
        listed = _unpickled(content, label).get(spec.python_names[1])
        words = [str(word) for word in listed] if isinstance(listed, list) else []
    if len(words) != spec.classes:
        raise DataError(f"{label}: {len(words)} class names, expected {spec.classes}")
    return tuple(words)


def _unpickled(content: bytes, label: str) -> dict[str, Any]:
    from xpcnn.formats.book_pickle import load_pickle

    try:
        value = load_pickle(content, encoding="latin1")  # the batches were written by Python 2
    except CheckpointError as error:
        raise DataError(f"{label}: not readable as a CIFAR batch ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{label}: holds a {type(value).__name__}, not a dict; this is no CIFAR batch")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): item for key, item in value.items()}
