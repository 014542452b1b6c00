"""Predictions by large networks: ONNX's nine light networks at 224x224 and the book's two, in every library installed.

python benchmarks/inference_zoo.py                # the nine at batches 1 and 8, the book's at 1 and 100
python benchmarks/inference_zoo.py --networks resnet50 vgg19 --batches 1 --libraries ours,onnxruntime
python benchmarks/inference_zoo.py --cpu-time     # one thread, its own time: for a machine that has other work to do

All libraries get the same model file with the same random weights (zoo_models.py), run one after the other in processes
of their own, and are timed with arrays on both sides. What they answer is compared with the first one's.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import WorkerError, default_threads, environment, say
from peers import PEERS, Unavailable
from report import about_this_run, heading, markdown, write_json
from worker import peak_bytes
from zoo_models import NETWORKS, pictures

__all__ = ["main"]

_BOOK = {"simple": "SimpleConvNet", "deep": "DeepConvNet"}
_LIBRARIES = ("ours", "ours-numpy", "onnxruntime", "torch", "torch-cl")
_SETTLE = 0.03  # seconds between turns: threads of the libraries spin for a while after their work


# -- in a worker's process ------------------------------------------------------------------------------------------


def _build(library: str, network: str, batch: int, threads: int, path: str) -> tuple[Callable[[], Any], str]:
    """One prediction, and the library's version."""
    if network in _BOOK:
        from workloads import NETS, Workload

        module = PEERS[library].load()
        call = module.build(Workload("inference", NETS[network], batch), threads, **PEERS[library].options)
        return call, _version(library)
    x = pictures(batch)
    if library == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return (lambda: session.run(None, {name: x})[0]), _version(library)
    if library.startswith("torch"):
        import onnx
        import torch
        from zoo_torch import torch_network

        torch.set_num_threads(threads)
        run = torch_network(onnx.load(path), library == "torch-cl")
        return (lambda: run(x)), _version(library)
    from xpcnn.onnx import load
    from xpcnn.ops.cpu.compiled import why_not

    if library == "ours" and (reason := why_not()):
        raise Unavailable(f"no compiled kernels: {reason}")
    model = load(path)
    model.use_threads(threads)
    (given,), (wanted,) = model.inputs, model.outputs
    return (lambda: model.run({given: x})[wanted]), _version(library)


def _version(library: str) -> str:
    package = {"onnxruntime": "onnxruntime", "torch": "torch", "torch-cl": "torch"}.get(library, "xpcnn")
    return f"{package} {importlib.metadata.version(package)}"


def _work(library: str, network: str, batch: str, threads: str, path: str, answers: str, clock: str) -> None:
    started = time.perf_counter()
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(words: dict[str, Any]) -> None:
        print(json.dumps(words), file=own, flush=True)

    try:
        call, version = _build(library, network, int(batch), int(threads), path)
    except ModuleNotFoundError as error:
        answer({"unavailable": f"{error.name} is not installed"})
        return
    except Unavailable as error:
        answer({"unavailable": str(error)})
        return
    np.save(answers, np.asarray(call()))
    answer({"version": version, "start_seconds": time.perf_counter() - started})
    call()
    _serve(call, time.process_time if clock == "cpu" else time.perf_counter, answer)


def _serve(call: Callable[[], Any], clock: Callable[[], float], answer: Callable[[dict[str, Any]], None]) -> None:
    """Answers as worker.py does, by the clock that is wanted."""
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word == "memory":
            answer({"peak_bytes": peak_bytes()})
            continue
        call()  # brings code and data back into the caches after the other libraries' turns
        seconds = []
        for _ in range(int(number)):
            start = clock()
            call()
            seconds.append(clock() - start)
        answer({"seconds": seconds})


# -- in the driver's ------------------------------------------------------------------------------------------------


class _Worker:
    """A library's process."""

    def __init__(
        self, library: str, network: str, batch: int, threads: int, path: str, answers: Path, clock: str
    ) -> None:
        self.turns: list[list[float]] = []
        self.answers = answers
        words = [library, network, str(batch), str(threads), path, str(answers), clock]
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(library, threads),
        )
        about = self._answer()
        if "unavailable" in about:
            self.close()
            raise WorkerError(about["unavailable"])
        self.version: str = about["version"]
        self.start_seconds: float = about["start_seconds"]

    def ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"its process ended with code {self._process.wait()}; its own words are above")
        return json.loads(line)

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


def _compare(network: str, batch: int, arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    path = folder / "model.onnx"
    if network in NETWORKS:
        # In a process of its own: the driver's memory stays small.
        command = [sys.executable, str(Path(__file__).parent / "zoo_models.py"), network, str(batch), str(path)]
        subprocess.run(command, check=True)
    workers: dict[str, _Worker] = {}
    try:
        for library in arguments.libraries.split(","):
            try:
                answers, clock = folder / f"{library}.npy", "cpu" if arguments.cpu_time else "wall"
                workers[library] = _Worker(library, network, batch, arguments.threads, str(path), answers, clock)
            except WorkerError as error:
                say(f"{PEERS[library].title} is left out: {error}")
        _take_turns(workers, arguments.seconds / arguments.rounds, arguments.rounds)
        return _rows(workers)
    finally:
        for worker in workers.values():
            worker.close()


def _take_turns(workers: dict[str, _Worker], seconds: float, rounds: int) -> None:
    counts: dict[str, int] = {}
    for turn in range(rounds):
        order = list(workers)
        first = turn % max(1, len(order))  # so that nobody always follows the same one
        for library in order[first:] + order[:first]:
            time.sleep(_SETTLE)
            if library not in counts:
                taken = statistics.median(workers[library].ask("run 2")["seconds"])
                counts[library] = max(1, min(2000, round(seconds / taken)))
            workers[library].turns.append(workers[library].ask(f"run {counts[library]}")["seconds"])


def _rows(workers: dict[str, _Worker]) -> list[dict[str, Any]]:
    """What is told of each library. ratio: our median over its own; difference: of the answers, to the first one's."""
    medians = {name: statistics.median(s for turn in w.turns for s in turn) for name, w in workers.items()}
    answers = {name: np.load(w.answers).reshape(-1).astype(float) for name, w in workers.items()}
    first = next(iter(answers.values()))
    return [
        {
            "library": name,
            "median_ms": 1e3 * medians[name],
            "min_ms": 1e3 * min(s for turn in worker.turns for s in turn),
            "ratio": medians["ours"] / medians[name] if "ours" in medians else None,
            "difference": float(np.abs(answers[name] - first).max() / np.abs(first).max()),
            "peak_mb": worker.ask("memory")["peak_bytes"] / 1e6,
            "start_seconds": worker.start_seconds,
            "version": worker.version,
        }
        for name, worker in workers.items()
    ]


_COLUMNS = {
    "median_ms": ("median ms", ".2f"),
    "min_ms": ("min ms", ".2f"),
    "ratio": ("ours / it", ".2f"),
    "difference": ("difference", ".0e"),
    "peak_mb": ("peak MB", ".0f"),
    "start_seconds": ("start s", ".2f"),
}


def _table(title: str, found: list[dict[str, Any]]) -> str:
    lines = [
        [PEERS[row["library"]].title, *("" if row[k] is None else format(row[k], f) for k, (_, f) in _COLUMNS.items())]
        for row in found
    ]
    return f"### {title}\n\n{markdown(['', *(words for words, _ in _COLUMNS.values())], lines)}\n"


def _summary(done: list[dict[str, Any]], libraries: list[str]) -> str:
    """Our median over each library's, for all that was measured."""
    lines = []
    for item in done:
        ratios = {row["library"]: row["ratio"] for row in item["rows"]}
        cells = ["" if ratios.get(name) is None else f"{ratios[name]:.2f}" for name in libraries]
        lines.append([item["network"], str(item["batch"]), *cells])
    return markdown(["ours / it", "batch", *(PEERS[name].title for name in libraries)], lines)


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        _work(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    every = [*NETWORKS, *_BOOK]
    parser.add_argument("--networks", nargs="+", choices=every, default=every, metavar="NAME", help=", ".join(every))
    parser.add_argument("--batches", type=int, nargs="+", help="pictures at a time (1 8; the book's networks 1 100)")
    parser.add_argument("--libraries", default=",".join(_LIBRARIES), help="with commas between (%(default)s)")
    parser.add_argument("--threads", type=int, default=default_threads(), help="of every library (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each library and workload (%(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="turns in which they are spent (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE as well")
    parser.add_argument("--cpu-time", action="store_true", help="one thread each, and what the processor says it took")
    arguments = parser.parse_args()
    if arguments.cpu_time:
        arguments.threads = 1
    unknown = [name for name in arguments.libraries.split(",") if name not in _LIBRARIES]
    if unknown:
        raise SystemExit(f"no library is called {', '.join(unknown)}; there are {', '.join(_LIBRARIES)}")
    done: list[dict[str, Any]] = []
    for network in arguments.networks:
        for batch in arguments.batches or ((1, 100) if network in _BOOK else (1, 8)):
            title = f"{_BOOK.get(network, network)}, batch {batch}"
            say(f"measuring {title}")
            with tempfile.TemporaryDirectory() as folder:
                found = _compare(network, batch, arguments, Path(folder))
            print(_table(title, found), flush=True)
            done.append({"network": _BOOK.get(network, network), "batch": batch, "rows": found})
    print(_summary(done, [name for name in arguments.libraries.split(",") if name != "ours"]))
    versions = dict(row["version"].split(" ", 1) for item in done for row in item["rows"])
    about = about_this_run(arguments.threads, versions)
    print(f"\n{heading(about)}")
    write_json(arguments.json, {**about, "workloads": done})


if __name__ == "__main__":
    main()
