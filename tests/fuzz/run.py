"""Tries a reader at length, by hand: python -m tests.fuzz.run --reader NAME --files 200000 --seed 0."""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.harness import Report, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Reads the files, keeps those that broke the promise, prints one line; 1 where there were any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", required=True, choices=sorted(TARGETS))
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "xpcnn-fuzz", help="for what broke")
    parser.add_argument("--mark", help="a word for the process list")
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    faulthandler.enable()  # a reader that takes the process down says where, and leaves the file it was reading
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix=f"xpcnn-fuzz-{given.reader}-", dir=shm))
    started = time.perf_counter()
    report = fuzz(TARGETS[given.reader], given.files, given.seed, folder, given.start)
    for fault in report.faults:
        kept = given.keep / f"{given.reader}-{given.seed}-{fault.number}"
        kept.write_bytes(fault.data)
        print(f"{kept}: {fault.reason}", flush=True)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    print(_line(given.reader, report, time.perf_counter() - started), flush=True)
    return 1 if report.faults else 0


def _line(name: str, report: Report, seconds: float) -> str:
    counts = report.counts
    return (
        f"{name}: {report.files:,} files, {counts['good']:,} good, {counts['refused']:,} refused, "
        f"{counts['crash']:,} crashes; slowest {report.slowest * 1000:.0f} ms, "
        f"most memory {report.memory / 1e6:.0f} MB; "
        f"{report.files / seconds:,.0f} files/s"
    )


if __name__ == "__main__":
    sys.exit(main())
