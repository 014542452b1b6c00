"""What processes that train together need of each other, whatever carries it; and the process that is alone."""

from __future__ import annotations

import os
import socket
from typing import Any

from xpcnn.device import Array

__all__ = ["LIMIT", "Alone", "Communicator", "Pending"]

LIMIT = 300.0  # seconds that one waits for the others: an evaluation or a checkpoint of theirs lies between two sums


class Pending:
    """A sum under way: the array must be left alone until `wait` has returned."""

    def poke(self) -> None:
        """Lets the sum get on, where nobody else drives it; returns at once."""

    def wait(self) -> None:
        """Returns when the sum is there. Raises DistributedError where the others do not come in time."""


class Communicator:
    """One process's view of all that train together.

    rank: 0 to size - 1. local_rank, local_size: the same among those on one host. name: how sums travel. host: of
    this process. Every process calls the same methods in the same order, with arrays of the same shape and dtype;
    only `start_sum` has an order of its own, so that it may be mixed with the others in any way.
    """

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1
    name = "alone"

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self.calls = 0  # sums begun
        self.bytes = 0  # that they were over
        self.seconds = 0.0  # spent waiting for them
        self.watched = False  # whether a Lifeline is open over it

    def start_sum(self, a: Array) -> Pending:
        """Begins to replace `a`, C-contiguous, by the sum of all processes' arrays."""
        raise NotImplementedError

    def sum(self, a: Array) -> None:
        """Replaces `a`, C-contiguous, by the sum of all processes' arrays."""
        raise NotImplementedError

    def all(self, value: Any, limit: float | None = LIMIT) -> list[Any]:
        """Every process's value, by rank; small things that can be pickled. limit: seconds to wait (None: for ever)."""
        raise NotImplementedError

    def from_first(self, value: Any, limit: float | None = LIMIT) -> Any:
        """Rank 0's value, to all."""
        return self.all(value if self.rank == 0 else None, limit)[0]

    def give_up(self) -> None:
        """Says that something has gone wrong, so that this process's end does not wait for the others' ends."""

    def abort(self, code: int) -> None:
        """Ends all processes at once with this exit code."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} rank {self.rank} of {self.size}>"


class Alone(Communicator):
    """A single process: sums are what they are."""

    def start_sum(self, a: Array) -> Pending:
        self.calls += 1
        self.bytes += int(a.nbytes)
        return Pending()

    def sum(self, a: Array) -> None:
        self.start_sum(a).wait()

    def all(self, value: Any, limit: float | None = LIMIT) -> list[Any]:
        return [value]

    def abort(self, code: int) -> None:
        os._exit(code)
