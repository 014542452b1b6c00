"""A guard for continuous integration: how many times faster than the book's style a training step is.

    python benchmarks/guard.py

Prints the ratios beside their goals. A machine shared with others is too restless for a limit near a goal, so it
fails (exit code 1) only on a collapse: below half of a goal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from harness import compare, default_threads
from peers import PEERS
from workloads import NETS, Workload

GOALS = {"simple": 14.0, "deep": 12.0}


def verdict(ratios: Mapping[str, Mapping[str, float]]) -> tuple[list[str], bool]:
    """Lines to print, and whether all is well. ratios: by model, then by which of ours."""
    lines, well = [], True
    for model, goal in GOALS.items():
        found = ratios.get(model, {})
        for peer, ratio in found.items():
            word = "reached" if ratio >= goal else "missed" if ratio >= goal / 2 else "COLLAPSED"
            well = well and ratio >= goal / 2
            title = f"{NETS[model].title}, {PEERS[peer].title}"
            lines.append(f"{title}: {ratio:.1f} times the book's style; goal {goal:.0f} {word}")
        if not found:
            well = False
            lines.append(f"{NETS[model].title}: nothing was measured")
    return lines, well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, help="of both (the cores that this process may use)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each model and side (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns in which they are spent (%(default)s)")
    arguments = parser.parse_args()
    threads = arguments.threads or default_threads()
    ratios: dict[str, dict[str, float]] = {}
    for model in GOALS:
        workload = Workload("train", NETS[model], 100)
        measured = compare(workload, ("book", "ours-numpy", "ours"), threads, arguments.seconds, arguments.rounds)
        results = {result.peer: result.median for result in measured}
        book = results.pop("book", None)
        ratios[model] = {} if book is None else {peer: book / median for peer, median in results.items()}
    lines, well = verdict(ratios)
    print("\n".join(lines))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
