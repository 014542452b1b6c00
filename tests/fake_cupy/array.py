"""The double's `cupy.ndarray`: host memory that NumPy cannot see, with CuPy's refusals, copies and waits counted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.fake_cupy import streams
from tests.fake_cupy.counts import counts
from tests.fake_cupy.layout import Flags, device_dtype
from tests.fake_cupy.memory import Memory, MemoryPointer
from tests.fake_cupy.names import lacking


class ndarray:
    """CuPy's. `_a` is the host view that the double computes with, `_memory` the allocation it lies in."""

    __slots__ = ("__weakref__", "_a", "_memory", "base")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: tuple[int, ...] | None = None,
        order: str = "C",
    ) -> None:
        dtype = device_dtype(dtype)
        shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
        if any(n < 0 for n in shape):
            raise ValueError("Negative dimensions are not allowed")
        if memptr is None:
            if strides is not None:
                raise ValueError("memptr is required if strides is given.")
            memptr = MemoryPointer(Memory(math.prod(shape) * dtype.itemsize), 0)
        self._memory = memptr.mem
        self._a = np.ndarray(shape, dtype, self._memory.bytes, memptr._offset, strides, order or "C")
        self.base: ndarray | None = None

    __getattr__ = lacking("cupy.ndarray")

    # ------------------------------------------------------------------------------------------------- memory
    @property
    def data(self) -> MemoryPointer:
        return MemoryPointer(self._memory, self._a.ctypes.data - self._memory.bytes.ctypes.data if self.size else 0)

    @property
    def flags(self) -> Flags:
        return Flags(self._a, self.base is None)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._a.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        try:
            self._a = self._a.view()
            self._a = self._a.reshape(shape, copy=False)
        except ValueError as error:
            raise AttributeError(f"incompatible shape: {error}") from None

    strides = property(lambda self: self._a.strides)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)

    @property
    def device(self) -> Any:
        from tests.fake_cupy.runtime import Device

        return Device(0)

    @property
    def T(self) -> ndarray:
        return self if self.ndim < 2 else view_of(self, self._a.T)

    @property
    def real(self) -> ndarray:
        return view_of(self, self._a.real)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "stream": 1,
            "version": 3,
            "strides": None if self._a.flags.c_contiguous else self.strides,
            "data": (self.data.ptr, False),
        }

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        return view_of(self, self._a.view() if dtype is None else self._a.view(device_dtype(dtype)))

    # ------------------------------------------------------------------------------------------- to the host
    def get(self, stream: Any = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True) -> Any:
        from tests.fake_cupy.transfers import download

        return download(self, stream, order, out, blocking, "get")

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        from tests.fake_cupy.transfers import upload_into

        upload_into(self, arr, stream)

    def _value(self, cause: str) -> np.ndarray:
        """The array's value on the host, for `cause`, which makes the host wait."""
        from tests.fake_cupy.transfers import download

        return download(self, None, "C", None, True, cause)

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self._value("item").item()

    def tolist(self) -> Any:
        return self._value("tolist").tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return self._value("tobytes").tobytes(order)

    def __bool__(self) -> bool:
        return bool(self._value("bool"))

    def __float__(self) -> float:
        return float(self._value("float"))

    def __int__(self) -> int:
        return int(self._value("int"))

    def __index__(self) -> int:
        return self._value("index").__index__()

    def __complex__(self) -> complex:
        return complex(self._value("complex"))

    def __repr__(self) -> str:
        return repr(self._value("repr"))

    def __str__(self) -> str:
        return str(self._value("str"))

    def __format__(self, form: str) -> str:
        return format(self._value("format"), form)

    def __reduce__(self) -> tuple[Any, ...]:
        from tests.fake_cupy.creation import array

        return array, (self._value("pickle"),)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    # ----------------------------------------------------------------------------------------------- elements
    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __getitem__(self, key: Any) -> ndarray:
        from tests.fake_cupy.indexing import get_item

        return get_item(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        from tests.fake_cupy.indexing import set_item

        set_item(self, key, value)

    def fill(self, value: Any) -> None:
        from tests.fake_cupy.indexing import set_item

        if isinstance(value, (ndarray, np.ndarray)) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        set_item(self, Ellipsis, value)

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        if casting is not None or subok is not None:
            raise TypeError(f"{'casting' if casting is not None else 'subok'} is not supported yet")
        dtype = device_dtype(dtype)
        if not copy and self._a.astype(dtype, order=order, copy=False) is self._a:
            return self
        with np.errstate(all="ignore"):  # the device casts without a word
            return result("astype", self._a.astype(dtype, order=order), [self], order="K")

    def copy(self, order: str = "C") -> ndarray:
        return self.astype(self.dtype, order=order)

    def __copy__(self) -> ndarray:
        return self.copy(order="K")

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy(order="K")

    def __array_ufunc__(self, function: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        from tests.fake_cupy.ufuncs import from_numpy

        return from_numpy(function, method, args, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from tests.fake_cupy.functions import from_numpy

        return from_numpy(function, types, args, kwargs)


def view_of(owner: ndarray, a: np.ndarray) -> ndarray:
    """A device array for a host view of the owner's memory."""
    made = object.__new__(ndarray)
    made._a, made._memory = a, owner._memory
    made.base = owner if owner.base is None else owner.base
    return made


def result(name: str, value: Any, sources: list[ndarray], order: str = "C") -> ndarray:
    """A new device array with a value computed from the sources by the operation `name`."""
    value = np.asarray(value)
    if order == "K" and not value.flags.c_contiguous:
        strides = value.strides
        made = ndarray(value.shape, value.dtype)
        made._a = np.ndarray(value.shape, value.dtype, made._memory.bytes, 0, strides)
    else:
        made = ndarray(value.shape, value.dtype, order=order if order in "CF" else "C")
    np.copyto(made._a, value)
    counts.operation(name)
    streams.touch(sources, [made])
    return made
