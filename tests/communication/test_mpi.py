"""Sums by MPI, between real processes."""

import subprocess
import sys

import pytest

from tests.communication.processes import mpiexec, needs_mpi
from tests.faults.runs import environment

needs_mpi()
pytestmark = pytest.mark.mpi


def test_sums_and_values_of_three_ranks():
    run = mpiexec(3, "-m", "tests.communication.ranks", "sums")
    assert run.returncode == 0, run.stderr
    assert sorted(run.stdout.splitlines()) == [f"rank {rank} of 3 is right" for rank in range(3)]


def test_without_mpiexec_there_is_one_rank():
    run = subprocess.run(
        [sys.executable, "-m", "tests.communication.ranks", "sums"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout) == (0, "rank 0 of 1 is right\n"), run.stderr


def test_a_rank_that_does_not_come_is_given_up():
    run = mpiexec(2, "-m", "tests.communication.ranks", "late")
    seconds, text = run.stdout.split(maxsplit=1)
    assert 0.5 <= float(seconds) < 2.0
    assert text.startswith("rank 0 has waited 0.5 s for the others; one of them hangs or is far slower")
    assert run.returncode == 5


@pytest.mark.parametrize("name", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_processes_that_another_mpi_has_started_are_not_left_to_train_alone(name):
    code = "from xpcnn.communication import world; world()"
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment(**{name: "4"}), capture_output=True, text=True, timeout=60
    )
    assert f"4 processes were started together ({name}=4), but mpi4py's MPI sees one" in run.stderr
