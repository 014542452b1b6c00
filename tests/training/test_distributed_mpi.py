"""Ranks that are real MPI processes give the parameters of one process, and the same bits every time."""

import sys

import numpy as np
import pytest

from tests.communication.processes import mpiexec, needs_mpi
from tests.training.distributed_runs import differences, train

needs_mpi()
pytestmark = pytest.mark.mpi

# 4 epochs of batches of 7, 7, 7 and 2: neither 2 nor 3 divides 7, and one of 3 ranks has no sample of the last.
SMALL = {"steps": 16, "batch": 7, "samples": 23, "threads": 1, "data": "stripes"}


def trained(folder, name, size, model, dtype):
    out = folder / f"{name}.npz"
    words = [f"--{key}={value}" for key, value in (SMALL | {"model": model, "dtype": dtype}).items()]
    run = mpiexec(size, "-m", "tests.training.distributed_runs", "train", out, *words, "--distributed")
    assert run.returncode == 0, run.stderr
    return out


@pytest.mark.parametrize(
    ("model", "dtype", "relative"),
    [
        # Ranks change the order in which a batch's few samples are added: a rounding or two of 2**-24, or 2**-53, in
        # each of 16 steps. Measured are 6e-8 and 5e-17, and 4e-7 and 4e-16 of the losses.
        ("deep", "float32", 2e-6),
        ("tiny", "float64", 4e-15),
    ],
)
def test_two_and_three_ranks_against_one_process(tmp_path, model, dtype, relative):
    train(str(tmp_path / "one.npz"), model=model, dtype=dtype, distributed=False, **SMALL)
    for size in (2, 3):
        gaps = differences(tmp_path / "one.npz", trained(tmp_path, str(size), size, model, dtype))
        assert gaps["steps"] == 16
        assert gaps["relative"] < relative
        assert gaps["loss"] < relative


def test_the_same_bits_from_run_to_run(tmp_path):
    runs = [np.load(trained(tmp_path, name, 3, "deep", "float32")) for name in ("a", "b")]
    for name in runs[0].files:
        if name not in ("seconds", "waited"):
            assert runs[0][name].tobytes() == runs[1][name].tobytes(), name


def test_the_extra_is_named_where_mpi_is_missing(monkeypatch):
    from xpcnn.communication.mpi import MpiCommunicator
    from xpcnn.errors import ConfigError

    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ConfigError, match=r'pip install "xpcnn\[mpi\]"'):
        MpiCommunicator()
