"""Device memory that is allocated once and used in every step; and words for when there is not enough of it."""

from __future__ import annotations

import math
import re
from types import ModuleType
from typing import Any

from xpcnn.device import Array, CudaDevice
from xpcnn.errors import DeviceError

__all__ = ["DeviceRoom", "Numbers", "out_of_memory"]


class DeviceRoom:
    """Buffers by key, as large as the largest array that was asked for under it."""

    def __init__(self, xp: ModuleType) -> None:
        self.xp = xp
        self._buffers: dict[Any, Array] = {}
        self._views: dict[Any, Array] = {}  # making a view takes the host longer than looking it up

    def get(self, key: object, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of that shape; what is in it was left there by whoever asked last."""
        seen = (key, shape, dtype)
        view = self._views.get(seen)
        if view is None:
            size, flat = math.prod(shape), self._buffers.get((key, dtype))
            if flat is None or flat.size < size:
                self._views = {known: v for known, v in self._views.items() if (known[0], known[2]) != (key, dtype)}
                self._buffers[key, dtype] = flat = None  # its memory is free before the larger one is taken
                flat = self._buffers[key, dtype] = self.xp.empty(max(size, 1), dtype=dtype)
            view = self._views[seen] = flat[:size].reshape(shape)
        return view

    @property
    def nbytes(self) -> int:
        return sum(int(a.nbytes) for a in self._buffers.values() if a is not None)

    def clear(self) -> None:
        self._buffers.clear()
        self._views.clear()


class Numbers:
    """Zero-dimensional results, a new one each time, cut from arrays of `many`: no allocation a step."""

    def __init__(self, xp: ModuleType, dtype: Any, many: int = 4096) -> None:
        self.xp, self.dtype, self.many = xp, dtype, many
        self._left: Array = xp.zeros(0, dtype=dtype)

    def next(self) -> Array:
        """One number, 0 as yet, as an array (1,)."""
        if self._left.size == 0:
            self._left = self.xp.zeros(self.many, dtype=self.dtype)
        first, self._left = self._left[:1], self._left[1:]
        return first


def out_of_memory(error: Exception, device: CudaDevice, samples: int, needed: int, advice: str) -> DeviceError:
    """The error for a person. needed: bytes that `samples` samples take, as far as is known (0: not)."""
    asked = re.search(r"allocating ([\d,]+) bytes", str(error))
    memory = device.memory()
    free = memory["free"]
    words = f"{device.name} has not enough memory for a batch of {samples}: "
    words += f"{asked[1]} bytes were asked for, " if asked else ""
    words += f"{memory['used']:,} are held by this process and {free:,} of {memory['total']:,} are free; {advice}"
    fits = int(samples * free // needed) if needed else 0
    if 0 < fits < samples:
        words += f"; about {fits} samples would fit (--batch-size {fits})"
    return DeviceError(words)
