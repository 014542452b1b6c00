"""cupy.cuda.nccl: sums over several processes, which are threads here (`ranks`).

Only one of the threads runs at a time; it gives way to the others where it waits for them, so the double's counts and
clocks need no locks. A call returns once all have called: on a card it would return at once and the sum would come
later. Who may use the array, and when, is checked as if it did. All must make the same calls in the same order: where a
card would hang, NcclError says what differs.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fake_cupy import streams
from tests.fake_cupy.counts import counts
from tests.fake_cupy.memory import IllegalAccessError, memory_at
from tests.fake_cupy.names import lacking

NCCL_SUM, NCCL_PROD, NCCL_MAX, NCCL_MIN = range(4)
NCCL_INT8 = NCCL_CHAR = 0
NCCL_UINT8 = 1
NCCL_INT32 = NCCL_INT = 2
NCCL_UINT32, NCCL_INT64, NCCL_UINT64 = 3, 4, 5
NCCL_FLOAT16 = NCCL_HALF = 6
NCCL_FLOAT32 = NCCL_FLOAT = 7
NCCL_FLOAT64 = NCCL_DOUBLE = 8
available = True

_DTYPES = {0: "int8", 1: "uint8", 2: "int32", 3: "uint32", 4: "int64", 5: "uint64", 6: "float16", 7: "float32"}
_DTYPES[8] = "float64"
_ID_BYTES = 128
_PATIENCE = 30.0  # seconds; a test in which a rank does not come fails


class NcclError(RuntimeError):
    """CuPy's; `details` say what the double knows of the cause."""

    _NAMES = {  # noqa: RUF012
        1: "NCCL_ERROR_UNHANDLED_CUDA_ERROR: unhandled cuda error",
        2: "NCCL_ERROR_SYSTEM_ERROR: unhandled system error",
        3: "NCCL_ERROR_INTERNAL_ERROR: internal error - please report this issue to the NCCL developers",
        4: "NCCL_ERROR_INVALID_ARGUMENT: invalid argument",
        5: "NCCL_ERROR_INVALID_USAGE: invalid usage",
        6: "NCCL_ERROR_REMOTE_ERROR: remote process exited or there was a network error",
    }

    def __init__(self, status: int, details: str = "") -> None:
        super().__init__(self._NAMES[status] + (f" (the double: {details})" if details else ""))
        self.status = status


class Meeting:
    """Where the ranks bring something and take something away, as often as they like; one thread runs at a time."""

    baton = threading.Condition()  # whoever runs holds it

    def __init__(self, size: int) -> None:
        self.size = size
        self._brought: dict[int, dict[int, Any]] = {}  # by round and rank
        self._taken: dict[int, Any] = {}  # by round: the outcome, or an error
        self._rounds = [0] * size

    def meet(self, rank: int, thing: Any, join: Callable[[list[Any]], Any]) -> Any:
        """`join` of what all have brought, by rank, made once; an error that it raises is raised for all."""
        with self.baton:
            number = self._rounds[rank]
            self._rounds[rank] += 1
            brought = self._brought.setdefault(number, {})
            brought[rank] = thing
            if len(brought) == self.size:
                try:
                    self._taken[number] = join([brought[r] for r in range(self.size)])
                except Exception as error:
                    self._taken[number] = error
                del self._brought[number]
                self.baton.notify_all()
            elif not self.baton.wait_for(lambda: number in self._taken, _PATIENCE):
                raise NcclError(6, f"rank {rank} has waited {_PATIENCE:g} s for the others")
            outcome = self._taken[number]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def ranks(size: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work(rank)` returns for each of `size` ranks, each a thread; the first error is raised."""
    done: list[Any] = [None] * size
    failed: list[BaseException] = []

    def run(rank: int) -> None:
        with Meeting.baton:
            try:
                done[rank] = work(rank)
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=run, args=(rank,), name=f"rank {rank}", daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return done


def get_version() -> int:
    return 23203


def get_build_version() -> int:
    return 22501


_meetings: dict[bytes, Meeting] = {}  # by unique id; made by the first to come


def get_unique_id() -> bytes:
    return secrets.token_bytes(_ID_BYTES)


_local = threading.local()  # the group under way in this thread: calls that wait for its end


def groupStart() -> None:
    _local.depth = getattr(_local, "depth", 0) + 1
    _local.calls = getattr(_local, "calls", [])


def groupEnd() -> None:
    if getattr(_local, "depth", 0) == 0:
        raise NcclError(5, "groupEnd without groupStart")
    _local.depth -= 1
    if _local.depth == 0:
        calls, _local.calls = _local.calls, []
        for call in calls:
            call()


class NcclCommunicator:
    """CuPy's: one process's end."""

    __getattr__ = lacking("cupy.cuda.nccl.NcclCommunicator")

    def __init__(self, ndev: int, commId: bytes, rank: int, config: Any = None) -> None:
        if not isinstance(commId, bytes):
            raise TypeError(f"Argument 'commId' has incorrect type (expected bytes, got {type(commId).__name__})")
        if len(commId) != _ID_BYTES:
            raise ValueError(f"commId length {len(commId)} != {_ID_BYTES}.")
        if not 0 <= rank < ndev:
            raise NcclError(4, f"rank {rank} of {ndev}")
        self._rank, self._size, self._destroyed = rank, ndev, False
        self._meeting = _meetings.setdefault(commId, Meeting(ndev))
        self._meeting.meet(rank, ndev, _same_size)

    def destroy(self) -> None:
        self._destroyed = True

    abort = destroy

    def rank_id(self) -> int:
        return self._rank

    def size(self) -> int:
        return self._size

    def device_id(self) -> int:
        return 0

    def check_async_error(self) -> None:
        self._alive()

    def allReduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int) -> None:
        self._alive()
        if datatype not in _DTYPES or op != NCCL_SUM:
            raise NcclError(4, f"datatype {datatype}, op {op}; the double only sums")
        dtype = np.dtype(_DTYPES[datatype])
        ends = [_stretch(buffer, count * dtype.itemsize) for buffer in (sendbuf, recvbuf)]
        if sendbuf % dtype.itemsize or recvbuf % dtype.itemsize:
            raise NcclError(4, f"a buffer of {dtype} that is not aligned")

        def run() -> None:
            streams.touch(ends[:1], ends[1:], streams.stream_at(stream))
            counts.collect("allReduce", count * dtype.itemsize)
            source, target = (memory.bytes[first:end].view(dtype) for memory, first, end in ends)
            total = self._meeting.meet(self._rank, ("allReduce", count, dtype, source.copy()), _added)
            target[...] = total

        if getattr(_local, "depth", 0):
            _local.calls.append(run)
        else:
            run()

    def _alive(self) -> None:
        if self._destroyed:
            raise NcclError(4, "the communicator was destroyed")


def _stretch(buffer: int, nbytes: int) -> tuple[Any, int, int]:
    if type(buffer) is not int:
        raise TypeError(f"an integer is required, the array's data.ptr; got {type(buffer)}")
    try:
        memory = memory_at(buffer, nbytes)
    except IllegalAccessError as error:
        raise NcclError(4, str(error)) from error
    return memory, buffer - memory.ptr, buffer - memory.ptr + nbytes


def _same_size(sizes: list[int]) -> None:
    if len(set(sizes)) != 1:
        raise NcclError(5, f"the ranks say that they are {sizes}")


def _added(calls: list[tuple[str, int, np.dtype, np.ndarray]]) -> np.ndarray:
    """The sum, taken in the order of the ranks; half precision is added up in half precision, as NCCL does."""
    if len({call[:3] for call in calls}) != 1:
        words = "; ".join(f"rank {r}: {name} of {count} {dtype}" for r, (name, count, dtype, _) in enumerate(calls))
        raise NcclError(5, f"the ranks call different things, which a card waits for without end: {words}")
    with np.errstate(all="ignore"):
        total = calls[0][3].copy()
        for call in calls[1:]:
            total += call[3]
    return total
