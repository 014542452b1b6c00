"""How the work of an op is cut into chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from xpcnn.device import Array
from xpcnn.executors.inference.memory import Layout, Value
from xpcnn.executors.inference.rewrite import Op
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.inference.team import Chunk, Room

__all__ = ["LEAST", "PARTS", "Phases", "Sharing", "apart", "floor", "numbered", "parts_of_rows"]

PARTS = 8  # chunks of an op, where there is enough to do and few threads
ROW_PARTS = 16  # of an affine layer's rows at most, however many threads: their sums are added up in one order
_ROWS = 2**20  # bytes of an affine layer's weights from which a part of its rows is a chunk of its own
LEAST = 2**13  # multiply-adds of vectors, or moves of them, that a chunk should at least have

Phases = list[list[Chunk]]  # lists of chunks that do not depend on each other


@dataclass
class Sharing:
    """Ops of a network for `n` samples, whose values lie in an arena that begins at `arena`."""

    layout: Layout
    n: int
    arena: int
    host: Host
    packed: dict[Op, tuple[Array, Array]]
    parts: int = PARTS  # chunks of an op, where there is enough to do
    room: int = 0  # bytes of scratch that a thread needs
    alive: list[Array] = field(default_factory=list)  # what the kernels read besides

    def rows(self, rows: int, work: float) -> list[list[tuple[int, int, int]]]:
        """Rows of all pictures in about equal parts, as lists of (picture, first, rows). work: of one row."""
        return self.cut(rows, max(1, min(self.parts, int(self.n * rows * work / LEAST))))

    def cut(self, rows: int, parts: int) -> list[list[tuple[int, int, int]]]:
        """The same in so many parts, if there are as many rows."""
        total = self.n * rows
        parts = min(parts, total)
        cuts = [total * i // parts for i in range(parts + 1)]
        return [list(numbered(cuts[i], cuts[i + 1], rows)) for i in range(parts)]

    def scratch(self, size: int) -> Room:
        """Where a chunk has `size` bytes for itself."""
        self.room = max(self.room, size)
        return Room(0)

    def value(self, name: str) -> Value:
        """Where a value lies."""
        return self.layout.values[name]


def floor(op: Op) -> float:
    """What an op's results are cut at."""
    return 0.0 if op.relu else -math.inf


def numbered(first: int, last: int, rows: int) -> Iterator[tuple[int, int, int]]:
    """Rows first..last, numbered through all pictures, as (picture, first row, rows); so too panels of groups."""
    while first < last:
        image, row = divmod(first, rows)
        count = min(last - first, rows - row)
        yield image, row, count
        first += count


def parts_of_rows(D: int, M: int) -> list[slice]:
    """The rows of an affine layer's weights (D, M) in parts, which depend on nothing else: so no bit does."""
    parts = max(1, min(ROW_PARTS, 4 * D * M // _ROWS))
    return [slice(D * i // parts, D * (i + 1) // parts) for i in range(parts)]


def apart(M: int) -> int:
    """Floats from one sample's part of a sum of M to the next: so that they do not share sets of the cache."""
    return -(-M // 16) * 16 + 16
