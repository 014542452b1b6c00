"""The harness itself: each way to break the promise is seen, and damage is the same each time."""

import re
import time
from random import Random

import numpy as np
import pytest

from tests.fuzz import harness
from tests.fuzz.harness import Target, fuzz
from tests.fuzz.mutate import mutate
from xpcnn.errors import DataError


def late():
    try:
        raise MemoryError
    except MemoryError as error:
        raise DataError("no room") from error


def busy():
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass


def refuse(message):
    raise DataError(message)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: (_ for _ in ()).throw(SystemExit(1)), "SystemExit"),
        (late, "once the memory was gone"),
        (busy, "took 0.2 s"),
        (lambda: refuse("\x1b[2J"), "nobody can read"),
        (lambda: refuse("x" * 5000), "5000 characters that nobody can read"),
        pytest.param(
            lambda: np.ones(30_000_000).sum(),
            "took 240 MB and addresses for .* honest need 0 MB",
            marks=pytest.mark.skipif(harness._STATUS is None, reason="memory is not measured on this system"),
        ),
    ],
)
def test_broken_promises_are_seen(tmp_path, monkeypatch, act, reason):
    monkeypatch.setattr(harness, "MOST_SECONDS", 0.1 if act is busy else 60.0)

    def read(path):
        if path.read_bytes() != b"whole":
            act()

    report = fuzz(Target("t", lambda: [b"whole"], read, ".bin"), 1, 0, tmp_path)
    assert report.counts["crash"] == 1
    assert re.search(reason, report.faults[0].reason)


def test_kept_promises_are_counted(tmp_path):
    def read(path):
        if path.read_bytes()[:1] != b"w":
            refuse("another file")
        return {"a": np.ones(3)}

    report = fuzz(Target("t", lambda: [b"whole"], read, ".bin"), 200, 0, tmp_path)
    assert report.faults == []
    assert report.counts["good"] > 20
    assert report.counts["refused"] > 20
    assert report.counts.total() == report.files == 200


def test_the_same_numbers_are_the_same_files():
    seeds = [b"a seed of 20 bytes", b"x"]
    first, second = ([mutate(Random(number), seeds, [b"word"]) for number in range(300)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 200


@pytest.mark.parametrize("seed", [b"", b"a"])
def test_damage_to_nearly_nothing(seed):
    for number in range(300):
        assert isinstance(mutate(Random(number), [seed]), bytes)
