"""What the ranks of the tests of communication do, each a word of the command line."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from tests.communication.processes import keep_errors
from xpcnn.communication import Lifeline, world
from xpcnn.communication.mpi import MpiCommunicator
from xpcnn.errors import DistributedError


def sums() -> None:
    ranks = world()
    assert world() is ranks
    n, all_ranks = ranks.size, range(ranks.size)
    assert ranks.all({"rank": ranks.rank, "long": "x" * 10_000 * ranks.rank}) == [
        {"rank": r, "long": "x" * 10_000 * r} for r in all_ranks
    ]
    assert ranks.from_first(("first", ranks.rank)) == ("first", 0)
    large = [np.full(100_000, 10.0**k * (ranks.rank + 1), dtype=np.float32) for k in range(3)]
    pending = []
    for k, a in enumerate(large):
        # Each rank begins these at a moment of its own between the others' sums.
        if k % n == ranks.rank:
            time.sleep(0.01)
        small = np.full((2, 3), float(ranks.rank))
        before = ranks.rank % 2 == 0
        if before:
            pending.append(ranks.start_sum(a))
        ranks.sum(small)
        if not before:
            pending.append(ranks.start_sum(a))
        assert (small == sum(all_ranks)).all()
        for p in pending:
            p.poke()
    for k, p in enumerate(pending):
        p.wait()
        assert (large[k] == np.float32(10.0**k * n * (n + 1) / 2)).all()
    assert (ranks.calls, ranks.bytes) == (6, 3 * (400_000 + 48))
    sys.stdout.write(f"rank {ranks.rank} of {n} is right\n")


def late() -> None:
    ranks = MpiCommunicator(limit=0.5)
    if ranks.rank == 1:
        time.sleep(3.0)
        os._exit(0)
    started = time.perf_counter()
    try:
        ranks.sum(np.zeros(3))
    except DistributedError as error:
        sys.stdout.write(f"{time.perf_counter() - started:.2f} {error}\n")
        sys.stdout.flush()
    ranks.abort(5)


def end(how: str, who: str) -> None:
    """Rank `who` ends by `how` within a Lifeline, while the others wait for it in a sum."""
    ranks = world()
    with Lifeline(ranks):
        ranks.all(None)
        if ranks.rank == int(who):
            time.sleep(0.2)
            sys.stdout.write(f"gone at {time.time()}\n")
            sys.stdout.flush()
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif how == "exit":
                os._exit(0)
            raise ValueError("this rank cannot go on")
        ranks.sum(np.zeros(3))


if __name__ == "__main__":
    keep_errors()
    {"sums": sums, "late": late, "end": end}[sys.argv[1]](*sys.argv[2:])
