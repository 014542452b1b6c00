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
from typing import TypeVar

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.eager import EagerExecutor, Visit
from xpcnn.executors.exchange import HandOver
from xpcnn.executors.gradients import Gradients, deliver
from xpcnn.executors.inference.choice import whole_network
from xpcnn.executors.norm_stage import Meeting
from xpcnn.executors.passage import Passage, pieces_of, room_for, run_stages
from xpcnn.executors.plan import piece_size, plan_segments, plan_stages, sample_sizes
from xpcnn.executors.prepared import Prepared
from xpcnn.executors.replay import Replays, sample_work
from xpcnn.executors.stages import Job, Workspace
from xpcnn.executors.tally import Tally
from xpcnn.graph import INPUT, Node
from xpcnn.layers.base import Context, Shape
from xpcnn.layers.loss import Loss
from xpcnn.ops.cpu.compiled import available
from xpcnn.threads import Crew, one_blas_thread, usual_threads

__all__ = ["CpuExecutor"]

R = TypeVar("R")

SHARE = 16e6  # multiply-adds that must be there for each thread: waking one takes as long as half of them
FEW = 16  # samples up to which one thread replays their way


class CpuExecutor(EagerExecutor):
    """Cuts batches into pieces over `threads` threads (None: one a core, or one where BLAS cannot be held to one).

    The pieces and their order depend on the batch's size and `threads` alone, so equal runs give equal bits. Layers
    that couple the samples in training (batch normalisation) make the threads meet and add up their parts.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        loss: Loss,
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
        self.predict_size = piece_size(self.stages, sizes, dtype.itemsize, backward=False)
        self._rooms: list[Workspace] = []  # those not in use
        self._replays: list[Replays] = []  # likewise
        self._last_prepared: Prepared | None = None
        self._work = sample_work(self.stages)
        self._crew = Crew(self.threads - 1)
        self._one_meeting = Lock()  # two passes whose threads meet would wait for each other's threads
        self._couples = any(stage.couples for stage in self.stages)
        self._whole = whole_network(self.nodes, input_shape, self.stages, self.predict_size, self._crew)

    def describe(self) -> str:
        lines = [f"cpu: {self.threads} thread(s)"]
        for segment in self.segments:
            size = "a thread's part of the batch" if segment.piece_size is None else f"{segment.piece_size} samples"
            lines.append(f"pieces of at most {size}:")
            for stage in segment.stages:
                lines.append(f"  {' + '.join(node.name for node in stage.nodes)}: {stage.describe()}")
        return "\n".join([*lines, *(self._whole.describe() if self._whole else [])])

    def predict(
        self, x: Array, train: bool = False, step: int = 0, visit: Visit | None = None, first: int = 0
    ) -> Array:
        if visit is not None or len(x) == 0 or (train and self._couples):
            return super().predict(x, train, step, visit, first)
        if self._whole is not None and not train:
            return self._whole.predict(x, max(1, min(self.threads, int(len(x) * self._work / SHARE))))
        threads = self.threads if train else self._threads_for(len(x))
        if threads == 1 and not train and len(x) <= min(FEW, self.predict_size):
            return self._replay(x)
        scores = room_for(len(x), self.nodes[-1].shape, x.dtype, self.stages[-1].channels_last)
        last = self.stages[-1].name

        def work(job: Job, share: slice) -> None:
            for piece in pieces_of(share, self.predict_size):
                now = replace(job, first=first + piece.start)
                scores[piece] = run_stages(self.stages, now, {INPUT: x[piece]})[0][last]

        self._each_share(work, len(x), train, False, step, threads)
        return scores

    def gradient(
        self,
        x: Array,
        t: Array,
        train: bool = True,
        step: int = 0,
        tally: Tally | None = None,
        part: slice | None = None,
    ) -> tuple[Array, Array]:
        if self._whole is not None:
            self._whole.doubtful = True  # the next thing is a step of the optimizer
        if len(x) == 0 or (self._couples and not train):
            return super().gradient(x, t, train, step, tally, part)
        N, whole, first = len(x), len(t), 0 if part is None else part.start
        hand = None if part is None else self._hand_over(min(self.threads, N))
        scores = room_for(N, self.nodes[-1].shape, x.dtype, self.stages[-1].channels_last)

        of_piece = self.loss.of_batch(t, self.nodes[-1].shape)

        def lose(piece: slice, y: Array) -> tuple[float, Array]:
            """The loss's part from these samples, and its gradient."""
            weight = (piece.stop - piece.start) / whole
            scores[piece] = y
            ctx = Context(train)
            loss = float(of_piece.forward_in(ctx, y, t[first + piece.start : first + piece.stop])) * weight
            return loss, of_piece.backward_in(ctx, weight)

        def work(job: Job, share: slice) -> tuple[float, Gradients]:
            grads: Gradients = {}

            def done(number: int) -> None:
                for stage in self.segments[number].stages:
                    if stage in job.sums:
                        grads.update(stage.gradients(job.sums[stage]))
                if hand is not None:
                    hand.done(len(self.segments) - 1 - number, job.thread, grads)

            def between() -> None:
                if hand is not None and job.thread == 0:
                    hand.hand_on()

            return Passage(self.segments, job, share).there_and_back(x[share], lose, done, between), grads

        parts = self._each_share(work, N, train, True, step, self.threads, part, whole)
        loss = sum(loss for loss, _ in parts)
        if hand is not None:
            right = int(self.loss.count_right(scores, t[part]) or 0)
            return self._counted(*hand.finish(loss, right, N / whole), scores, t, tally)
        deliver(self.nodes, [grads for _, grads in parts])
        mean = np.asarray(loss, dtype=x.dtype)
        if tally is not None:
            tally.add(mean, self.loss.count_right(scores, t), N)
        return mean, scores

    def _hand_over(self, threads: int) -> HandOver:
        assert self.exchange is not None
        back = [[n.name for stage in s.stages[::-1] for n in stage.nodes[::-1]] for s in self.segments[::-1]]
        return HandOver(self.exchange, self.nodes, threads, back)

    def _prepared(self) -> Prepared:
        """For prediction: what the stages prepared the last time, anew where their parameters have changed."""
        known = self._last_prepared
        if known is None or not known.holds():
            known = self._last_prepared = Prepared(self.stages, known)
        return known

    def _threads_for(self, N: int) -> int:
        """How many threads are worth their waking for the prediction of N samples."""
        return max(1, min(self.threads, N, int(N * self._work / SHARE)))

    def _replay(self, x: Array) -> Array:
        """Scores of a few samples, by the caller alone."""
        prepared = self._prepared()
        try:
            replays = self._replays.pop()
        except IndexError:
            replays = Replays(self.stages)
        try:
            if len(x) == 1:  # a single sample has nobody to share BLAS with, and no time to set it
                return replays.predict(prepared, x)
            with one_blas_thread():
                return replays.predict(prepared, x)
        finally:
            self._replays.append(replays)

    def _each_share(
        self,
        work: Callable[[Job, slice], R],
        N: int,
        train: bool,
        keep: bool,
        step: int,
        threads: int,
        part: slice | None = None,
        whole: int = 0,
    ) -> list[R]:
        """What `work` gives for each thread's part of the batch; the parts are as equal as can be.

        part: which samples these N are of a batch of `whole` that several processes share.
        """
        together = part is not None and self.across is not None
        first, samples = (0 if part is None else part.start), (whole if together else N)
        threads = min(threads, N)
        shares = [slice(N * i // threads, N * (i + 1) // threads) for i in range(threads)]
        prepared = {stage: stage.prepare(True) for stage in self.stages} if keep else self._prepared().by_stage
        meeting = Meeting(threads, self.across if together else None)

        def start(thread: int) -> R:
            # list.pop and append are atomic: two passes at once never get one workspace.
            try:
                room = self._rooms.pop()
            except IndexError:
                room = Workspace()
            share = shares[thread]
            meet = partial(meeting.total, thread)
            try:
                at = first + share.start
                return work(Job(train, keep, step, self.seed, at, 0, room, prepared, samples, thread, meet), share)
            except BrokenBarrierError:
                raise
            except BaseException:
                meeting.cancel()
                raise
            finally:
                self._rooms.append(room)

        jobs = [partial(start, thread) for thread in range(threads)]
        with one_blas_thread():
            if self._couples and train:
                with self._one_meeting:
                    return self._crew.run(jobs, ignore=BrokenBarrierError)
            return self._crew.run(jobs)
