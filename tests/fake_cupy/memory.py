"""Device memory: every allocation stands alone between guards, filled with what nobody wrote (NaN, -1)."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from tests.fake_cupy.counts import counts
from tests.fake_cupy.names import lacking

GUARD = 256  # bytes before and after each allocation that no kernel may change
ALIGNMENT = 512  # of CuPy's pool, which also rounds sizes up to it
UNWRITTEN = 0xFF  # NaN as float16, float32 and float64, -1 as an integer


class OutOfMemoryError(MemoryError):
    """CuPy's, with its words."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        words = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(words + (f", limit set to: {limit:,} bytes)." if limit else ")."))
        self._size, self._total, self._limit = size, total, limit

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._size, self._total, self._limit)


class Pool:
    """CuPy's MemoryPool as far as its figures go: bytes in use, bytes held, and a limit."""

    __getattr__ = lacking("cupy.cuda.MemoryPool")

    def __init__(self) -> None:
        self._used = 0
        self._held = 0
        self._limit = 0

    def take(self, memory: Memory, size: int) -> None:
        rounded = -(-size // ALIGNMENT) * ALIGNMENT
        if self._limit and self._used + rounded > self._limit:
            raise OutOfMemoryError(rounded, self._used, self._limit)
        counts.allocate(size)
        self._used += rounded
        self._held = max(self._held, self._used)
        weakref.finalize(memory, self._give_back, rounded).atexit = False

    def _give_back(self, rounded: int) -> None:
        self._used -= rounded

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._held

    def free_bytes(self) -> int:
        return self._held - self._used

    def n_free_blocks(self) -> int:
        return int(self._held > self._used)

    def free_all_blocks(self, stream: Any = None) -> None:
        self._held = self._used

    def get_limit(self) -> int:
        return self._limit

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        if size is not None and fraction is not None:
            raise ValueError("size and fraction cannot be specified at one time")
        if fraction is not None:
            size = int(TOTAL_BYTES * fraction)
        if size is None or size < 0:
            raise ValueError(f"memory limit size out of range: {size}")
        self._limit = size


class IllegalAccessError(RuntimeError):
    """A kernel left its arrays; on a card this may be cudaErrorIllegalAddress, or nothing but wrong numbers."""


TOTAL_BYTES = 80 << 30  # what the double's card says it has
pool = Pool()
_places: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()  # by address


def memory_at(address: int, size: int) -> Memory:
    """The allocation in which `size` bytes at this address lie. Raises IllegalAccessError where there is none."""
    for start, memory in list(_places.items()):
        if start <= address and address + size <= start + memory.size:
            return memory
    raise IllegalAccessError(f"{size} bytes at address {address:#x} do not lie in one array of the device")


class Memory:
    """One allocation of `size` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.accesses: list[tuple[int, int, int, int, bool]] = []  # see streams.touch
        pool.take(self, size)
        raw = np.full(size + 2 * GUARD + ALIGNMENT, UNWRITTEN, dtype=np.uint8)
        start = -(raw.ctypes.data + GUARD) % ALIGNMENT
        self._whole = raw[start : start + size + 2 * GUARD]
        self.bytes = self._whole[GUARD : GUARD + size]
        self.ptr = self.bytes.ctypes.data if size else 0  # CuPy's empty arrays have no address
        if size:
            _places[self.ptr] = self

    def guards_are_whole(self) -> bool:
        # Comparing words is several times faster than comparing bytes; this runs after every launch.
        before, after = self._whole[:GUARD].view(np.uint64), self._whole[GUARD + self.size :]
        return bool((before == np.uint64(2**64 - 1)).all()) and bool((after == UNWRITTEN).all())

    def mend_guards(self) -> None:
        self._whole[:GUARD] = UNWRITTEN
        self._whole[GUARD + self.size :] = UNWRITTEN


class MemoryPointer:
    """CuPy's: an address within an allocation."""

    __getattr__ = lacking("cupy.cuda.MemoryPointer")

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self._offset = mem, offset

    @property
    def ptr(self) -> int:
        return self.mem.ptr + self._offset if self.mem.ptr else 0

    @property
    def device_id(self) -> int:
        return 0

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self._offset + offset)
