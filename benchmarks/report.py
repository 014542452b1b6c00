"""Results as Markdown tables and JSON, with the machine, the versions and the date."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import Result, compare, default_threads, say
from peers import PEERS, TORCH_EAGER, sgemm
from workloads import Workload

__all__ = ["about_this_run", "chosen_libraries", "markdown", "measure_and_print", "rows", "write_json"]


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def about_this_run(threads: int, versions: Mapping[str, str]) -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": threads,
        "load": load,
        "versions": dict(versions),
    }


def heading(about: Mapping[str, Any]) -> str:
    """One paragraph of what `about_this_run` found."""
    versions = ", ".join(f"{name} {number}" for name, number in sorted(about["versions"].items()))
    load = "" if about["load"] is None else f", load {about['load']:.1f} at the end"
    return (
        f"{about['date']}, {about['processor']}, {about['cores']} cores, {about['threads']} threads{load}; "
        f"{about['system']}, Python {about['python']}, {versions}"
    )


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with its columns in line; all but the first flush right."""
    widths = [max(len(row[i]) for row in (header, *lines)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, lines)])


def rows(workload: Workload, results: Sequence[Result], rate: float | None) -> list[dict[str, Any]]:
    """What is told of each library. rate: FLOP/s of the matrix product, from which the floor follows.

    ratio: our median over that of PyTorch eager's better memory format; ratio_to_fastest: over the median of PyTorch
    eager's fastest turn, since PyTorch was seen to run at two speeds on one machine.
    """
    torch = [result for result in results if result.peer in TORCH_EAGER]
    best = min((result.median for result in torch), default=None)
    fastest = min((result.best_turn for result in torch), default=None)
    floor = workload.flops / rate if rate else None
    return [
        {
            "library": result.peer,
            "median_ms": 1e3 * result.median,
            "min_ms": 1e3 * result.minimum,
            "best_turn_ms": 1e3 * result.best_turn,
            "ratio": result.median / best if best else None,
            "ratio_to_fastest": result.median / fastest if fastest else None,
            "gflops": 1e-9 * workload.flops / result.median,
            "times_floor": result.median / floor if floor else None,
            "peak_mb": result.peak_bytes / 1e6,
            "start_seconds": result.start_seconds,
            "iterations": sum(map(len, result.turns)),
        }
        for result in results
    ]


_COLUMNS = {
    "median_ms": ("median ms", ".3f"),
    "min_ms": ("min ms", ".3f"),
    "ratio": ("/ PyTorch", ".2f"),
    "ratio_to_fastest": ("/ its fastest", ".2f"),
    "gflops": ("GFLOP/s", ".0f"),
    "times_floor": ("x floor", ".1f"),
    "peak_mb": ("peak MB", ".0f"),
}


def table(workload: Workload, found: Sequence[Mapping[str, Any]], rate: float | None) -> str:
    lines = [
        [
            PEERS[row["library"]].title,
            *("" if row[key] is None else format(row[key], form) for key, (_, form) in _COLUMNS.items()),
        ]
        for row in found
    ]
    floor = f"; floor {1e3 * workload.flops / rate:.3f} ms at {1e-9 * rate:.0f} GFLOP/s" if rate else ""
    title = f"### {workload.title}\n{1e-9 * workload.flops:.3f} GFLOP{floor}\n"
    return f"{title}\n{markdown(['', *(title for title, _ in _COLUMNS.values())], lines)}\n"


def chosen_libraries(words: str | None) -> list[str]:
    """What --libraries names; all where it names none. Raises SystemExit for one that is not known."""
    known = [name for name, peer in PEERS.items() if peer.tasks]
    if words is None:
        return known
    unknown = [word for word in words.split(",") if word not in known]
    if unknown:
        raise SystemExit(f"no library is called {', '.join(unknown)}; there are {', '.join(known)}")
    return words.split(",")


def measure_and_print(workloads: Sequence[Workload], arguments: argparse.Namespace) -> None:
    """Compares the libraries in each workload; prints a table each, then what it ran on; writes --json."""
    threads = arguments.threads or default_threads()
    peers = [*chosen_libraries(arguments.libraries), "sgemm"]
    versions: dict[str, str] = {}
    written = []
    for workload in workloads:
        say(f"measuring {workload.title}")
        results = compare(workload, peers, threads, arguments.seconds, arguments.rounds, arguments.starts)
        for result in results:
            versions.update(result.versions)
        product = next((result for result in results if result.peer == "sgemm"), None)
        rate = sgemm.FLOPS / product.minimum if product else None
        found = rows(workload, [result for result in results if result.peer != "sgemm"], rate)
        print(table(workload, found, rate), flush=True)
        written.append({"workload": workload.title, "flops": workload.flops, "sgemm_flops": rate, "rows": found})
    about = about_this_run(threads, versions)
    print(heading(about))
    write_json(arguments.json, {**about, "workloads": written})


def write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    """Where a path is given; the file is whole or not there."""
    if path is not None:
        from xpcnn.atomic import atomic_write

        with atomic_write(path, "w") as file:
            file.write(json.dumps(content, indent=1) + "\n")
