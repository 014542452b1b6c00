"""A few samples predicted by one thread: the way through the stages is remembered as a list of calls and replayed.

For one picture, finding out what to call with what would take as long as the calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import cast

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.prepared import Prepared
from xpcnn.executors.stages import Job, Stage, Workspace
from xpcnn.graph import INPUT, Node
from xpcnn.ops.cpu.compiled.arrays import Bound
from xpcnn.ops.cpu.compiled.program import joined

__all__ = ["Replays", "sample_work"]


def sample_work(stages: Sequence[Stage]) -> float:
    """About how long a sample takes, in multiply-adds of a compiled kernel."""
    return sum(stage.effort * sum(map(_multiply_adds, stage.nodes)) for stage in stages)


def _multiply_adds(node: Node) -> int:
    """A layer without weights counts as some for each output."""
    W = node.layer.params.get("W")
    return 4 * math.prod(node.shape) if W is None else int(W.size) * math.prod(node.shape[1:])


class _Replay:
    """The calls that lead from `x` to `scores`, on the memory of one workspace, with what was prepared."""

    def __init__(self, stages: Sequence[Stage], prepared: Prepared, room: Workspace, x: Array) -> None:
        job = Job(False, False, 0, 0, 0, 0, room, prepared.by_stage, len(x))
        takers = [stage for stage in stages if INPUT in stage.inputs]
        place = takers[0].place_for(job, len(x)) if len(takers) == 1 else None
        self.x = x.copy() if place is None else place
        np.copyto(self.x, x)
        values = {INPUT: self.x}
        calls: list[Callable[[], object]] = []
        for stage in stages:
            values[stage.name], more = stage.bind(job, *(values[name] for name in stage.inputs))
            calls += more
        self.scores = values[stages[-1].name]
        self.calls = _together(calls)

    def __call__(self, x: Array) -> Array:
        """The scores, in memory of their own."""
        np.copyto(self.x, x)
        for call in self.calls:
            call()
        return self.scores.copy("K")


def _together(calls: Sequence[Callable[[], object]]) -> list[Callable[[], object]]:
    """The same with neighbouring kernels in one call."""
    found: list[Callable[[], object]] = []
    for native, group in groupby(calls, lambda call: isinstance(call, Bound)):
        some = list(group)
        found += [joined(cast("list[Bound]", some))] if native else some
    return found


class Replays:
    """One thread's replays, by the number of samples, and their memory. To be used by one thread at a time."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = stages
        self._room = Workspace()
        self._prepared: Prepared | None = None
        self._known: dict[int, _Replay] = {}

    def predict(self, prepared: Prepared, x: Array) -> Array:
        """Scores of x, (n, ...) with few samples."""
        if self._prepared is not prepared:
            self._prepared = prepared
            self._known.clear()
        replay = self._known.get(len(x)) or self._record(prepared, x)
        return replay(x)

    def _record(self, prepared: Prepared, x: Array) -> _Replay:
        while True:
            before = self._room.replaced
            replay = _Replay(self.stages, prepared, self._room, x)
            if self._room.replaced == before:
                self._known[len(x)] = replay
                return replay
            self._known.clear()  # they, and this one in part, work on buffers that have been replaced
