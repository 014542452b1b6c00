"""Gradients summed over GPUs while the backward pass still runs, in the order of streams: the host waits for nothing.

The figures of a step stay on the device, so whether somebody wants to stop is asked on the host, every few steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xpcnn.communication import Communicator, Pending
from xpcnn.communication.on_device import OnDevice
from xpcnn.device import Array, asnumpy, get_array_module
from xpcnn.executors.cuda_stage import CudaStage
from xpcnn.executors.exchange import BUCKET
from xpcnn.flat import FlatArrays

__all__ = ["ASK_EVERY", "CudaExchange"]

ASK_EVERY = 8  # steps from one question who wants to stop to the next


@dataclass
class _Bucket:
    """part: a slice of the gradients. stage: the last stage on the way back that adds to it, by its place."""

    part: Array
    stage: int


class CudaExchange:
    """Sums `flat.grads` over all processes, in buckets that are slices of it, from its end to its front.

    stages: in the order in which they run; a backward pass is done with the last one first, and gradients lie in the
    order of the stages. Each step has one order of sums, the same in every process: loss and right answers, the
    buckets, and the running statistics where each process makes its own (`average_state`; they become the mean over
    all samples). A process may begin a sum late, as one whose memory makes it go in pieces does, but never out of turn.

    stop: set it where this process wants to stop. It reads True, in all processes after the same step, once any one
    has been found to want it: the hosts ask each other every ASK_EVERY steps, and nobody waits for a device.
    """

    def __init__(
        self,
        flat: FlatArrays,
        stages: Sequence[CudaStage],
        communicator: Communicator,
        average_state: bool = False,
        bucket: int = BUCKET,
    ) -> None:
        self.communicator, self.flat = communicator, flat
        self._wanted = self._agreed = False
        self._passes = 0
        self._buckets = _cut(flat, stages, bucket)
        self._states = _join_states(flat) if average_state else None
        self._started: list[tuple[Sequence[Array], list[Pending]]] = []
        self._known: list[list[np.ndarray]] = []  # sums of this step made before it had to be begun anew
        self._restored: list[tuple[Sequence[Array], list[np.ndarray]]] = []

    @property
    def stop(self) -> bool:
        return self._agreed

    @stop.setter
    def stop(self, wanted: bool) -> None:
        self._wanted = bool(wanted)

    @property
    def buckets(self) -> list[int]:
        """Bytes of each bucket, in the order in which they go."""
        return [int(b.part.nbytes) for b in self._buckets]

    def begin(self) -> None:
        """Before a step."""
        self._known = []
        self._reset()
        self._passes += 1
        self._agreed = False
        if self.communicator.size == 1 or self._passes % ASK_EVERY == 0:
            wanting = np.array([float(self._wanted)])
            self.communicator.sum(wanting)  # through the hosts
            self._agreed = bool(wanting[0] > 0.0)
            if isinstance(self.communicator, OnDevice):
                self.communicator.check()

    def figures(self, *sums: Array) -> None:
        """Begins the sum of the step's loss and right answers, both on the device."""
        self._start(sums)

    def passed(self, stage: int) -> None:
        """The backward pass is done with this stage and all behind it."""
        while self._next_bucket < len(self._buckets) and self._buckets[self._next_bucket].stage >= stage:
            self._start([self._buckets[self._next_bucket].part])
        for _, sums in self._started:
            for pending in sums:
                pending.poke()

    def finish(self, share: float) -> None:
        """Begins what has not begun, after `figures`; then the current stream waits for all sums.

        share: this process's part of the batch's samples.
        """
        self.passed(0)
        if self._states is not None:
            self._states *= share
            self._start([self._states])
        for _, sums in self._started:
            for pending in sums:
                pending.wait()
        for arrays, values in self._restored:
            for a, value in zip(arrays, values, strict=True):
                a.set(value)
        self._reset()

    def set_aside(self) -> None:
        """The step has to be begun anew in this process alone (its memory ran out): what is summed stays as it is."""
        for arrays, sums in self._started:
            for pending in sums:
                pending.wait()
            self._known.append([asnumpy(a).copy() for a in arrays])
        self._reset()

    def _reset(self) -> None:
        self._started, self._restored = [], []

    @property
    def _next_bucket(self) -> int:
        return len(self._started) + len(self._restored) - 1

    def _start(self, arrays: Sequence[Array]) -> None:
        number = len(self._started) + len(self._restored)
        if number < len(self._known):
            self._restored.append((arrays, self._known[number]))
        elif isinstance(self.communicator, OnDevice):
            self._started.append((arrays, [self.communicator.start_sums(arrays)]))
        else:  # one process alone
            self._started.append((arrays, [self.communicator.start_sum(a) for a in arrays]))


def _cut(flat: FlatArrays, stages: Sequence[CudaStage], bucket: int) -> list[_Bucket]:
    """Buckets from the end of the gradients to their front, each of whole layers."""
    first_stage: dict[int, int] = {}  # of each layer: where its gradient gets its last part
    for place, stage in enumerate(stages):
        for node in stage.nodes:
            first_stage.setdefault(id(node.layer), place)
    cuts: list[_Bucket] = []
    end, stage_of_rest = flat.size, 0
    for layer in reversed(flat.layers):
        if not layer.params:
            continue
        start, stage_of_rest = flat.start(layer), first_stage[id(layer)]
        if (end - start) * flat.grads.dtype.itemsize >= bucket:
            cuts.append(_Bucket(flat.grads[start:end], stage_of_rest))
            end = start
    if end:
        cuts.append(_Bucket(flat.grads[:end], stage_of_rest))
    return cuts


def _join_states(flat: FlatArrays) -> Array | None:
    """All running statistics side by side in one array, of which the layers' own become views; None: there are none."""
    held = [(layer, name) for layer in flat.layers for name in layer.state]
    if not held:
        return None
    joined = get_array_module(flat.params).empty(sum(layer.state[n].size for layer, n in held), dtype=flat.params.dtype)
    end = 0
    for layer, name in held:
        a = layer.state[name]
        start, end = end, end + a.size
        view = joined[start:end].reshape(a.shape)
        view[...] = a
        layer.state[name] = view
    return joined
