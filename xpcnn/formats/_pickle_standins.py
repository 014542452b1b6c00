"""Stand-ins for NumPy's constructors while a pickle is read: they take notes, check them, and build arrays at the end.

What they imitate: `ndarray.__reduce__`, `dtype.__reduce__`, `generic.__reduce__` and the protocol-5 `_frombuffer`
of NumPy 1 and 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from xpcnn.errors import CheckpointError
from xpcnn.formats._arrays import check_text
from xpcnn.formats.limits import shown

__all__ = ["Builder", "Constructor", "Note"]

_DTYPE = re.compile(r"[<>=|]?(?:[biufcSU]\d{1,9}|[?bBhHiIlLqQefdgFDG])", re.ASCII)
_MOST_AXES = 64


class Constructor:
    """What a name in the file leads to. It can be called by the unpickler and changed by nobody."""

    __slots__ = ("__call", "__name")
    __hash__ = None  # type: ignore[assignment]  # so that it can be no key of a dict

    def __init__(self, name: str, call: Callable[..., Any] | None) -> None:
        self.__name = name
        self.__call = call

    def __call__(self, *arguments: Any) -> Any:
        if self.__call is None:
            raise CheckpointError(f"the file calls {self.__name}, which NumPy's own pickles never do")
        return self.__call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise CheckpointError(f"the file tries to change {self.__name}")


class _Dtype:
    """Notes for a dtype: its letter and size, and the byte order that its state brings."""

    __slots__ = ("word",)
    word: str
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, word: Any, *_flags: Any) -> None:
        word = _text(word)
        if word.lstrip("<>=|") in ("O", "O4", "O8"):
            raise CheckpointError("it holds an object array, which may carry anything; only numbers and text are read")
        if not _DTYPE.fullmatch(word):
            raise CheckpointError(
                f"it holds an array of dtype {shown(word, 40)}; only numbers, booleans and text are read"
            )
        self.word = word

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, field names, fields, item size, alignment, flags[, metadata])
        if not isinstance(state, tuple) or len(state) < 7 or any(part is not None for part in state[2:5]):
            raise CheckpointError("it holds a structured array; only plain arrays are read")
        order = _text(state[1])
        if order not in ("<", ">", "=", "|"):
            raise CheckpointError(f"it holds a dtype with the byte order {shown(order, 8)}")
        self.word = (order if order in "<>" else "") + self.word.lstrip("<>=|")

    def finish(self) -> np.dtype:
        return np.dtype(self.word)


class Note:
    """What an array was said to be, until `finish` makes it."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def finish(self) -> np.ndarray:
        """The array, writable and owning its memory; CheckpointError where the notes do not fit together."""
        raise NotImplementedError


class _Array(Note):
    """Notes for an array: shape, dtype, order and raw bytes; an array only once `finish` has checked them."""

    __slots__ = ("_builder", "_parts")

    def __init__(self, builder: Builder, parts: tuple[Any, Any, str, Any] | None = None) -> None:
        self._builder = builder
        self._parts = parts

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise CheckpointError("an array's description is damaged")
        shape, dtype, is_fortran, raw = state[-4:]  # before them: a version number
        self._parts = (shape, dtype, "F" if is_fortran else "C", raw)

    def finish(self) -> np.ndarray:
        if self._parts is None:
            raise CheckpointError("an array has no content")
        return self._builder.array(*self._parts)


class Builder:
    """Makes arrays out of notes, and never more bytes of them than the file has."""

    def __init__(self, file_size: int) -> None:
        self._bytes_left = file_size  # for arrays and scalars
        self._encode_left = file_size  # for text that protocols 0 to 2 turn back into bytes

    def constructors(self) -> dict[tuple[str, str], Constructor]:
        """The only names that a file may use, in the spellings of NumPy 1 and 2 and of Python 2 and 3."""
        ndarray = Constructor("numpy.ndarray", None)

        def reconstruct(kind: Any, _shape: Any, _letter: Any) -> _Array:
            if kind is not ndarray:
                raise CheckpointError("it holds an array of a special class; only plain arrays are read")
            return _Array(self)

        named: dict[tuple[str, str], Constructor] = {
            ("numpy", "ndarray"): ndarray,
            ("numpy", "dtype"): Constructor("numpy.dtype", _Dtype),
            ("_codecs", "encode"): Constructor("_codecs.encode", self._encode),
        }
        for core in ("numpy.core", "numpy._core"):
            named[f"{core}.multiarray", "_reconstruct"] = Constructor("_reconstruct", reconstruct)
            named[f"{core}.multiarray", "scalar"] = Constructor("scalar", self._scalar)
            named[f"{core}.numeric", "_frombuffer"] = Constructor("_frombuffer", self._frombuffer)
        for builtins in ("builtins", "__builtin__"):  # protocols 0 to 2 write an empty array's bytes as bytes()
            named[builtins, "bytes"] = Constructor("bytes", lambda: b"")
        return named

    def array(self, shape: Any, dtype: Any, order: str, raw: Any) -> np.ndarray:
        """A writable array of its own; the shape is believed only as far as there are bytes for it."""
        if not isinstance(dtype, _Dtype):
            raise CheckpointError("an array's dtype is missing")
        kind = dtype.finish()
        if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
            raise CheckpointError("an array's shape is damaged")
        size = kind.itemsize
        for length in shape:
            if type(length) is not int or not 0 <= length < 2**63:
                raise CheckpointError("an array's shape is damaged")
            size *= length
        if isinstance(raw, str):  # Python 2's bytes, read with encoding="latin1"
            self._spend_encoding(len(raw))
            raw = raw.encode("latin1")
        if not isinstance(raw, bytes | bytearray):
            raise CheckpointError("an array's bytes are missing")
        if size != len(raw) or kind.itemsize == 0:
            raise CheckpointError(f"an array declares shape {shape} of {kind}: {size} bytes, but has {len(raw)}")
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise CheckpointError("its arrays declare more bytes than the file has")
        return check_text(np.ndarray(shape, kind, raw, order="F" if order == "F" else "C").copy(order="K"))

    def _scalar(self, dtype: Any, raw: Any = b"") -> np.generic:
        value = self.array((), dtype, "C", raw)[()]
        assert isinstance(value, np.generic)
        return value

    def _frombuffer(self, raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array | _Transposed:
        if order == "K" and axes is not None:  # NumPy 2.3 and later: other orders of the axes than C and F
            return _Transposed(_Array(self, (shape, dtype, "C", raw)), axes)
        if order not in ("C", "F"):
            raise CheckpointError("an array's order of axes is damaged")
        return _Array(self, (shape, dtype, order, raw))

    def _encode(self, text: Any, codec: Any) -> bytes:
        if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
            raise CheckpointError("it encodes text in a way that NumPy's own pickles never do")
        self._spend_encoding(len(text))
        return text.encode("latin1")

    def _spend_encoding(self, count: int) -> None:
        self._encode_left -= count
        if self._encode_left < 0:
            raise CheckpointError("it would grow to more bytes than the file has")


class _Transposed(Note):
    """Notes for an array that is stored in C order of other axes."""

    __slots__ = ("_array", "_axes")

    def __init__(self, array: _Array, axes: Any) -> None:
        self._array = array
        self._axes = axes

    def __setstate__(self, state: object) -> None:
        raise CheckpointError("an array's description is damaged")

    def finish(self) -> np.ndarray:
        array = self._array.finish()
        if not isinstance(self._axes, tuple | list) or sorted(self._axes) != list(range(array.ndim)):
            raise CheckpointError("an array's order of axes is damaged")
        return array.transpose(self._axes)


def _text(word: Any) -> str:
    """Words that Python 2 wrote come as bytes under encoding="bytes"."""
    if isinstance(word, bytes):
        return word.decode("ascii")
    if not isinstance(word, str):
        raise CheckpointError("an array's dtype is damaged")
    return word
