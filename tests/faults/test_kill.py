"""SIGKILL at random instants: what is left is whole, and goes on to the bits of a run that nobody killed.

A few kills, at the same fractions of a run each time; `python -m tests.faults.run --kills 200` makes many more.
"""

import os
from random import Random

import pytest

from tests.faults.kill import Tally, reference, survive
from tests.faults.runs import make_data


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(("case", "seed"), [("averages", 0), ("dropout", 1)])
def test_killed_and_resumed(tmp_path, case, seed):
    make_data(tmp_path)
    tally = Tally()
    survive(tmp_path, case, reference(tmp_path, case), Random(seed), 5, tally)
    assert tally.bits > 1e6
