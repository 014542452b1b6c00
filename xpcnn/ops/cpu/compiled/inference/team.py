"""A list of steps that several threads do together without returning to Python in between.

A step is a list of chunks that do not depend on each other; a chunk is a list of kernels with their arguments. Each
thread goes through the steps and takes chunks while there are any (an atomic counter tells the next one), then waits
until all chunks of the step are done. So a thread that comes late, or never, costs nobody more than its own work, and
which thread does a chunk changes no bit.

    state    a step: | chunks taken, 64 bytes | chunks done, 64 bytes |     shared by the threads, zeros at the start
    steps    a step: | how many chunks | the first one's address |          a table for each thread
    chunks   a chunk: | how many entries | the first one's address |
    entries  as in program.py
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpcnn.ops.cpu.compiled.arrays import NUMBERS_AT, Call
from xpcnn.ops.cpu.compiled.host import Host, this_host
from xpcnn.ops.cpu.compiled.native import compiled
from xpcnn.ops.cpu.compiled.program import ENTRY, write_entry

__all__ = ["Chunk", "Room", "Step", "Team", "team_ir"]

Chunk = list[Call]
Step = list[Chunk]

_STATE = 128
_PAIR = 16
_PATIENCE = 2000  # looks at the counter before the system may give the core to somebody else
_LINE = 64


class Room(NamedTuple):
    """Among a kernel's arguments: the address `offset` bytes into the scratch of whichever thread runs it."""

    offset: int


def _find_yield() -> tuple[Any, int]:
    """The system's function by which a thread lets others go first, and its address; 0 where there is none."""
    try:
        library = ctypes.CDLL("kernel32" if sys.platform == "win32" else None)
        function = library.SwitchToThread if sys.platform == "win32" else library.sched_yield
    except (OSError, AttributeError):
        return None, 0
    return function, ctypes.cast(function, ctypes.c_void_p).value or 0


_yield_function, _YIELD = _find_yield()


class Team:
    """Steps for `threads` threads, each with `room` bytes of scratch. Whoever makes it keeps the kernels' arrays alive.

    `reset`, then `work(thread)` by each thread; when one of them returns, all is done, but the others may still be
    on their way through steps that are finished: before the next `reset` they must have returned as well.
    """

    def __init__(self, steps: Sequence[Step], threads: int, room: int, host: Host | None = None) -> None:
        self.threads = threads if _YIELD else 1
        self._steps = [step for step in steps if step]
        self._host = this_host() if host is None else host
        self._state = _aligned(len(self._steps) * _STATE)
        self._rooms = [_aligned(room) for _ in range(self.threads)]
        self._kernel = compiled(team_ir(), ("ptr", "ptr", "i64", "ptr", "ptr"), self._host)
        self._tables = [self._table(room) for room in self._rooms]

    def _table(self, room: np.ndarray) -> tuple[np.ndarray, ...]:
        counts = [len(step) for step in self._steps]
        chunks = [chunk for step in self._steps for chunk in step]
        entries = np.zeros(sum(map(len, chunks)) * ENTRY, dtype=np.uint8)
        firsts, heads = np.zeros((len(chunks), 2), np.int64), np.zeros((len(counts), 2), np.int64)
        base, at = room.ctypes.data, 0
        for number, chunk in enumerate(chunks):
            firsts[number] = len(chunk), entries.ctypes.data + at
            for kernel, arguments in chunk:
                placed = [base + a.offset if isinstance(a, Room) else a for a in arguments]
                write_entry(entries, at, kernel, placed, self._host)
                at += ENTRY
        first = 0
        for number, count in enumerate(counts):
            heads[number] = count, firsts.ctypes.data + first * _PAIR
            first += count
        return heads, firsts, entries

    def reset(self) -> None:
        """Before every run, while no thread is at work."""
        self._state.fill(0)

    def work(self, thread: int) -> None:
        """Does its part; returns when all steps are done."""
        if self._steps:
            heads = self._tables[thread][0]
            self._kernel(self._state.ctypes.data, heads.ctypes.data, len(heads), _YIELD, NUMBERS_AT)


def _aligned(size: int) -> np.ndarray:
    room = np.zeros(size + 2 * _LINE, dtype=np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + size + _LINE]


def team_ir() -> str:
    """IR of `kernel(state, steps, count, yield)`; count is 1 or more. yield may be null for one thread alone."""
    return f"""define void @kernel(ptr %state0, ptr %steps, i64 %count, ptr %yield, ptr %numbers) nounwind {{
entry:
  br label %step
step:
  %s = phi i64 [ 0, %entry ], [ %s.next, %finished ]
  %state.at = mul i64 %s, {_STATE}
  %taken = getelementptr i8, ptr %state0, i64 %state.at
  %done = getelementptr i8, ptr %taken, i64 {_LINE}
  %step.at = mul i64 %s, {_PAIR}
  %head = getelementptr i8, ptr %steps, i64 %step.at
  %chunks = load i64, ptr %head, align 8
  %first.at = getelementptr i8, ptr %head, i64 8
  %first = load ptr, ptr %first.at, align 8
  br label %grab
grab:
  %mine = atomicrmw add ptr %taken, i64 1 acq_rel
  %any = icmp slt i64 %mine, %chunks
  br i1 %any, label %chunk, label %wait
chunk:
  %chunk.at = mul i64 %mine, {_PAIR}
  %pair = getelementptr i8, ptr %first, i64 %chunk.at
  %entries = load i64, ptr %pair, align 8
  %entry0.at = getelementptr i8, ptr %pair, i64 8
  %entry0 = load ptr, ptr %entry0.at, align 8
  br label %one
one:
  %e = phi i64 [ 0, %chunk ], [ %e.next, %one ]
  %entry.ptr = phi ptr [ %entry0, %chunk ], [ %entry.next, %one ]
  %thunk = load ptr, ptr %entry.ptr, align 8
  call void %thunk(ptr %entry.ptr, ptr %numbers)
  %entry.next = getelementptr i8, ptr %entry.ptr, i64 {ENTRY}
  %e.next = add nsw i64 %e, 1
  %more = icmp slt i64 %e.next, %entries
  br i1 %more, label %one, label %over
over:
  %before = atomicrmw add ptr %done, i64 1 acq_rel
  br label %grab
wait:
  %looks = phi i64 [ 0, %grab ], [ %looks.next, %look.again ], [ 0, %gave ]
  %now = load atomic i64, ptr %done acquire, align 8
  %all = icmp sge i64 %now, %chunks
  br i1 %all, label %finished, label %look.again.or.give
look.again.or.give:
  %looks.next = add nsw i64 %looks, 1
  %tired = icmp sgt i64 %looks.next, {_PATIENCE}
  br i1 %tired, label %give, label %look.again
look.again:
  br label %wait
give:
  %ignored = call i32 %yield()
  br label %gave
gave:
  br label %wait
finished:
  %s.next = add nsw i64 %s, 1
  %further = icmp slt i64 %s.next, %count
  br i1 %further, label %step, label %end
end:
  ret void
}}
"""
