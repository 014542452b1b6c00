"""Batches on a GPU: gathered from a data set that lies there whole, or copied while the last step still runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xpcnn.data.loader import Loader
from xpcnn.device import Array, CudaDevice, Device
from xpcnn.ops.cuda.batches import ROWS, gather_batch

__all__ = ["Batches", "DeviceLoader", "on_device"]

_SHARE = 0.5  # of the free memory that a data set may take to itself


class DeviceLoader:
    """The batches of a host `loader`, with the same samples in the same order, as arrays on `device`.

    Without augmentation, and where pictures and labels take at most half of the free memory, they are uploaded once
    and batches are gathered on the device; an epoch then moves its permutation there and nothing else. Otherwise
    batches are made on the host and copied by a stream of their own.

    The arrays of a batch are overwritten by the batch after the next one at the latest.
    """

    def __init__(self, loader: Loader, device: CudaDevice) -> None:
        self.loader, self.device = loader, device
        self._held: tuple[Array, Array] | None = None
        self._rooms: dict[Any, Array] = {}
        self._copying: tuple[Any, tuple[_Slot, _Slot]] | None = None  # the stream, and the two ways through it

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def resident(self) -> bool:
        """Whether the data set lies on the device, or will from the first epoch on."""
        if self._held is not None:
            return True
        size = int(self.loader.x.nbytes) + int(self.loader.t.nbytes)
        return self.loader.augment is None and size <= _SHARE * self.device.memory().get("free", 0)

    def epoch(self, epoch: int, start: int = 0, stride: int = 1) -> Iterator[tuple[Array, Array]]:
        """Batches `start`, start + stride, ... of an epoch."""
        return self._gathered(epoch, start, stride) if self.resident else self._copied(epoch, start, stride)

    def _room(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        """The first rows of a buffer for a whole batch."""
        if key not in self._rooms:
            whole = (min(self.loader.batch_size, len(self.loader.x)), *shape[1:])
            self._rooms[key] = self.device.xp.empty(whole, dtype=dtype)
        return self._rooms[key][: shape[0]]

    # -- resident --------------------------------------------------------------------------------------------------

    def _gathered(self, epoch: int, start: int, stride: int) -> Iterator[tuple[Array, Array]]:
        if self._held is None:
            t = self.loader.t
            # The loss kernel's kind of number, once here rather than in each step.
            t = t.astype(np.int64) if t.dtype.kind in "iu" else t
            self._held = self.device.asarray(self.loader.x), self.device.asarray(t)
        x, t = self._held
        xp, B = self.device.xp, self.loader.batch_size
        order = self.device.asarray(self.loader.order(epoch))
        for number in range(start, len(self.loader), stride):
            chosen = order[number * B : (number + 1) * B]
            taken = chosen if self.loader.part is None else chosen[self.loader.part(len(chosen))]
            labels = self._room("labels", (len(chosen), *t.shape[1:]), t.dtype)
            if x.dtype.name in ROWS and t.ndim == 1 and t.dtype == np.int64 and self.loader.part is None:
                pictures = self._room("x", (len(chosen), *x.shape[1:]), self.loader.dtype)
                divisor, factor = self._scale(x.dtype)
                gather_batch(x, t, chosen, pictures, labels, divisor=divisor, factor=factor)
                yield pictures, labels
            else:
                rows = xp.take(x, taken, axis=0, out=self._room("rows", (len(taken), *x.shape[1:]), x.dtype))
                yield self._scaled(rows), xp.take(t, chosen, axis=0, out=labels)

    def _scale(self, dtype: np.dtype) -> tuple[float, float]:
        """(divisor or 0, factor) for pictures that are held as `dtype`."""
        if dtype.kind == "f" or self.loader.scale is None:
            return 0.0, 1.0
        return self.loader.divisor or 0.0, self.loader.scale

    def _scaled(self, rows: Array) -> Array:
        """As Loader does it, to the same bits: an exact cast, then one division or multiplication."""
        x, xp = self._room("x", rows.shape, self.loader.dtype), self.device.xp
        x[...] = rows
        divisor, factor = self._scale(rows.dtype)
        return xp.divide(x, divisor, out=x) if divisor else xp.multiply(x, factor, out=x)

    # -- streamed --------------------------------------------------------------------------------------------------

    def _copied(self, epoch: int, start: int, stride: int) -> Iterator[tuple[Array, Array]]:
        import cupyx

        cuda = self.device.xp.cuda
        if self._copying is None:
            self._copying = cuda.Stream(non_blocking=True), (_Slot(cuda), _Slot(cuda))
        copying, slots = self._copying
        for number, batch in enumerate(self.loader.epoch(epoch, start, stride)):
            slot, computing = slots[number % 2], cuda.get_current_stream()
            arrived = []
            slot.copied.synchronize()  # its pinned memory is free again; two batches ago, so this hardly waits
            copying.wait_event(slot.used)  # and what computed with its device memory is done
            for name, a in zip("xt", batch, strict=True):
                pinned = slot.pinned.get(name)
                if pinned is None or pinned.shape[1:] != a.shape[1:]:
                    whole = (min(self.loader.batch_size, len(self.loader.x)), *a.shape[1:])
                    pinned = slot.pinned[name] = cupyx.empty_pinned(whole, dtype=a.dtype)
                np.copyto(pinned[: len(a)], a)
                room = self._room((name, number % 2), a.shape, a.dtype)
                room.set(pinned[: len(a)], stream=copying)
                arrived.append(room)
            copying.record(slot.copied)
            computing.wait_event(slot.copied)
            yield arrived[0], arrived[1]
            computing.record(slot.used)


Batches = Loader | DeviceLoader


def on_device(loader: Loader, device: Device) -> Batches:
    """The loader's batches where they are wanted: as they are for a CPU, on the device itself for a GPU."""
    return DeviceLoader(loader, device) if isinstance(device, CudaDevice) else loader


class _Slot:
    """One of the two ways to the device. copied: its last copy's end; used: that of the work with what it brought."""

    def __init__(self, cuda: Any) -> None:
        self.pinned: dict[str, np.ndarray[Any, Any]] = {}
        self.copied = cuda.Event(disable_timing=True)
        self.used = cuda.Event(disable_timing=True)
