"""Reads damaged files one after another and holds every reader to its promise: a good load or an XpcnnError.

Beyond its honest need (twice the file, twice what was loaded, what `Target.need` adds) a file may take 200 MB of
memory, and 2 s of the processor's time. Messages are lines that can be printed, of bounded length.
"""

from __future__ import annotations

import dataclasses
import os
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutate import mutate
from xpcnn.errors import XpcnnError

__all__ = ["Fault", "Report", "Target", "fuzz"]

MOST_MEMORY = 200 * 10**6
MOST_SECONDS = 2.0
LONGEST_MESSAGE = 4000


@dataclass(frozen=True)
class Target:
    """A reader to be tried.

    seeds: small valid files. read: what is called on a path. suffix: of the file. tokens: words of the format.
    make: a damaged file whose outer shell is whole (checksums, lengths), so that the damage gets further in.
    need: memory that a file may honestly ask for besides; called only on one that took much.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    suffix: str
    tokens: tuple[bytes, ...] = ()
    make: Callable[[Random], bytes] | None = None
    need: Callable[[bytes], int] = lambda data: 0


@dataclass
class Fault:
    """A file that broke the promise: its number in the run, what happened, and its bytes."""

    number: int
    reason: str
    data: bytes


@dataclass
class Report:
    """What a run found; memory in bytes beyond what the process had, seconds of the processor."""

    files: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    slowest: float = 0.0
    memory: int = 0


def fuzz(target: Target, files: int, seed: int, folder: Path, start: int = 0, most_faults: int = 20) -> Report:
    """Reads damaged files number `start` to `files` of `seed`; the same numbers are always the same files.

    The file being read lies in `folder`, so that it is still there where the process itself was taken down.
    """
    seeds = list(target.seeds())
    path = folder / f"fuzzed{target.suffix}"
    report = Report()
    for data in seeds:
        path.write_bytes(data)
        target.read(path)  # damage is told from nonsense only where the undamaged file is read
    for number in range(start, files):
        rng = Random(f"{target.name} {seed} {number}")
        shell = target.make is not None and rng.random() < 0.6
        data = target.make(rng) if target.make and shell else mutate(rng, seeds, target.tokens)
        path.write_bytes(data)
        reason = _try(target, path, data, report)
        report.files += 1
        if reason:
            report.faults.append(Fault(number, reason, data))
            if len(report.faults) >= most_faults:
                break
    return report


def _try(target: Target, path: Path, data: bytes, report: Report) -> str:
    """Reads one file; what it did wrong, or "" for nothing."""
    result: object = None
    reason, kind = "", "refused"
    before = _memory(reset=True)
    started = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = target.read(path)
        kind = "good"
    except XpcnnError as error:
        reason = _bad_refusal(error)
    except BaseException as error:  # also what a Rust library raises in a panic, which is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        reason = f"{type(error).__name__}: {str(error)[:200]}"
    seconds = time.process_time() - started
    after = _memory()
    report.slowest = max(report.slowest, seconds)
    if seconds > MOST_SECONDS:
        reason = reason or f"took {seconds:.1f} s"
    taken = max(after.resident_peak - before.resident, 0)
    report.memory = max(report.memory, taken)
    # The peak of addresses cannot be forgotten: what lies below an earlier file's is not seen.
    mapped = after.virtual_peak - before.virtual if after.virtual_peak > before.virtual_peak else 0
    if max(taken, mapped) > MOST_MEMORY:
        honest = 2 * len(data) + 2 * _bytes(result) + target.need(data)
        if max(taken, mapped) > MOST_MEMORY + honest:
            found = f"took {taken / 1e6:.0f} MB and addresses for {mapped / 1e6:.0f} MB"
            reason = reason or f"{found}, honest need {honest / 1e6:.0f} MB"
    report.counts["crash" if reason else kind] += 1
    return reason


def _bad_refusal(error: XpcnnError) -> str:
    """What is wrong with a refusal: it ran out of memory first, or its message is no message."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, MemoryError):
            return "refused only once the memory was gone"
        chain = chain.__cause__ or chain.__context__
    text = str(error)
    if len(text) > LONGEST_MESSAGE or not all(line.isprintable() for line in text.split("\n")):
        return f"a message of {len(text)} characters that nobody can read: {text[:100]!r}"
    return ""


def _bytes(value: Any) -> int:
    """Bytes of the arrays in what was loaded."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    if dataclasses.is_dataclass(value):
        return sum(_bytes(getattr(value, each.name)) for each in dataclasses.fields(value))
    return 0


@dataclass(frozen=True)
class _Memory:
    virtual_peak: int = 0
    virtual: int = 0
    resident_peak: int = 0
    resident: int = 0


# Linux tells what the whole process takes, C libraries and all; elsewhere memory is not measured.
_STATUS = os.open("/proc/self/status", os.O_RDONLY) if os.access("/proc/self/clear_refs", os.W_OK) else None
_FIELDS = re.compile(rb"Vm(?:Peak|Size|HWM|RSS):\s*(\d+) kB")


def _memory(reset: bool = False) -> _Memory:
    """What this process takes now, and took at most; reset: forgets the most that was resident."""
    if _STATUS is None:
        return _Memory()
    found = _Memory(*(int(size) * 1024 for size in _FIELDS.findall(os.pread(_STATUS, 4096, 0))))
    if reset and found.resident_peak > found.resident + (1 << 20):
        Path("/proc/self/clear_refs").write_text("5")
        found = dataclasses.replace(found, resident_peak=found.resident)
    return found
