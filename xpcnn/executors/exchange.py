"""Gradients summed over processes while the backward pass still runs: one flat array, cut into buckets."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from xpcnn.communication import Communicator, Pending
from xpcnn.device import Array
from xpcnn.executors.gradients import Gradients, deliver
from xpcnn.graph import Node
from xpcnn.layers.base import Layer

__all__ = ["BUCKET", "Exchange", "GradientExchange", "HandOver"]

BUCKET = 1 << 20  # bytes of a bucket at least, but for the last: see docs/distributed.md for how this was chosen
_FIGURES = 3  # loss, right answers, and how many want to stop


class Exchange(Protocol):
    """What is asked of either kind, that of the host's arrays and that of a GPU's (cuda_exchange.py).

    communicator: adds up the arrays that the executor works with. stop: set before a pass where this process wants to
    stop; after it, whether all do after this step, as any one wanted it.
    """

    communicator: Communicator

    @property
    def stop(self) -> bool: ...

    @stop.setter
    def stop(self, wanted: bool) -> None: ...


class GradientExchange:
    """Sums the gradients of `layers` over all processes.

    layers: in the order in which they run; a backward pass is done with the last one first. Their gradients lie in
    one array in the opposite order, so that what is ready first lies together. As soon as the gradients of a bucket
    are there its sum begins, and the pass goes on. Behind the last bucket ride a step's figures, and the layers'
    running statistics where each process makes its own (`average_state`): they become the mean over all samples.

    The buckets depend on the layers alone, and every process begins them in the same order, whichever of its layers
    are ready first. Only the thread that began the pass may call the methods.

    stop: set before a pass where this process wants to stop; after it, whether any does.
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        communicator: Communicator,
        dtype: np.dtype,
        average_state: bool = False,
        bucket: int | None = None,
    ) -> None:
        self.communicator = communicator
        self.stop = False
        bucket = BUCKET if bucket is None else bucket
        every = list({id(layer): layer for layer in layers}.values())
        self._states = [a for layer in every for a in layer.state.values()] if average_state else []
        self._places: dict[int, dict[str, slice]] = {}
        self._bucket_of: dict[int, int] = {}
        cuts, size = [0], 0
        for layer in reversed([layer for layer in every if layer.params]):
            places = self._places[id(layer)] = {}
            for name, a in layer.params.items():
                places[name] = slice(size, size + a.size)
                size += a.size
            self._bucket_of[id(layer)] = len(cuts) - 1
            if (size - cuts[-1]) * dtype.itemsize >= bucket:
                cuts.append(size)
        if cuts[-1] == size and len(cuts) > 1:
            cuts.pop()  # the last bucket was just full: the figures ride with it
        self.size = size
        self.flat: Array = np.zeros(size + _FIGURES + sum(a.size for a in self._states), dtype=dtype)
        self._buckets = [self.flat[a:b] for a, b in zip(cuts, [*cuts[1:], self.flat.size], strict=True)]
        self._missing: list[int] = []  # layers that each bucket still waits for
        self._started: list[Pending] = []

    @property
    def buckets(self) -> list[int]:
        """Bytes of each bucket, in the order in which they go."""
        return [int(b.nbytes) for b in self._buckets]

    def begin(self) -> None:
        """Before a backward pass."""
        self._missing = [0] * len(self._buckets)
        for number in self._bucket_of.values():
            self._missing[number] += 1
        self._started = []

    def put(self, layer: Layer, grads: Mapping[str, Array]) -> None:
        """Takes one layer's whole gradients, and begins the sum of its bucket where it was the last to come."""
        for name, place in self._places[id(layer)].items():
            self.flat[place] = grads[name].reshape(-1) if name in grads else 0.0
        self._missing[self._bucket_of[id(layer)]] -= 1
        last = len(self._buckets) - 1
        while len(self._started) < last and self._missing[len(self._started)] == 0:
            self._start()
        self.poke()

    def poke(self) -> None:
        """Lets the sums that have begun get on."""
        for pending in self._started:
            pending.poke()

    def finish(self, loss: float, right: int, share: float) -> tuple[float, int]:
        """Sends what has not gone, waits for all sums, lets layers' grads show them; gives (loss, right) of all.

        share: this process's part of the batch's samples.
        """
        self.flat[self.size : self.size + _FIGURES] = loss, right, self.stop
        for place, a in self._state_places():
            self.flat[place] = a.reshape(-1)
            self.flat[place] *= share
        while len(self._started) < len(self._buckets):
            self._start()
        for pending in self._started:
            pending.wait()
        for place, a in self._state_places():
            a[...] = self.flat[place].reshape(a.shape)
        sums = self.flat[self.size : self.size + _FIGURES].tolist()
        self.stop = sums[2] > 0.0
        return sums[0], round(sums[1])

    def grads(self, layer: Layer) -> dict[str, Array]:
        """The summed gradients of a layer, as views of the flat array."""
        return {n: self.flat[place].reshape(layer.params[n].shape) for n, place in self._places[id(layer)].items()}

    def _state_places(self) -> list[tuple[slice, Array]]:
        start = self.size + _FIGURES
        ends = np.cumsum([start, *(a.size for a in self._states)]).tolist()
        return [(slice(b, c), a) for b, c, a in zip(ends[:-1], ends[1:], self._states, strict=True)]

    def _start(self) -> None:
        self._started.append(self.communicator.start_sum(self._buckets[len(self._started)]))


class HandOver:
    """One backward pass's gradients on their way to an exchange, from `threads` threads that each have a part of it.

    pieces: each thread's gradients, in the order in which they are added. steps: the nodes' names in the order in
    which the pass is done with them, in the portions in which threads report them.
    """

    def __init__(
        self, exchange: GradientExchange, nodes: Sequence[Node], threads: int, steps: Sequence[Sequence[str]]
    ) -> None:
        self.exchange = exchange
        self.pieces: list[Gradients] = [{} for _ in range(threads)]
        self._nodes: dict[int, list[Node]] = {}  # of each layer that learns; one at two nodes waits for both
        for node in nodes:
            if node.layer.params:
                self._nodes.setdefault(id(node.layer), []).append(node)
        self._waits = {key: len(at) for key, at in self._nodes.items()}
        self._layer_of = {node.name: id(node.layer) for at in self._nodes.values() for node in at}
        self._steps = steps
        self._left = [threads] * len(steps)  # threads that are not done with each step
        self._next = 0
        self._lock = threading.Lock()
        exchange.begin()

    def done(self, step: int, thread: int, grads: Gradients) -> None:
        """Thread `thread` has the gradients of that step. The first thread, which began the pass, hands them on."""
        self.pieces[thread].update(grads)
        with self._lock:
            self._left[step] -= 1
        if thread == 0:
            self.hand_on()

    def hand_on(self) -> None:
        """Gives the exchange every layer that all threads are done with."""
        while self._next < len(self._steps) and self._left[self._next] == 0:
            for name in self._steps[self._next]:
                key = self._layer_of.get(name)
                if key is None:
                    continue
                self._waits[key] -= 1
                if self._waits[key] == 0:
                    at = self._nodes[key]
                    deliver(at, self.pieces)
                    self.exchange.put(at[0].layer, at[0].layer.grads)
            self._next += 1
        self.exchange.poke()

    def finish(self, loss: float, right: int, share: float) -> tuple[float, int]:
        """As GradientExchange.finish; the layers' `grads` are the sums."""
        self.hand_on()
        figures = self.exchange.finish(loss, right, share)
        for at in self._nodes.values():
            at[0].layer.grads = self.exchange.grads(at[0].layer)
        return figures
