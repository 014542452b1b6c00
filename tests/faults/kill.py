"""Signals at random instants of a real training process, mostly SIGKILL, until one is left to end."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.runs import bits_alike, check_whole, command, environment, finish, words

__all__ = ["Reference", "Tally", "reference", "survive"]


@dataclass
class Reference:
    """A run never interrupted. seconds: from the process's start to its end; training: from its first line to its last
    epoch's.
    """

    folder: Path
    seconds: float
    training: float

    def paced(self, late: bool, ended: bool) -> None:
        """Follows the machine's speed: shorter where a process had ended before its signal, else a little longer."""
        pace = 0.7 if ended else 1.05
        if late:
            self.training *= pace
        else:
            self.seconds *= pace


@dataclass
class Tally:
    """What was done: kills by what the process was doing then, runs that ended, bits found equal."""

    starting: int = 0  # killed before its first line
    training: int = 0  # killed after it
    writing: int = 0  # of these: with a file half-written or half-renamed beside the others
    stopped: int = 0  # by SIGINT or SIGTERM: saved and ended with 130
    runs: int = 0
    bits: int = 0

    @property
    def kills(self) -> int:
        return self.starting + self.training


def reference(place: Path, case: str) -> Reference:
    """Makes the run `case` in `place`/whole-CASE without harm, and times it."""
    begun = time.perf_counter()
    folder = place / f"whole-{case.replace(' ', '-')}"
    process = _start(place, *words(case, folder.name))
    times = [(line, time.perf_counter()) for line in process.stdout]
    error = process.communicate()[1]
    assert process.returncode == 0, error
    ended, last = time.perf_counter(), max(moment for line, moment in times if line.startswith("epoch"))
    return Reference(folder, ended - begun, last - times[0][1])


def survive(place: Path, case: str, whole: Reference, rng: Random, kills: int, tally: Tally) -> None:
    """Begins `case` in a folder of its own, kills and resumes it `kills` times or until it ends, compares it."""
    out = place / f"killed-{tally.runs}"
    enough = tally.kills + kills
    while tally.kills < enough and not _killed(place, out, case, whole, rng, tally):
        check_whole(out)
    last = finish(place, *_arguments(out, case))
    assert last.returncode == 0, last.stderr
    tally.runs += 1
    tally.bits += bits_alike(whole.folder, out)
    assert not list(out.glob(".*")), "something is left of the killed ones"


def _killed(place: Path, out: Path, case: str, whole: Reference, rng: Random, tally: Tally) -> bool:
    """Starts or resumes the run and sends a signal to it; whether it ended before."""
    process = _start(place, *_arguments(out, case))
    # Half of the signals anywhere in the process's life, half after its start-up, where there is more to break.
    late, said = rng.random() < 0.5, ""
    if late:
        said = process.stdout.readline()
    word = rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
    word = word if late else signal.SIGKILL
    delay = rng.uniform(0.0, 1.2 * whole.training if late else whole.seconds)
    timer = threading.Timer(delay, process.send_signal, [word])
    timer.start()
    rest, error = process.communicate()
    timer.cancel()
    timer.join()
    whole.paced(late, process.returncode == 0)
    if process.returncode == 130:
        line = error.splitlines()[-1]
        assert line.startswith("xpcnn: interrupted"), error
        # Between the first line and the first step there may be nothing to go on from.
        assert f"xpcnn train --resume {out.name}" in line or not (out / "last.ckpt").exists(), error
        tally.stopped += 1
    elif process.returncode == -signal.SIGKILL:
        if said or rest:
            tally.training += 1
            tally.writing += any(path.name != ".lock" for path in out.glob(".*"))
        else:
            tally.starting += 1
    else:  # the other two find no handler any more once everything is written
        assert process.returncode == 0 or (process.returncode == -word and _ended(out)), error
        return True
    return False


def _ended(out: Path) -> bool:
    return (out / "curves.png").exists()


def _arguments(out: Path, case: str) -> list[str]:
    return ["train", "--resume", out.name] if (out / "config.toml").exists() else words(case, out.name)


def _start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*arguments), cwd=place, env=environment(), stdout=pipe, stderr=pipe, text=True)
