"""What all ways of adding up arrays that lie on GPUs have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn.communication.communicator import LIMIT, Communicator, Pending
from xpcnn.device import Array, CudaDevice
from xpcnn.errors import ShapeError

__all__ = ["OnDevice"]


class OnDevice(Communicator):
    """Adds up CuPy arrays in a way of its own; all that lies on the host goes through `control`.

    A sum begins when the work given to the current stream before it is done, and runs beside the work given to it
    afterwards, on a stream of its own; `wait` makes the current stream wait for it, and the host only where the way
    needs that. Sums of device arrays, by `start_sum` or `sum`, have one order, which is the same in every process.
    why: how this way was chosen, in a line.
    """

    def __init__(self, control: Communicator, device: CudaDevice) -> None:
        super().__init__()
        self.control, self.device, self.why = control, device, "asked for"
        self.rank, self.size = control.rank, control.size
        self.local_rank, self.local_size, self.host = control.local_rank, control.local_size, control.host
        self._cuda = device.xp.cuda
        with self._cuda.Device(device.index):
            self._stream = self._cuda.Stream(non_blocking=True)

    def start_sum(self, a: Array) -> Pending:
        return self.control.start_sum(a) if isinstance(a, np.ndarray) else self.start_sums([a])

    def start_sums(self, arrays: Sequence[Array]) -> Pending:
        """`start_sum` for several arrays on the device, which travel together where that is cheaper."""
        for a in arrays:
            if not a.flags.c_contiguous:
                raise ShapeError(f"only C-contiguous arrays are added up over processes, got strides {a.strides}")
            self.calls += 1
            self.bytes += int(a.nbytes)
        self._stream.wait_event(self._event(self._cuda.get_current_stream()))
        return self._start(arrays)

    def sum(self, a: Array) -> None:
        if isinstance(a, np.ndarray):
            self.control.sum(a)
        else:
            self.start_sum(a).wait()

    def all(self, value: Any, limit: float | None = LIMIT) -> list[Any]:
        return self.control.all(value, limit)

    def check(self) -> None:
        """Raises DistributedError where something is known to have gone wrong on the way; waits for nothing."""

    def give_up(self) -> None:
        self.control.give_up()

    def abort(self, code: int) -> None:
        self.control.abort(code)

    def _start(self, arrays: Sequence[Array]) -> Pending:
        raise NotImplementedError

    def _event(self, stream: Any) -> Any:
        """The end of what `stream` has been given so far."""
        event = self._cuda.Event(disable_timing=True)
        event.record(stream)
        return event
