"""Copies between host and device. Those of pinned memory end only when the host has waited for them."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from tests.fake_cupy import streams
from tests.fake_cupy.array import ndarray
from tests.fake_cupy.counts import counts
from tests.fake_cupy.memory import UNWRITTEN
from tests.fake_cupy.pinned import is_pinned


class PinnedOverwrittenError(RuntimeError):
    """The host wrote to a pinned buffer before it knew that the copy from it was done."""


def download(a: ndarray, stream: Any, order: str, out: np.ndarray | None, blocking: bool, cause: str) -> np.ndarray:
    """The array on the host; `blocking` waits for it."""
    stream = streams.current() if stream is None else stream
    contiguous = a._a.flags.c_contiguous or (order in "FAK" and a._a.flags.f_contiguous)
    if not contiguous:
        counts.operation("ascontiguousarray")  # CuPy copies on the device first
        counts.allocate(a.nbytes)
    value = np.array(a._a, order="F" if order == "F" or (order in "AK" and a.flags.fnc) else "C")
    if out is not None:
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        if out.dtype != a.dtype or out.shape != a.shape:
            raise ValueError(f"Shape or dtype mismatch: {out.dtype}{out.shape} for {a.dtype}{a.shape}")
        if not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("`out` must be C-contiguous or F-contiguous")
    streams.touch([a], [], stream)
    counts.download(a.nbytes)
    if blocking or out is None or not is_pinned(out):
        # Memory that is not pinned cannot be copied to behind the host's back: the copy waits.
        streams.wait(cause, dict(stream._clock))
        if out is None:
            return value
        out[...] = value
        return out
    out.reshape(-1, order="A").view(np.uint8)[...] = UNWRITTEN
    streams.when_host_knows(stream, lambda: np.copyto(out, value))
    return out


def upload_into(a: ndarray, arr: np.ndarray, stream: Any) -> None:
    """`a.set(arr)`: the host waits unless a stream is given."""
    if not isinstance(arr, np.ndarray):
        raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
    if a.dtype != arr.dtype:
        raise TypeError(f"{arr.dtype} array cannot be set to {a.dtype} array")
    if a.shape != arr.shape:
        raise ValueError(f"Shape mismatch. Old shape: {a.shape}, new shape: {arr.shape}")
    if not a.flags.forc:
        raise RuntimeError("Cannot set to non-contiguous array")
    upload(a, arr, stream)
    if stream is None:
        streams.wait("set", dict(streams.current()._clock))


def upload(a: ndarray, arr: np.ndarray, stream: Any = None) -> None:
    """One copy from the host, in the stream's order. CuPy copies pageable memory aside first, pinned memory not."""
    stream = streams.touch([], [a], stream)
    np.copyto(a._a, arr)
    counts.upload(arr.nbytes)
    if is_pinned(arr) and arr.size:
        stamp = _stamp(arr)

        def compare() -> None:
            if _stamp(arr) != stamp:
                raise PinnedOverwrittenError(
                    f"a pinned buffer of {arr.nbytes} bytes was written to before the copy from it was known to be "
                    "done: wait for an event recorded after the copy"
                )

        streams.when_host_knows(stream, compare)


def _stamp(arr: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(arr).view(np.uint8).reshape(-1))
