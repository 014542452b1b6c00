"""The book's .pkl parameter files, read without letting them run anything.

A pickle is a program: `pickle.load` calls whatever the file names. Here a file may name only what NumPy's arrays
need, each name leads to a stand-in that merely notes what it was given, and real arrays are built afterwards from
notes that have been checked. Nothing in the file reaches NumPy itself.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from xpcnn.atomic import atomic_write
from xpcnn.errors import CheckpointError
from xpcnn.formats._arrays import own, read_file, size_of, storable, unreadable
from xpcnn.formats._pickle_scan import scan
from xpcnn.formats._pickle_standins import Builder, Constructor, Note
from xpcnn.formats.limits import DEEPEST, one_line, shown

__all__ = ["LIMIT", "load_params_pickle", "load_pickle", "save_params_pickle"]

LIMIT = 2**32  # no parameter or data-set file of this kind comes near it

_PIECE = 2**20


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that builds arrays and plain values and nothing else."""

    def __init__(self, data: bytes, encoding: str, builder: Builder) -> None:
        super().__init__(io.BytesIO(data), encoding=encoding)
        self._constructors = builder.constructors()

    def find_class(self, module: str, name: str) -> Constructor:
        if found := self._constructors.get((module, name)):
            return found
        asked = shown(f"{module}.{name}")[1:-1]  # without its quotes
        raise CheckpointError(f"the file asks for {asked}; only NumPy's array constructors are allowed")

    def persistent_load(self, pid: Any) -> Any:
        raise CheckpointError(f"the file refers to an outside object ({shown(pid)}), which is not allowed")


def load_pickle(
    source: str | os.PathLike[str] | bytes | BinaryIO, *, encoding: str = "ASCII", limit: int = LIMIT
) -> object:
    """What a pickle of any protocol holds: arrays of numbers, booleans or text in dicts, lists and tuples.

    source: a path, the pickle's own bytes, or a file opened for reading bytes, which is read from where it stands to
    its end. limit: the most bytes that it may have; from a file no more than one beyond it are read.
    encoding: how Python 2's strings are read: "ASCII", "latin1", or "bytes" (CIFAR's files), as in `pickle.load`.
    Arrays that name the same object stay one object; each is writable and owns its memory.

    Raises CheckpointError, with path and reason, for a file that is missing, truncated, damaged or above the limit;
    that names anything but NumPy's array constructors (the message says module.name); that holds object or structured
    arrays, sets, or objects of other kinds; that is nested more than 64 deep; that declares more array bytes than it
    has; that takes more than 500,000 steps to build; or that goes on behind its end.
    """
    data = _content(source, limit)
    try:
        scan(data)
        builder = Builder(len(data))
        return _build(_ArrayUnpickler(data, encoding, builder).load(), {}, 0)
    except CheckpointError as error:
        raise _refusal(source, str(error)) from error
    except UnicodeDecodeError as error:
        reason = f'it holds text that is not {error.encoding}; written by Python 2? Use encoding="latin1" or "bytes"'
        raise _refusal(source, reason) from error
    except MemoryError as error:
        raise _refusal(source, "it asks for more memory than there is") from error
    except Exception as error:  # damaged bytes can make the unpickler raise almost anything
        raise _refusal(source, f"damaged, or not a pickle: {type(error).__name__}: {error}") from error


def _content(source: Any, limit: int) -> bytes:
    """The bytes of any source that `load_pickle` takes."""
    if isinstance(source, str | os.PathLike):
        size = size_of(source)
        data = read_file(source) if size <= limit else b""
    elif isinstance(source, bytes):
        data, size = source, len(source)
    else:
        data = _read(source, limit)
        size = len(data)
    if size > limit:
        raise _refusal(source, f"it has more bytes than the limit of {limit:,}")
    return data


def _read(file: BinaryIO, limit: int) -> bytes:
    """The rest of a file, or one byte more than `limit`."""
    pieces: list[bytes] = []
    left = limit + 1
    try:
        # In pieces, for a buffered file sets aside at once whatever it is asked for.
        while left > 0 and (piece := file.read(min(left, _PIECE))):
            if not isinstance(piece, bytes):
                raise _refusal(file, f'reading it gives {type(piece).__name__}, not bytes; open it with mode "rb"')
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
    except (OSError, ValueError, MemoryError) as error:  # ValueError: it is closed
        raise _refusal(file, str(error) or "it is larger than the memory there is") from error


def _refusal(source: Any, reason: str) -> CheckpointError:
    """The error that says why a source could not be read, by its path where it has one."""
    if isinstance(source, str | os.PathLike):
        return unreadable(source, reason)
    name = getattr(source, "name", None)
    what = repr(name) if isinstance(name, str) else "the pickle"
    return CheckpointError(f"cannot read {what}: {one_line(reason, 400)}")


def load_params_pickle(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a parameter file as the book writes it: one dict from names to arrays.

    Each array is writable, C-contiguous and in the machine's byte order. Raises CheckpointError as `load_pickle`
    does, and where the file holds anything but named arrays.
    """
    content = load_pickle(path, encoding="latin1")  # a superset of ASCII: files of Python 2 are read too
    if not isinstance(content, dict):
        raise unreadable(path, f"it holds a {type(content).__name__}, not a dict of named arrays")
    for name, array in content.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            raise unreadable(path, f"it maps {shown(name)} to a {type(array).__name__}, not a name to an array")
    return {name: own(array) for name, array in content.items()}


def save_params_pickle(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a dict of arrays that the book's own code reads: `pickle.load` of any Python 3 and any NumPy.

    Raises ConfigError and ShapeError as `save_arrays` says.
    """
    data = pickle.dumps(storable(path, arrays), protocol=3)
    # NumPy 2 names its constructor by a module that NumPy before 1.26 lacks; the old name works in all of them.
    # Found by its opcode (in protocol 3 the name has no length before it), not by searching: names may hold anything.
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    pieces, done = [], 0
    for opcode, _, position in pickletools.genops(data):
        if opcode.name == "GLOBAL" and position is not None and data.startswith(new, position):
            pieces += [data[done:position], old]
            done = position + len(new)
    with atomic_write(path) as file:
        file.write(b"".join([*pieces, data[done:]]))


def _build(value: Any, built: dict[int, tuple[Any, Any]], depth: int) -> Any:
    """`value` with every stand-in replaced by its array.

    built: what was replaced already, by id; the original is kept beside it so that its id stays its own.
    """
    if (
        value is None
        or type(value) in (bool, int, float, complex, str, bytes, bytearray)
        or isinstance(value, np.generic)
    ):
        return value
    if depth > DEEPEST:
        raise CheckpointError(f"it is nested more than {DEEPEST} deep")
    if id(value) in built:
        return built[id(value)][1]
    result: Any
    if type(value) is list:
        result = built.setdefault(id(value), (value, value))[1]
        value[:] = [_build(item, built, depth + 1) for item in value]
    elif type(value) is dict:
        result = built.setdefault(id(value), (value, value))[1]
        for key in value:
            value[key] = _build(value[key], built, depth + 1)
    elif type(value) is tuple:
        result = tuple(_build(item, built, depth + 1) for item in value)
    elif isinstance(value, Note):
        result = value.finish()
    else:
        raise CheckpointError(f"it holds a {type(value).__name__}, not only arrays and plain values")
    built[id(value)] = (value, result)
    return result
