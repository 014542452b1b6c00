"""The CPU's way through a network: each thread takes its own pieces of the batch forward and backward.

A piece is small enough that what one stage hands to the next is still in the cache, and with BLAS held to one thread
the cores never wait for each other inside a layer. The planner joins layers into stages and stages into segments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from threading import BrokenBarrierError, Lock
from typing import Any, TypeVar

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.eager import EagerExecutor, Gradients, Visit, deliver
from xpcnn.executors.norm_stage import Meeting
from xpcnn.executors.passage import Passage, pieces_of, room_for, run_stages
from xpcnn.executors.plan import piece_size, plan_segments, plan_stages, sample_sizes
from xpcnn.executors.stages import Job, Stage, Workspace
from xpcnn.executors.tally import Tally
from xpcnn.graph import INPUT, Node
from xpcnn.layers.base import Context, Shape
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.ops.cpu.compiled import available
from xpcnn.threads import Crew, one_blas_thread, usual_threads

__all__ = ["CpuExecutor"]

R = TypeVar("R")


class CpuExecutor(EagerExecutor):
    """Cuts batches into pieces over `threads` threads (None: one a core, or one where BLAS cannot be held to one).

    The pieces and their order depend on the batch's size and `threads` alone, so equal runs give equal bits. Layers
    that couple the samples in training (batch normalisation) make the threads meet and add up their parts.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        loss: SoftmaxWithLoss,
        seed: int,
        input_shape: Shape,
        dtype: np.dtype,
        threads: int | None = None,
    ) -> None:
        super().__init__(nodes, loss, seed)
        self.threads = usual_threads() if threads is None else threads
        self.stages = plan_stages(self.nodes, input_shape, compiled=dtype == np.float32 and available())
        sizes = sample_sizes(self.nodes, math.prod(input_shape))
        self.segments = plan_segments(self.stages, sizes, dtype.itemsize)
        self.predict_size = piece_size(self.stages, sizes, dtype.itemsize)
        self._rooms: list[Workspace] = []  # those not in use
        self._last_prepared: dict[Stage, tuple[tuple[Array, ...], Any]] = {}
        self._crew = Crew(self.threads - 1)
        self._one_meeting = Lock()  # two passes whose threads meet would wait for each other's threads
        self._couples = any(stage.couples for stage in self.stages)

    def describe(self) -> str:
        lines = [f"cpu: {self.threads} thread(s)"]
        for segment in self.segments:
            size = "a thread's part of the batch" if segment.piece_size is None else f"{segment.piece_size} samples"
            lines.append(f"pieces of at most {size}:")
            for stage in segment.stages:
                lines.append(f"  {' + '.join(node.name for node in stage.nodes)}: {stage.describe()}")
        return "\n".join(lines)

    def predict(
        self, x: Array, train: bool = False, step: int = 0, visit: Visit | None = None, first: int = 0
    ) -> Array:
        if visit is not None or len(x) == 0 or (train and self._couples):
            return super().predict(x, train, step, visit, first)
        scores = room_for(len(x), self.nodes[-1].shape, x.dtype, self.stages[-1].channels_last)
        last = self.stages[-1].name

        def work(job: Job, share: slice) -> None:
            for piece in pieces_of(share, self.predict_size):
                now = replace(job, first=first + piece.start)
                scores[piece] = run_stages(self.stages, now, {INPUT: x[piece]})[0][last]

        self._each_share(work, len(x), train, False, step)
        return scores

    def gradient(
        self, x: Array, t: Array, train: bool = True, step: int = 0, tally: Tally | None = None
    ) -> tuple[Array, Array]:
        if len(x) == 0 or (self._couples and not train):
            return super().gradient(x, t, train, step, tally)
        N = len(x)
        scores = np.empty((N, *self.nodes[-1].shape), dtype=x.dtype)

        def lose(piece: slice, y: Array) -> tuple[float, Array]:
            """The loss's part from these samples, and its gradient."""
            part = (piece.stop - piece.start) / N
            scores[piece] = y
            ctx = Context(train)
            loss = float(self.loss.forward_in(ctx, y, t[piece])) * part
            return loss, self.loss.backward_in(ctx, part)

        def work(job: Job, share: slice) -> tuple[float, Gradients]:
            loss = Passage(self.segments, job, share).there_and_back(x[share], lose)
            grads: Gradients = {}
            for stage, sums in job.sums.items():
                grads.update(stage.gradients(sums))
            return loss, grads

        done = self._each_share(work, N, train, True, step)
        deliver(self.nodes, [grads for _, grads in done])
        loss = np.asarray(sum(loss for loss, _ in done), dtype=x.dtype)
        if tally is not None:
            tally.add(loss, scores, t)
        return loss, scores

    def _prepared(self) -> dict[Stage, Any]:
        """For prediction: what the stages prepared the last time, anew only where their parameters have changed."""
        for stage in self.stages:
            watched = stage.watched()
            seen, _ = self._last_prepared.get(stage, (None, None))
            if seen is None or not all(np.array_equal(a, b) for a, b in zip(watched, seen, strict=True)):
                # Copies before preparing: a change in between is then seen the next time.
                copies = tuple(a.copy() for a in watched)
                self._last_prepared[stage] = copies, stage.prepare(False)
        return {stage: self._last_prepared[stage][1] for stage in self.stages}

    def _each_share(self, work: Callable[[Job, slice], R], N: int, train: bool, keep: bool, step: int) -> list[R]:
        """What `work` gives for each thread's part of the batch; the parts are as equal as can be."""
        threads = min(self.threads, N)
        shares = [slice(N * i // threads, N * (i + 1) // threads) for i in range(threads)]
        prepared = {stage: stage.prepare(True) for stage in self.stages} if keep else self._prepared()
        meeting = Meeting(threads)

        def start(thread: int) -> R:
            # list.pop and append are atomic: two passes at once never get one workspace.
            try:
                room = self._rooms.pop()
            except IndexError:
                room = Workspace()
            share = shares[thread]
            meet = partial(meeting.total, thread)
            try:
                return work(Job(train, keep, step, self.seed, share.start, 0, room, prepared, N, thread, meet), share)
            except BrokenBarrierError:
                raise
            except BaseException:
                meeting.cancel()
                raise
            finally:
                self._rooms.append(room)

        jobs = [partial(start, thread) for thread in range(threads)]
        if threads == 1 and N == 1:
            return [jobs[0]()]  # a single sample has nobody to share BLAS with, and no time to set it
        with one_blas_thread():
            if self._couples and train:
                with self._one_meeting:
                    return self._crew.run(jobs, ignore=BrokenBarrierError)
            return self._crew.run(jobs)
