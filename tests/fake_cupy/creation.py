"""Arrays out of nothing, and out of the host's."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fake_cupy import streams
from tests.fake_cupy.array import ndarray, result, view_of
from tests.fake_cupy.layout import device_dtype
from tests.fake_cupy.operands import arrays_in
from tests.fake_cupy.transfers import download, upload


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    """A device array; one of the host's, or numbers, are sent over."""
    if subok:
        raise NotImplementedError("`subok=True` is not supported.")
    order = order or "K"
    if isinstance(obj, ndarray):
        made = obj.astype(obj.dtype if dtype is None else dtype, order=order, copy=bool(copy))
        return made if made.ndim >= ndmin else made.reshape((1,) * (ndmin - made.ndim) + made.shape)
    if isinstance(obj, (list, tuple)) and arrays_in(obj):
        from tests.fake_cupy.functions import call

        stacked = call("cupy.stack", ([array(part) for part in obj],), {})
        return stacked if dtype is None else stacked.astype(dtype, copy=False)
    if copy is False:
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    host = np.array(obj, dtype=None if dtype is None else device_dtype(dtype), ndmin=ndmin, copy=None)
    device_dtype(host.dtype)
    made = ndarray(host.shape, host.dtype, order="F" if order == "F" or (order in "KA" and host.flags.fnc) else "C")
    upload(made, host)
    if blocking:
        streams.wait("array")
    return made


def asarray(
    a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    """`a` on the device; no copy where it already is a device array of that dtype."""
    return array(a, dtype=dtype, copy=copy, order=order or "K", blocking=blocking)


asanyarray = asarray


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return array(a, dtype, copy=None, order="C", ndmin=1)


def asfortranarray(a: Any, dtype: Any = None) -> ndarray:
    return array(a, dtype, copy=None, order="F", ndmin=1)


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    """The array on the host."""
    if isinstance(a, ndarray):
        return download(a, stream, order, out, blocking, "asnumpy")
    return np.asarray(a, order=order)


def copy(a: ndarray, order: str = "K") -> ndarray:
    return a.copy(order=order)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def _filled(made: ndarray, value: Any) -> ndarray:
    made.fill(value)
    return made


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return _filled(ndarray(shape, dtype, order=order), 0)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return _filled(ndarray(shape, dtype, order=order), 1)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if dtype is None:
        dtype = fill_value.dtype if isinstance(fill_value, (ndarray, np.ndarray)) else np.array(fill_value).dtype
    return _filled(ndarray(shape, dtype, order=order), fill_value)


def empty_like(prototype: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    if not isinstance(prototype, ndarray):
        raise TypeError(f"Unsupported type {type(prototype)}")
    if subok is not None:
        raise TypeError("subok is not supported yet")
    dtype = device_dtype(prototype.dtype if dtype is None else dtype)
    if shape is not None and shape != prototype.shape:
        return ndarray(shape, dtype, order="F" if order == "F" else "C")
    pattern = np.empty_like(prototype._a, dtype=dtype, order=order)
    made = ndarray(prototype.shape, dtype)
    made._a = np.ndarray(made.shape, dtype, made._memory.bytes, 0, pattern.strides)
    return made


def zeros_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    return _filled(empty_like(a, dtype, order, subok, shape), 0)


def ones_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    return _filled(empty_like(a, dtype, order, subok, shape), 1)


def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return _filled(empty_like(a, dtype, order, subok, shape), fill_value)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    return result("arange", np.arange(start, *(() if stop is None else (stop, step)), dtype=dtype), [])


def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None, axis: int = 0
) -> ndarray:
    if retstep or axis:
        raise NotImplementedError("the double's linspace does neither retstep nor axis")
    return result("linspace", np.linspace(start, stop, num, endpoint, dtype=dtype), [])


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float, order: str = "C") -> ndarray:
    return result("eye", np.eye(N, M, k, device_dtype(dtype)), [])


def identity(n: int, dtype: Any = float) -> ndarray:
    return eye(n, dtype=dtype)


def as_strided(x: ndarray, shape: Any = None, strides: Any = None) -> ndarray:
    """cupy.lib.stride_tricks.as_strided. CuPy checks nothing; leaving the allocation is an error here."""
    if not isinstance(x, ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    shape = x.shape if shape is None else tuple(shape)
    strides = x.strides if strides is None else tuple(strides)
    # np.ndarray, unlike NumPy's as_strided, refuses a view beyond its buffer.
    return view_of(x, np.ndarray(shape, x.dtype, x._memory.bytes, x.data._offset, strides))


def sliding_window_view(
    x: ndarray, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> ndarray:
    view = np.lib.stride_tricks.sliding_window_view(x._a, window_shape, axis, writeable=True)
    return as_strided(x, view.shape, view.strides)
