"""Processes that are threads, one of which runs at a time: what MPI does between processes, for tests of GPU sums."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fake_cupy.nccl import Meeting, ranks
from xpcnn.communication.communicator import LIMIT, Communicator, Pending

__all__ = ["ThreadCommunicator", "train_together"]


class ThreadCommunicator(Communicator):
    """One thread's end. log: the sums begun, (bytes, dtype), in their order. on_device: takes the double's arrays."""

    name = "threads"

    def __init__(self, rank: int, meetings: tuple[Meeting, Meeting], on_device: bool = False) -> None:
        super().__init__()
        self.rank = self.local_rank = rank
        self.size = self.local_size = meetings[0].size
        self.on_device = on_device
        self.log: list[tuple[int, str]] = []
        self._meeting, self._beside = meetings

    def start_sum(self, a: Any) -> Pending:
        return _Sum(self, self._beside, self._host(a))

    def sum(self, a: Any) -> None:
        _Sum(self, self._meeting, self._host(a)).wait()

    def all(self, value: Any, limit: float | None = LIMIT) -> list[Any]:
        return self._meeting.meet(self.rank, value, copy.deepcopy)

    def _host(self, a: Any) -> np.ndarray:
        if not isinstance(a, np.ndarray):
            assert self.on_device, f"{type(a)} handed to an MPI that only takes the host's arrays"
            a = a._a
        assert a.flags.c_contiguous
        self.log.append((a.nbytes, a.dtype.name))
        return a


class _Sum(Pending):
    """Read when begun, as MPI may; the sum is there after `wait`, not before."""

    def __init__(self, owner: ThreadCommunicator, meeting: Meeting, a: np.ndarray) -> None:
        self._a = a
        self._total = meeting.meet(owner.rank, a.copy(), lambda parts: np.sum(parts, axis=0, dtype=a.dtype))
        a.view(np.uint8)[...] = 0xAB  # nobody may look at it yet

    def wait(self) -> None:
        self._a[...] = self._total


def train_together(size: int, work: Callable[[ThreadCommunicator], Any], on_device: bool = False) -> list[Any]:
    """What `work` returns for each of `size` processes."""
    meetings = Meeting(size), Meeting(size)
    return ranks(size, lambda rank: work(ThreadCommunicator(rank, meetings, on_device)))
