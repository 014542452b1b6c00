"""Runs libraries against each other: one process each, in turns of a fraction of a second, round by round.

So whatever else the machine does, and whatever clock it runs at, meets all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import PEERS
from workloads import NETS, Workload

__all__ = ["Result", "Worker", "WorkerError", "common_arguments", "compare", "default_threads", "environment", "say"]

_HERE = Path(__file__).parent
_SETTLE = 0.03  # seconds between turns: the threads of BLAS and OpenMP spin for a while after their work


class WorkerError(Exception):
    """Why a library is left out; a line."""


@dataclass
class Result:
    """What a library did in one workload: seconds of each iteration, by turn."""

    peer: str
    turns: list[list[float]] = field(default_factory=list)
    peak_bytes: int = 0
    start_seconds: float = 0.0  # from the start of the process to the end of the first iteration, the shortest
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(second for turn in self.turns for second in turn)

    @property
    def minimum(self) -> float:
        return min(second for turn in self.turns for second in turn)

    @property
    def best_turn(self) -> float:
        """Median of the fastest turn: what the library does when nothing is in its way."""
        return min(statistics.median(turn) for turn in self.turns)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def default_threads() -> int:
    from xpcnn.threads import available_cores

    return available_cores()


def environment(peer: str, threads: int) -> dict[str, str]:
    """Of a library's process: every BLAS and OpenMP told the same number of threads."""
    words = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    own = {word: value for word, value in os.environ.items() if word != "XPCNN_COMPILED"}
    return {**own, **dict.fromkeys(words, str(threads)), **PEERS[peer].environment}


class Worker:
    """A process of worker.py. Raises WorkerError where it cannot take part."""

    def __init__(self, peer: str, workload: Workload, threads: int) -> None:
        self.peer = peer
        net = next(name for name, net in NETS.items() if net == workload.net)
        words = [peer, workload.task, net, str(workload.batch), str(threads)]
        self._process = subprocess.Popen(
            [sys.executable, str(_HERE / "worker.py"), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(peer, threads),
        )
        try:
            about = self._answer()
        except WorkerError:
            self.close()
            raise
        if "unavailable" in about:
            self.close()
            raise WorkerError(about["unavailable"])
        self.versions: dict[str, str] = about["versions"]
        self.start_seconds: float = about["start_seconds"]

    def run(self, count: int) -> list[float]:
        """Seconds of each of `count` iterations."""
        return self._ask(f"run {count}")["seconds"]

    def peak_bytes(self) -> int:
        return self._ask("memory")["peak_bytes"]

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            print(line, file=self._process.stdin, flush=True)
        except BrokenPipeError as error:
            raise self._ended() from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def _ended(self) -> WorkerError:
        return WorkerError(f"its process ended with code {self._process.wait()}; its own words are above")

    def close(self) -> None:
        """Lets the process end, and waits for it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # it has ended already
                    pipe.close()
        self._process.wait()


def compare(
    workload: Workload,
    peers: Sequence[str],
    threads: int,
    seconds: float = 3.0,
    rounds: int = 10,
    starts: int = 1,
    tell: Callable[[str], None] = say,
) -> list[Result]:
    """Results of those of `peers` that are there, in that order; the others are told of in a line each.

    seconds: for each library, in `rounds` turns. starts: how often all of it is done, with new processes.
    """
    results = {peer: Result(peer) for peer in peers if workload.task in PEERS[peer].tasks or not PEERS[peer].tasks}
    for _ in range(starts):
        workers: dict[str, Worker] = {}
        try:
            for peer in list(results):
                try:
                    workers[peer] = Worker(peer, workload, threads)
                except WorkerError as error:
                    del results[peer]
                    tell(f"{PEERS[peer].title} is left out: {error}")
            _take_turns(workers, results, seconds / rounds, rounds, tell)
            for peer, worker in workers.items():
                result = results[peer]
                result.peak_bytes = max(result.peak_bytes, worker.peak_bytes())
                result.start_seconds = min(result.start_seconds or worker.start_seconds, worker.start_seconds)
                result.versions = worker.versions
        finally:
            for worker in workers.values():
                worker.close()
    return list(results.values())


def _take_turns(
    workers: dict[str, Worker],
    results: dict[str, Result],
    seconds: float,
    rounds: int,
    tell: Callable[[str], None],
) -> None:
    counts: dict[str, int] = {}
    for turn in range(rounds):
        order = list(workers)
        first = turn % max(1, len(order))  # so that nobody always follows the same one
        for peer in order[first:] + order[:first]:
            time.sleep(_SETTLE)
            try:
                if peer not in counts:
                    counts[peer] = max(1, min(5000, round(seconds / statistics.median(workers[peer].run(3)))))
                results[peer].turns.append(workers[peer].run(counts[peer]))
            except WorkerError as error:
                workers.pop(peer).close()
                del results[peer]
                tell(f"{PEERS[peer].title} is left out: {error}")


def common_arguments(description: str) -> argparse.ArgumentParser:
    """The options that the comparisons share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--libraries", help=f"with commas between: {', '.join(p for p in PEERS if PEERS[p].tasks)}")
    parser.add_argument("--threads", type=int, help="of every library (the cores that this process may use)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each library and workload (%(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="turns in which they are spent (%(default)s)")
    parser.add_argument("--starts", type=int, default=1, help="new processes, all over again (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE as well")
    return parser
