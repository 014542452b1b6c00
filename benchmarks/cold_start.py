"""Whole processes: start, import, load MNIST, train SimpleConvNet for one epoch, evaluate, exit.

    python benchmarks/cold_start.py --data-dir FOLDER    # where MNIST's four files are; else $XPCNN_DATA, the cache
    python benchmarks/cold_start.py --libraries ours,torch --rounds 5

Every round runs each library once, one after the other; the slow ones (the book's style, torch.compile) run once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import WorkerError, default_threads, environment, say
from peers import PEERS, TORCH_EAGER, Unavailable
from report import about_this_run, chosen_libraries, heading, markdown, write_json


def child(name: str, folder: str, threads: int) -> None:
    """The process that is timed; its last line says what came of it."""
    from worker import peak_bytes

    peer = PEERS[name]
    try:
        module = peer.load()
        accuracy = module.first_epoch(folder, threads, **peer.options)
    except ModuleNotFoundError as error:
        print(json.dumps({"unavailable": f"{error.name} is not installed"}))
    except Unavailable as error:
        print(json.dumps({"unavailable": str(error)}))
    else:
        print(json.dumps({"accuracy": accuracy, "peak_bytes": peak_bytes(), "versions": module.versions()}))


def one_run(peer: str, folder: str, threads: int) -> dict[str, Any]:
    """Seconds from start to exit, and what the process said. Raises WorkerError where it cannot take part."""
    command = [sys.executable, __file__, "--child", peer, folder, str(threads)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment(peer, threads), check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise WorkerError(f"its process ended with code {done.returncode}; its own words are above")
    said = json.loads(done.stdout.splitlines()[-1])
    if "unavailable" in said:
        raise WorkerError(said["unavailable"])
    return {"seconds": seconds, **said}


def mnist_folder(data_dir: str | None) -> str:
    """Where MNIST's four files lie. Raises SystemExit where they are nowhere."""
    from xpcnn.data import find_datasets

    for found in find_datasets(data_dir):
        if found.name == "mnist" and not found.missing:
            return str(found.path)
    raise SystemExit("MNIST's four files are in no known folder; name theirs with --data-dir, or set XPCNN_DATA")


def measure(peers: list[str], folder: str, threads: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Runs by library. Those that cannot take part are told of in a line each."""
    runs: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers if "epoch" in PEERS[peer].tasks}
    for turn in range(rounds):
        for peer in list(runs):
            if turn and PEERS[peer].slow:
                continue
            try:
                runs[peer].append(one_run(peer, folder, threads))
            except WorkerError as error:
                del runs[peer]
                say(f"{PEERS[peer].title} is left out: {error}")
    return runs


def summary(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """By library: seconds, their ratio to PyTorch eager's better median and to its fastest run, accuracy, memory."""
    torch = [[run["seconds"] for run in runs[peer]] for peer in TORCH_EAGER if peer in runs]
    best = min(map(statistics.median, torch), default=None)
    fastest = min(map(min, torch), default=None)
    found = []
    for peer, several in runs.items():
        median = statistics.median(run["seconds"] for run in several)
        found.append(
            {
                "library": peer,
                "median_s": median,
                "min_s": min(run["seconds"] for run in several),
                "ratio": median / best if best else None,
                "ratio_to_fastest": median / fastest if fastest else None,
                "accuracy": statistics.median(run["accuracy"] for run in several),
                "peak_mb": max(run["peak_bytes"] for run in several) / 1e6,
                "runs": [run["seconds"] for run in several],
            }
        )
    return found


_COLUMNS = {
    "median_s": ("median s", ".2f"),
    "min_s": ("min s", ".2f"),
    "ratio": ("/ PyTorch", ".2f"),
    "ratio_to_fastest": ("/ its fastest", ".2f"),
    "accuracy": ("test accuracy", ".2%"),
    "peak_mb": ("peak MB", ".0f"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--libraries", help="with commas between; all but onnxruntime where nothing is said")
    parser.add_argument("--threads", type=int, help="of every library (the cores that this process may use)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each library (%(default)s)")
    parser.add_argument("--data-dir", help="the folder of MNIST's four files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE as well")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, folder, threads = arguments.child
        return child(name, folder, int(threads))
    threads = arguments.threads or default_threads()
    folder = mnist_folder(arguments.data_dir)
    runs = measure(chosen_libraries(arguments.libraries), folder, threads, arguments.rounds)
    found = summary(runs)
    lines = [
        [
            PEERS[row["library"]].title,
            *("" if row[key] is None else format(row[key], form) for key, (_, form) in _COLUMNS.items()),
        ]
        for row in found
    ]
    print("### Cold start: import, load MNIST, one epoch of SimpleConvNet, evaluate, exit\n")
    print(markdown(["", *(title for title, _ in _COLUMNS.values())], lines) + "\n")
    about = about_this_run(threads, {k: v for several in runs.values() for k, v in several[0]["versions"].items()})
    print(heading(about))
    return write_json(arguments.json, {**about, "rows": found})


if __name__ == "__main__":
    main()
