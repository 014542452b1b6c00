"""The CPU's way through a network: each thread takes its own pieces of the batch forward and backward.

A piece is small enough that what one stage hands to the next is still in the cache, and with BLAS held to one thread
the cores never wait for each other inside a layer. The planner joins layers into stages and stages into segments; a
thread takes all its pieces through one segment before the next, and back in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.eager import EagerExecutor, Gradients, Visit, deliver
from xpcnn.executors.plan import plan_segments, plan_stages, sample_sizes
from xpcnn.executors.stages import Job, Stage, Workspace
from xpcnn.executors.threads import available_cores, one_blas_thread, run_together
from xpcnn.graph import INPUT, Node
from xpcnn.layers.base import Context, Shape
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.ops.cpu.compiled import available

__all__ = ["CpuExecutor"]


class CpuExecutor(EagerExecutor):
    """Cuts batches into pieces over `threads` threads (None: as many as there are cores to use).

    The pieces and their order depend on the batch's size and `threads` alone, so equal runs give equal bits. A
    network with a layer that couples the samples in training (batch normalisation) is trained whole, as by the
    EagerExecutor, with BLAS's own threads.
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
        self.threads = available_cores() if threads is None else threads
        self.coupled = any(node.layer.needs_whole_batch for node in self.nodes)
        self.stages = plan_stages(self.nodes, input_shape, compiled=dtype == np.float32 and available())
        self.segments = plan_segments(self.stages, sample_sizes(self.nodes, math.prod(input_shape)), dtype.itemsize)
        self._rooms: list[Workspace] = []  # those not in use

    def describe(self) -> str:
        lines = [f"cpu: {self.threads} thread(s)"]
        if self.coupled:
            lines.append("training: the whole batch at a time, layer after layer")
        for segment in self.segments:
            lines.append(f"pieces of at most {segment.piece_size} samples:")
            for stage in segment.stages:
                lines.append(f"  {' + '.join(node.name for node in stage.nodes)}: {stage.describe()}")
        return "\n".join(lines)

    # -- the two things asked of an executor -------------------------------------------------------------------

    def predict(
        self, x: Array, train: bool = False, step: int = 0, visit: Visit | None = None, first: int = 0
    ) -> Array:
        if visit is not None or len(x) == 0 or (train and self.coupled):
            return super().predict(x, train, step, visit, first)
        scores = np.empty((len(x), *self.nodes[-1].shape), dtype=x.dtype)
        smallest = min(segment.piece_size for segment in self.segments)

        def work(job: Job, share: slice) -> None:
            for piece in _pieces(share, smallest):
                value = x[piece]
                for segment in self.segments:
                    value = _forward(segment.stages, _at(job, first + piece.start, 0), value)[0]
                scores[piece] = value

        self._each_share(work, len(x), train, False, step)
        return scores

    def gradient(self, x: Array, t: Array, train: bool = True, step: int = 0) -> tuple[Array, Array]:
        if len(x) == 0 or (train and self.coupled):
            return super().gradient(x, t, train, step)
        N = len(x)
        scores = np.empty((N, *self.nodes[-1].shape), dtype=x.dtype)

        def lose(share: slice, y: Array) -> tuple[float, Array]:
            """The loss's part from these samples, and its gradient."""
            part = (share.stop - share.start) / N
            scores[share] = y
            ctx = Context(train)
            loss = float(self.loss.forward_in(ctx, y, t[share])) * part
            return loss, self.loss.backward_in(ctx, part)

        def work(job: Job, share: slice) -> tuple[float, Gradients]:
            losses: list[float] = []

            def through(level: int, values: Array, share: slice, pieces: list[slice]) -> Array | None:
                """Takes `share`, whose values at this level are given, to the end and back; returns their gradient."""
                segment, last = self.segments[level], level == len(self.segments) - 1
                start = share.start
                dvalues: Array | None = None
                outputs: Array | None = None
                saved = []
                for number, piece in enumerate(pieces):
                    here = slice(piece.start - start, piece.stop - start)
                    now = _at(job, piece.start, 0 if last else number)
                    y, kept = _forward(segment.stages, now, values[here])
                    if last:
                        loss, dout = lose(piece, y)
                        losses.append(loss)
                        dvalues = _collect(dvalues, here, len(values), _backward(segment.stages, now, kept, dout))
                    else:
                        outputs = _collect(outputs, here, len(values), y)
                        saved.append((here, now, kept))
                if last:
                    return dvalues
                assert outputs is not None
                following = self.segments[level + 1].piece_size
                douts = through(level + 1, outputs, share, _pieces(share, following))
                for here, now, kept in saved:
                    assert douts is not None
                    dvalues = _collect(dvalues, here, len(values), _backward(segment.stages, now, kept, douts[here]))
                return dvalues

            through(0, x[share], share, _pieces(share, self.segments[0].piece_size))
            grads: Gradients = {}
            for stage, sums in job.sums.items():
                grads.update(stage.gradients(sums))
            return sum(losses), grads

        done = self._each_share(work, N, train, True, step)
        deliver(self.nodes, [grads for _, grads in done])
        return np.asarray(sum(loss for loss, _ in done), dtype=x.dtype), scores

    # -- threads -----------------------------------------------------------------------------------------------

    def _shares(self, N: int) -> list[slice]:
        """The part of the batch that each thread takes, as equal as can be."""
        threads = max(1, min(self.threads, N))
        return [slice(N * i // threads, N * (i + 1) // threads) for i in range(threads)]

    def _each_share(self, work: Any, N: int, train: bool, keep: bool, step: int) -> list[Any]:
        prepared = {stage: stage.prepare() for stage in self.stages}

        def start(share: slice) -> Any:
            # list.pop and append are atomic: two calls at once never get one workspace.
            try:
                room = self._rooms.pop()
            except IndexError:
                room = Workspace()
            try:
                return work(Job(train, keep, step, self.seed, share.start, 0, room, prepared), share)
            finally:
                self._rooms.append(room)

        with one_blas_thread():
            return run_together([lambda share=share: start(share) for share in self._shares(N)])  # type: ignore[misc]


def _pieces(share: slice, size: int) -> list[slice]:
    """`share` cut into as few pieces of at most `size` as will do, as equal as can be."""
    length = share.stop - share.start
    count = -(-length // size)
    cuts = [share.start + length * i // count for i in range(count + 1)]
    return [slice(cuts[i], cuts[i + 1]) for i in range(count)]


def _at(job: Job, first: int, piece: int) -> Job:
    """The same job for another piece; memory, preparations and sums are shared."""
    return Job(job.train, job.keep, job.step, job.seed, first, piece, job.room, job.prepared, job.sums)


def _collect(whole: Array | None, here: slice, length: int, part: Array | None) -> Array | None:
    """Puts a piece's values into their place among the share's, in memory laid out as the piece's are."""
    if part is None:
        return None
    if whole is None:
        if part.ndim == 4 and part.transpose(0, 2, 3, 1).flags.c_contiguous:
            _, C, H, W = part.shape
            whole = np.empty((length, H, W, C), dtype=part.dtype).transpose(0, 3, 1, 2)
        else:
            whole = np.empty((length, *part.shape[1:]), dtype=part.dtype)
    whole[here] = part
    return whole


def _forward(stages: list[Stage], job: Job, x: Array) -> tuple[Array, list[Any]]:
    """The last stage's output, and what each stage saved. A segment's stages take its input by any outside name."""
    inside = {stage.name for stage in stages}
    values: dict[str, Array] = {}
    saved: list[Any] = []
    y = x
    for stage in stages:
        y, kept = stage.forward(job, *(values[name] if name in inside else x for name in stage.inputs))
        values[stage.name] = y
        saved.append(kept if job.keep else None)
    return y, saved


def _backward(stages: list[Stage], job: Job, saved: list[Any], dout: Array) -> Array | None:
    """The gradient of the segment's input; None where nobody asks for it."""
    inside = {stage.name for stage in stages}
    douts: dict[str, Array] = {stages[-1].name: dout}
    dx: Array | None = None
    for stage, kept in zip(reversed(stages), reversed(saved), strict=True):
        if not stage.needs_dx and not stage.learns:
            continue
        for name, d in zip(stage.inputs, stage.backward(job, kept, douts.pop(stage.name)), strict=True):
            if d is None or name == INPUT:
                continue
            if name in inside:
                douts[name] = douts[name] + d if name in douts else d
            else:
                dx = d if dx is None else dx + d
    return dx
