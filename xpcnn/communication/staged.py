"""Sums of arrays on GPUs by MPI, which knows nothing of streams: the host waits, then calls it.

StagedCommunicator takes any MPI: arrays go through pinned memory of the host. AwareCommunicator hands device arrays to
an MPI library that can read them.
"""

from __future__ import annotations

import importlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn.communication.communicator import Communicator, Pending
from xpcnn.communication.on_device import OnDevice
from xpcnn.device import Array, CudaDevice

__all__ = ["AwareCommunicator", "StagedCommunicator"]


class _ByHost(OnDevice):
    """Sums that the host drives: each is sent once the device has made it ready, and all in their order."""

    def __init__(self, control: Communicator, device: CudaDevice) -> None:
        super().__init__(control, device)
        self._unsent: deque[_Sum] = deque()

    def _start(self, arrays: Sequence[Array]) -> Pending:
        return _Together([self._begin(a) for a in arrays])

    def _begin(self, a: Array) -> _Sum:
        pending = self._made_ready(a)
        self._unsent.append(pending)
        self._send()
        return pending

    def _made_ready(self, a: Array) -> _Sum:
        raise NotImplementedError

    def _send(self, until: _Sum | None = None) -> None:
        """Sends what is ready; up to `until`, whose turn has come, what is not ready is waited for."""
        while self._unsent:
            first = self._unsent[0]
            if not first.ready.done:
                if until is None or until.sent is not None:
                    return
                started = time.perf_counter()
                first.ready.synchronize()
                self.seconds += time.perf_counter() - started
            self._unsent.popleft()
            first.sent = self.control.start_sum(first.outgoing())


class _Sum(Pending):
    """One array's. ready: event after which it may be sent."""

    def __init__(self, owner: _ByHost, a: Array, ready: Any) -> None:
        self._owner, self.a, self.ready = owner, a, ready
        self.sent: Pending | None = None

    def outgoing(self) -> Array:
        """What MPI adds up, in place."""
        return self.a

    def poke(self) -> None:
        self._owner._send()
        if self.sent is not None:
            self.sent.poke()

    def wait(self) -> None:
        self._owner._send(until=self)
        assert self.sent is not None
        started = time.perf_counter()
        self.sent.wait()
        self._owner.seconds += time.perf_counter() - started


class _Together(Pending):
    def __init__(self, sums: Sequence[_Sum]) -> None:
        self._sums = sums

    def poke(self) -> None:
        for pending in self._sums:
            pending.poke()

    def wait(self) -> None:
        for pending in self._sums:
            pending.wait()


class AwareCommunicator(_ByHost):
    """For an MPI library that takes arrays on a GPU as they are (`choose.cuda_aware`)."""

    name = "CUDA-aware MPI"

    def _made_ready(self, a: Array) -> _Sum:
        return _Sum(self, a, self._event(self._stream))


class StagedCommunicator(_ByHost):
    """Copies each array into pinned memory of the host, lets MPI add it up there, and copies it back.

    float16 numbers, which not every MPI can add up, travel as float32 and are rounded once.
    """

    name = "MPI through host memory"

    def __init__(self, control: Communicator, device: CudaDevice) -> None:
        super().__init__(control, device)
        self._room: dict[tuple[int, str], list[tuple[np.ndarray, Any]]] = {}  # pinned, and when it is free again

    def _made_ready(self, a: Array) -> _Sum:
        flat = a.reshape(-1)
        pinned = self._pinned(flat)
        flat.get(stream=self._stream, out=pinned, blocking=False)
        return _StagedSum(self, flat, self._event(self._stream), pinned)

    def _pinned(self, flat: Array) -> np.ndarray:
        """A buffer of its own for as long as the sum runs."""
        for number, (pinned, free) in enumerate(held := self._room.setdefault((flat.size, flat.dtype.str), [])):
            if free.done:
                del held[number]
                return pinned
        made: np.ndarray = importlib.import_module("cupyx").empty_pinned(flat.shape, dtype=flat.dtype)
        return made

    def come_back(self, flat: Array, pinned: np.ndarray) -> None:
        """Copies the sum to the device; the current stream waits for it, the host does not."""
        flat.set(pinned, stream=self._stream)
        arrived = self._event(self._stream)
        self._cuda.get_current_stream().wait_event(arrived)
        self._room[flat.size, flat.dtype.str].append((pinned, arrived))


class _StagedSum(_Sum):
    _owner: StagedCommunicator

    def __init__(self, owner: StagedCommunicator, flat: Array, ready: Any, pinned: np.ndarray) -> None:
        super().__init__(owner, flat, ready)
        self._pinned = self._host = pinned

    def outgoing(self) -> Array:
        if self._pinned.dtype == np.float16:
            self._host = self._pinned.astype(np.float32)
        return self._host

    def wait(self) -> None:
        super().wait()
        if self._host is not self._pinned:
            with np.errstate(over="ignore"):  # too large for float16 is infinite, as it is on the device
                self._pinned[...] = self._host
        self._owner.come_back(self.a, self._pinned)
