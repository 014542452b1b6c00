"""One of the processes that scaling.py measures, started by mpiexec: trains, or sums arrays, when it is told to.

    mpiexec -n RANKS python scaling_worker.py NET THREADS PORT

It connects to PORT of this host, so that every process sleeps while others are measured, and answers each line of JSON
with one:
    (at the start)                              {"rank": R}
    {"task": "train", "count", "batch", "bucket"}   a step of all ranks together, medians of `count` ones
    {"task": "apart", "count", "batch"}         the same of this process by itself, which sums nothing
    {"task": "sum", "count", "bytes"}           seconds of a sum over all ranks
and, with each, own_turn: seconds that this process has spent on the processor. It ends when the connection does.
"""

from __future__ import annotations

import functools
import itertools
import json
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from peers import ours
from workloads import LEARNING_RATE, NETS, Net, Workload, batches

from xpcnn import Trainer
from xpcnn.communication import world
from xpcnn.executors import exchange as exchanges

__all__ = ["Stopwatch", "Worker", "answer"]


def now() -> np.ndarray:
    """Seconds by the clock, and of this process's own on the processor, which other programs hardly change."""
    return np.array([time.perf_counter(), time.process_time()])


class Stopwatch:
    """Looks on while an exchange sums gradients: when a pass begins, each layer's gradients are there, and it ends."""

    def __init__(self, exchange: Any) -> None:
        self.begun = self.passed = self.finished = now()
        self.puts: list[float] = []
        begin, put, finish = exchange.begin, exchange.put, exchange.finish

        def at_begin() -> None:
            self.begun, self.puts = now(), []
            begin()

        def at_put(layer: Any, grads: Any) -> None:
            self.puts.append(time.perf_counter())
            put(layer, grads)

        def at_finish(*figures: Any) -> Any:
            self.passed = now()
            found = finish(*figures)
            self.finished = now()
            return found

        exchange.begin, exchange.put, exchange.finish = at_begin, at_put, at_finish

    def left(self) -> list[float]:
        """By layer, the share of the pass that was still to be done when its gradients were there."""
        begun, passed = float(self.begun[0]), float(self.passed[0])
        return [max(0.0, (passed - put) / (passed - begun)) for put in self.puts]


class Worker:
    """A network for every way of training it, made when first asked for."""

    def __init__(self, net: Net, threads: int, ranks: Any) -> None:
        self.net, self.threads, self.ranks = net, threads, ranks

    @functools.cached_property
    def _alone(self) -> Trainer:
        return self._trainer(False)

    @functools.cache  # noqa: B019  (one worker a process)
    def _together(self, bucket: int) -> tuple[Trainer, Stopwatch]:
        usual, exchanges.BUCKET = exchanges.BUCKET, bucket
        trainer = self._trainer(self.ranks)
        trainer.step(*next(self._batches(max(2, self.ranks.size))))  # makes the exchange
        exchanges.BUCKET = usual
        return trainer, Stopwatch(trainer.network.executor.exchange)

    def _trainer(self, distributed: Any) -> Trainer:
        net = ours.network(self.net, self.threads)
        x, t = next(self._batches(2))
        return Trainer(
            net,
            x,
            t,
            optimizer="Adam",
            optimizer_param={"lr": LEARNING_RATE},
            train_accuracy="running",
            verbose=False,
            distributed=distributed,
        )

    @functools.cache  # noqa: B019
    def _batches(self, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return itertools.cycle(batches(Workload("train", self.net, batch)))

    def apart(self, count: int, batch: int) -> dict[str, Any]:
        """step: seconds. own_step: of them, those of this process on the processor."""
        steps = []
        for step in range(count + 1):
            x, t = next(self._batches(batch))
            start = now()
            self._alone.step(x, t)
            if step:  # the first brings code and data back into the caches
                steps.append(now() - start)
        return _medians(["step"], steps)

    def train(self, count: int, batch: int, bucket: int) -> dict[str, Any]:
        """passing: to the end of the backward pass; waiting: for sums after it; rest: the optimizer and the like.

        own_...: of these, seconds on the processor. calls, bytes: of sums in a step. ready: by layer, (bytes, share of
        the pass that is left then).
        """
        trainer, watch = self._together(bucket)
        exchange = trainer.network.executor.exchange
        steps, lefts = [], []
        for step in range(count + 1):
            x, t = next(self._batches(batch))
            calls, sent = self.ranks.calls, self.ranks.bytes
            start = now()
            trainer.step(x, t)
            whole = now() - start
            if step:
                passing, waiting = watch.passed - watch.begun, watch.finished - watch.passed
                steps.append(np.concatenate([whole, passing, waiting, whole - passing - waiting]))
                lefts.append(watch.left())
        layers = [node.layer for node in trainer.network.nodes.values() if node.layer.params]
        sizes = [sum(a.nbytes for a in layer.params.values()) for layer in reversed(layers)]
        lefts_by_layer = [statistics.median(column) for column in zip(*lefts, strict=True)]
        assert len(exchange.buckets) <= len(sizes) == len(lefts_by_layer)
        return {
            **_medians(["step", "passing", "waiting", "rest"], steps),
            "calls": self.ranks.calls - calls,
            "bytes": self.ranks.bytes - sent,
            "ready": list(zip(sizes, lefts_by_layer, strict=True)),
        }

    def sum(self, count: int, bytes: int) -> dict[str, Any]:
        a = np.zeros(max(1, bytes // 4), dtype=np.float32)
        steps = []
        for step in range(count + 3):
            start = now()
            self.ranks.sum(a)
            if step >= 3:
                steps.append(now() - start)
        return _medians(["step"], steps)


def _medians(names: list[str], steps: list[np.ndarray]) -> dict[str, Any]:
    """Of each name's two times, as `now` gives them."""
    keys = [key for name in names for key in (name, f"own_{name}")]
    return dict(zip(keys, np.median(steps, axis=0).tolist(), strict=True))


def answer(worker: Worker, line: str) -> dict[str, Any]:
    """What a worker says to one line."""
    words = json.loads(line)
    task = {"train": worker.train, "apart": worker.apart, "sum": worker.sum}[words.pop("task")]
    begun = time.process_time()
    found = task(**words)
    return {**found, "own_turn": time.process_time() - begun}


def main() -> None:
    net, threads, port = sys.argv[1:]
    ranks = world()
    worker = Worker(NETS[net], int(threads), ranks)
    with socket.create_connection(("127.0.0.1", int(port)), timeout=60) as line:
        line.settimeout(None)
        with line.makefile("rw") as talk:
            print(json.dumps({"rank": ranks.rank}), file=talk, flush=True)
            for question in talk:
                print(json.dumps(answer(worker, question)), file=talk, flush=True)


if __name__ == "__main__":
    main()
