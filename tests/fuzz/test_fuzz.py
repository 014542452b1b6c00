"""A few hundred damaged files for every reader, the same ones each time; run.py tries many more by hand."""

import pytest

from tests.fuzz.harness import fuzz
from tests.fuzz.targets import TARGETS

FILES = 200


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_end_in_a_load_or_an_error_of_ours(name, tmp_path):
    report = fuzz(TARGETS[name], FILES, seed=0, folder=tmp_path)
    faults = [f"file {fault.number}: {fault.reason}" for fault in report.faults]
    assert not faults, f"python -m tests.fuzz.run --reader {name} keeps them: {faults}"
    assert report.counts["refused"] > FILES / 10  # else the damage does no harm, and nothing is tried
