"""One thread's passage through the segments of a network with its part of a batch: there, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.plan import Segment
from xpcnn.executors.stages import Job, Stage
from xpcnn.graph import INPUT

__all__ = ["Passage", "pieces_of", "room_for", "run_stages", "run_stages_back"]

Values = dict[str, Array]  # by the name of the node that gave them, or "input"


class Passage:
    """All pieces of `share` go through one segment before the next, so that segments can differ in their pieces.

    The last segment takes each piece to the loss and back at once; then the others follow in reverse. Values and
    gradients between segments are whole for the share.
    """

    def __init__(self, segments: list[Segment], job: Job, share: slice) -> None:
        self.segments, self.job, self.share = segments, job, share
        self.length = share.stop - share.start
        self._before = job.first - share.start  # samples of the batch that another process has, before x's first
        self.values: Values = {}
        self.dvalues: Values = {}
        self._begun_by: dict[str, Segment] = {}  # which segment first wrote a gradient: only others add to it

    def there_and_back(
        self,
        x: Array,
        lose: Callable[[slice, Array], tuple[float, Array]],
        done: Callable[[int], None] = lambda number: None,
        between: Callable[[], None] = lambda: None,
    ) -> float:
        """Sum of the losses that `lose(piece, scores) -> (loss, gradient)` says; parameter gradients go to job.sums.

        done: told the number of each segment that has been there and back, the last one first. between: called after
        each piece on the way back through the others.
        """
        self.values[INPUT] = x
        kept = [self._forward(segment) for segment in self.segments[:-1]]
        loss = self._turn(self.segments[-1], lose)
        done(len(kept))
        for number, segment, saved in zip(
            reversed(range(len(kept))), reversed(self.segments[:-1]), reversed(kept), strict=True
        ):
            for here, job, states in saved:
                douts = {name: self.dvalues[name][here] for name in segment.outputs if name in self.dvalues}
                self._give_back(segment, here, run_stages_back(segment.stages, job, states, douts))
                between()
            done(number)
        return loss

    def _pieces(self, segment: Segment) -> list[slice]:
        return pieces_of(self.share, segment.piece_size or self.length)

    def _here(self, piece: slice) -> slice:
        return slice(piece.start - self.share.start, piece.stop - self.share.start)

    def _inputs(self, segment: Segment, here: slice) -> Values:
        return {name: self.values[name][here] for name in segment.inputs}

    def _forward(self, segment: Segment) -> list[tuple[slice, Job, list[Any]]]:
        saved = []
        for number, piece in enumerate(self._pieces(segment)):
            here, job = self._here(piece), replace(self.job, first=self._before + piece.start, piece=number)
            values, states = run_stages(segment.stages, job, self._inputs(segment, here))
            for name in segment.outputs:
                if name not in self.values:
                    self.values[name] = self._like("value", name, values[name])
                self.values[name][here] = values[name]
            saved.append((here, job, states))
        return saved

    def _turn(self, segment: Segment, lose: Callable[[slice, Array], tuple[float, Array]]) -> float:
        total = 0.0
        last = segment.stages[-1].name
        for piece in self._pieces(segment):
            here, job = self._here(piece), replace(self.job, first=self._before + piece.start)
            values, states = run_stages(segment.stages, job, self._inputs(segment, here))
            loss, dout = lose(piece, values[last])
            total += loss
            self._give_back(segment, here, run_stages_back(segment.stages, job, states, {last: dout}))
        return total

    def _like(self, what: str, name: str, part: Array) -> Array:
        """Room for a share's values, laid out in memory as those of its pieces are; the same room in every pass."""
        last = part.ndim == 4 and part.transpose(0, 2, 3, 1).flags.c_contiguous
        laid = part.transpose(0, 2, 3, 1) if last else part
        room = self.job.room.get((what, name), (self.length, *laid.shape[1:]), part.dtype)
        return room.transpose(0, 3, 1, 2) if last else room

    def _give_back(self, segment: Segment, here: slice, dvalues: Values) -> None:
        """Takes over the gradients of a segment's inputs for one piece."""
        for name, d in dvalues.items():
            if name not in self.dvalues:
                self.dvalues[name] = self._like("gradient", name, d)
                self._begun_by[name] = segment
            if self._begun_by[name] is segment:
                self.dvalues[name][here] = d
            else:
                self.dvalues[name][here] += d


def pieces_of(share: slice, size: int) -> list[slice]:
    """`share` cut into as few pieces of at most `size` as will do, as equal as can be."""
    length = share.stop - share.start
    count = -(-length // size)
    cuts = [share.start + length * i // count for i in range(count + 1)]
    return [slice(cuts[i], cuts[i + 1]) for i in range(count)]


def room_for(N: int, shape: tuple[int, ...], dtype: Any, channels_last: bool) -> Array:
    """An array (N, *shape), of pictures laid out channels-last in memory if asked for."""
    if channels_last and len(shape) == 3:
        C, H, W = shape
        return np.empty((N, H, W, C), dtype=dtype).transpose(0, 3, 1, 2)
    return np.empty((N, *shape), dtype=dtype)


def run_stages(stages: list[Stage], job: Job, values: Values) -> tuple[Values, list[Any]]:
    """All stages' outputs beside the given values, and what each saved for its backward."""
    values = dict(values)
    saved: list[Any] = []
    for stage in stages:
        values[stage.name], state = stage.forward(job, *(values[name] for name in stage.inputs))
        saved.append(state if job.keep else None)
    return values, saved


def run_stages_back(stages: list[Stage], job: Job, saved: list[Any], douts: Values) -> Values:
    """The gradients of what the stages took from outside, from those of what others took from them."""
    douts = dict(douts)
    for stage, state in zip(reversed(stages), reversed(saved), strict=True):
        dout = douts.pop(stage.name, None)
        if dout is None or not (stage.needs_dx or stage.learns):
            continue  # neither it nor anything before it learns
        for name, d in zip(stage.inputs, stage.backward(job, state, dout), strict=True):
            if d is not None and name != INPUT:
                # A sum, not +=: one array may have been handed to several branches.
                douts[name] = douts[name] + d if name in douts else d
    return douts
