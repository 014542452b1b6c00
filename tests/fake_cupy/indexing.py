"""Reading and writing elements: slices are views, index arrays copy, masks make the host wait."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fake_cupy import streams
from tests.fake_cupy.array import ndarray, result, view_of
from tests.fake_cupy.counts import counts
from tests.fake_cupy.operands import operand, refuse


def _parts(key: Any) -> tuple[list[Any], list[ndarray], bool]:
    """The key's parts for NumPy, the index arrays among them, and whether one is a mask."""
    from tests.fake_cupy.creation import array

    host, arrays, mask = [], [], False
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, (list, tuple, bool, np.bool_)):
            part = array(part)  # CuPy sends it to the device
        if isinstance(part, ndarray):
            if part.dtype.kind not in "iub":
                raise IndexError(
                    f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})"
                )
            arrays.append(part)
            mask = mask or part.dtype.kind == "b"
            host.append(part._a)
        elif isinstance(part, np.ndarray):
            refuse(part)
        else:
            host.append(part)
    return host, arrays, mask


def get_item(a: ndarray, key: Any) -> ndarray:
    host, arrays, mask = _parts(key)
    if not arrays:
        # The ellipsis makes NumPy give a view where all indices are numbers, too.
        return view_of(a, a._a[(*host, *(() if any(part is Ellipsis for part in host) else (Ellipsis,)))])
    if mask:
        streams.wait("boolean mask")
    return result("take", a._a[tuple(host)], [a, *arrays])


def set_item(a: ndarray, key: Any, value: Any) -> None:
    host, arrays, _ = _parts(key)
    value_on_host = operand(value)
    reads = [x for x in (value, *arrays) if isinstance(x, ndarray)]
    if isinstance(value, ndarray) and not arrays:
        target = get_item(a, key)._a
        there = value._a
        if target.ctypes.data == there.ctypes.data and target.strides == there.strides and target.shape == there.shape:
            return  # a[i] += b ends by setting a[i] to itself
    with np.errstate(all="ignore"):  # the device casts without a word
        a._a[tuple(host)] = value_on_host
    counts.operation("setitem")
    streams.touch(reads, [a if arrays else get_item(a, key)])
