"""Training in one and in two processes, what they spend on each other, and what a model says of larger clusters.

    python benchmarks/scaling.py                                  # measures here, some minutes; needs the extra mpi
    python benchmarks/scaling.py --json scaling.json --plot scaling.png
    python benchmarks/scaling.py --from scaling.json              # the tables anew, from what was measured then

All ways of training take turns of a fraction of a second, as in harness.py, and sleep in those of the others. See
docs/distributed.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import say
from report import about_this_run, heading, write_json
from scaling_clusters import clusters, plot
from scaling_report import USUAL, report
from workloads import NETS

__all__ = ["BUCKETS", "PARTS", "Team", "measure"]

_HERE = Path(__file__).parent
_PATIENCE = 120.0  # seconds in which processes must have started, or answered
BUCKETS = (1 << 16, 1 << 18, 1 << 20, 1 << 30)  # bytes; the last is one for all
PARTS = (1, 2, 5, 10, 25, 50, 100)  # samples of a pass whose time is measured
SIZES = tuple(4**k for k in range(2, 13))  # bytes of sums, to 16 MiB


class Team:
    """`ranks` processes of scaling_worker.py, each with `threads` threads. Raises OSError where they do not start."""

    def __init__(self, net: str, ranks: int, threads: int, mpiexec: Sequence[str]) -> None:
        words = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
        self.net, self.ranks, self.threads = net, ranks, threads
        self._lines: list[Any] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            script = [sys.executable, str(_HERE / "scaling_worker.py"), net, str(threads), port]
            self._process = subprocess.Popen(
                [*mpiexec, "-n", str(ranks), *script],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                env={**os.environ, **dict.fromkeys(words, str(threads))},
            )
            try:
                listener.settimeout(_PATIENCE)
                for _ in range(ranks):
                    line, _ = listener.accept()
                    line.settimeout(_PATIENCE)
                    self._lines.append(line.makefile("rw"))
                    line.close()  # the file holds it
                numbers = [self._read(line)["rank"] for line in self._lines]
            except OSError:
                self.close()
                raise
        self._lines = [line for _, line in sorted(zip(numbers, self._lines, strict=True), key=lambda pair: pair[0])]

    def ask(self, **question: Any) -> list[dict[str, Any]]:
        """Every rank's answer, by rank."""
        for line in self._lines:
            print(json.dumps(question), file=line, flush=True)
        return [self._read(line) for line in self._lines]

    @staticmethod
    def _read(line: Any) -> dict[str, Any]:
        text = line.readline()
        if not text:
            raise OSError("a process has ended; its own words are above")
        found: dict[str, Any] = json.loads(text)
        return found

    def close(self) -> None:
        """Lets the processes end, and waits for them."""
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _busy() -> float:
    """Seconds that all cores have worked since the machine started; 0 where the system does not say."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _, _, *interrupts = map(int, words)  # idle and waiting for a disk are left out
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _questions(teams: dict[str, Team], batch: int, buckets: Sequence[int]) -> dict[str, tuple[Team, dict[str, Any]]]:
    """What is measured, by name: by which processes, and what they are asked."""
    one, threads, two = (teams[name] for name in ("one", "threads", "two"))
    found = {
        "one": (one, {"task": "apart", "batch": batch}),
        "threads": (threads, {"task": "apart", "batch": batch}),
        "apart": (two, {"task": "apart", "batch": batch // 2}),
    }
    for bucket in buckets:
        found[f"two {bucket}"] = (two, {"task": "train", "batch": batch, "bucket": bucket})
    found["twice"] = (two, {"task": "train", "batch": 2 * batch, "bucket": USUAL})
    for part in sorted({*(part for part in PARTS if part < batch), batch // 2, batch}):
        found[f"part {part}"] = (one, {"task": "train", "batch": part, "bucket": buckets[-1]})
    for size in SIZES:
        found[f"sum {size}"] = (two, {"task": "sum", "bytes": size})
    return found


def measure(
    net: str, batch: int, seconds: float, rounds: int, mpiexec: Sequence[str], buckets: Sequence[int] = BUCKETS
) -> dict[str, Any]:
    """A list of turns for each name of `_questions`: the medians that rank 0, or all ranks on average, gave.

    others: the share of all cores that other programs took meanwhile.

    seconds: for each name, in `rounds` turns. Raises OSError where processes do not start, or die.
    """
    teams: dict[str, Team] = {}
    try:
        for name, ranks, threads in (("one", 1, 1), ("threads", 1, 2), ("two", 2, 1)):
            teams[name] = Team(net, ranks, threads, mpiexec)
        questions = _questions(teams, batch, buckets)
        counts: dict[str, int] = {}
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in questions}
        for number in range(rounds):
            order = list(questions)
            first = number % len(order)  # so that nobody always follows the same one
            for name in order[first:] + order[:first]:
                team, question = questions[name]
                if name not in counts:
                    once = team.ask(count=3, **question)[0]["step"]
                    counts[name] = max(1, min(1000, round(seconds / rounds / once)))
                before, started = _busy(), time.perf_counter()
                answers = team.ask(count=counts[name], **question)
                elapsed = time.perf_counter() - started
                ours = sum(words["own_turn"] for words in answers)
                share = (_busy() - before - ours) / (elapsed * (os.cpu_count() or 1))
                others = min(1.0, max(0.0, share))  # the system counts in hundredths of a second
                means = {key: statistics.mean(words[key] for words in answers) for key in ("step", "own_step")}
                turns[name].append({**answers[0], **means, "others": others})
    finally:
        for team in teams.values():
            team.close()
    return {"net": net, "title": NETS[net].title, "batch": batch, "buckets": list(buckets), "turns": turns}


def _versions() -> dict[str, str]:
    from peers import ours

    found = ours.versions()
    for name in ("mpi4py", "mpich", "openmpi"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", nargs="+", choices=("simple", "deep"), default=["deep", "simple"])
    parser.add_argument("--batch", type=int, default=100, help="samples a step, of all ranks together (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each thing measured (%(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="turns in which they are spent (%(default)s)")
    parser.add_argument("--mpiexec", help="and its options (the one beside this Python, or on the path)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE as well")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="measure nothing, take --json's FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the model's efficiency: .png, .svg or .pdf")
    arguments = parser.parse_args()
    if arguments.source is not None:
        found = json.loads(arguments.source.read_text())
    else:
        beside = Path(sys.executable).with_name("mpiexec")
        usual = str(beside) if beside.exists() else shutil.which("mpiexec")
        if arguments.mpiexec is None and usual is None:
            raise SystemExit('there is no mpiexec; pip install "xpcnn[mpi]" brings one')
        mpiexec = [usual] if arguments.mpiexec is None else shlex.split(arguments.mpiexec)
        measured = []
        for net in arguments.nets:
            say(f"measuring {NETS[net].title}")
            measured.append(measure(net, arguments.batch, arguments.seconds, arguments.rounds, mpiexec))
        found = {**about_this_run(2, _versions()), "nets": measured}
    print(report(found["nets"]))
    print(clusters(found["nets"]), flush=True)
    print(heading(found))
    write_json(arguments.json, found)
    if arguments.plot is not None:
        plot(found["nets"], arguments.plot)


if __name__ == "__main__":
    main()
