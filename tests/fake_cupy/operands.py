"""What may be an operand: device arrays and scalars, never an array of the host."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from tests.fake_cupy import streams
from tests.fake_cupy.array import ndarray, result, view_of
from tests.fake_cupy.counts import counts

_SCALARS = (bool, int, float, complex, np.generic)


def refuse(value: Any) -> NoReturn:
    """CuPy's words for what it does not take."""
    raise TypeError(f"Unsupported type {type(value)}")


def operand(value: Any) -> Any:
    """What NumPy computes with in the place of `value`."""
    if isinstance(value, ndarray):
        return value._a
    return value if isinstance(value, _SCALARS) else refuse(value)


def host_side(value: Any) -> Any:
    """An argument for NumPy: device arrays, also within lists, as their host views; arrays of the host refused."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray):
        refuse(value)
    if isinstance(value, (list, tuple)):
        return type(value)(host_side(v) for v in value)
    return value


def arrays_in(*values: Any) -> list[ndarray]:
    """The device arrays among arguments, also within lists."""
    found: list[ndarray] = []
    for value in values:
        if isinstance(value, ndarray):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += arrays_in(*value)
    return found


def device_side(name: str, value: Any, sources: list[ndarray]) -> Any:
    """NumPy's result as CuPy's: a view where it shares a source's memory, else a new array; parts of tuples each."""
    if isinstance(value, (list, tuple)):
        return type(value)(device_side(name, v, sources) for v in value)
    if isinstance(value, np.ndarray):
        for source in sources:
            if value is source._a:
                return source
            if value.size and np.may_share_memory(value, source._memory.bytes):
                return view_of(source, value)
    return result(name, value, sources) if isinstance(value, (np.ndarray, np.generic, bool)) else value


def multiplied() -> None:
    """One product by cuBLAS, which CuPy refuses during a capture."""
    if streams.capturing():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    counts.multiplied()
