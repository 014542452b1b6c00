"""Who of several processes takes what: of a batch's samples, and of a host's cores."""

from __future__ import annotations

import os
from collections.abc import Callable

from xpcnn.communication import Communicator
from xpcnn.threads import usual_threads

__all__ = ["cores_for_one", "part_of"]


def part_of(rank: int, ranks: int) -> Callable[[int], slice]:
    """Which samples of a batch of so many are this rank's: consecutive ones, as many as another's or one more.

    A batch of fewer samples than ranks leaves some with none.
    """
    return lambda N: slice(N * rank // ranks, N * (rank + 1) // ranks)


def cores_for_one(communicator: Communicator) -> int:
    """Threads for this rank, so that all those that may run on the same cores of one host share them equally."""
    mine = _cores()
    everyone = communicator.all((communicator.host, mine))
    sharing = sum(host == communicator.host and not mine.isdisjoint(cores) for host, cores in everyone)
    return max(1, usual_threads() // max(1, int(sharing)))


def _cores() -> frozenset[int]:
    """Those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
