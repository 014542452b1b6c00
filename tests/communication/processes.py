"""Real MPI processes for tests, started by mpiexec and ended after a time in any case."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.faults.runs import environment

__all__ = ["MPIEXEC", "keep_errors", "missing_mpi", "mpiexec", "needs_mpi"]

_ERRORS = "XPCNN_TEST_ERRORS"

ROOT = Path(__file__).parents[2]
LIMIT = 20.0  # seconds that any one of these runs may take


def _found() -> str | None:
    beside = Path(sys.executable).with_name("mpiexec")  # where pip puts that of the mpich wheel
    return str(beside) if beside.exists() else shutil.which("mpiexec")


MPIEXEC = _found()


def missing_mpi() -> str:
    """What is not installed, and how to get it; empty where nothing is missing."""
    missing = [] if MPIEXEC else ["mpiexec"]
    missing += [] if importlib.util.find_spec("mpi4py") else ["mpi4py"]
    return f'no {" and no ".join(missing)} found: pip install "xpcnn[mpi]"' if missing else ""


def needs_mpi() -> None:
    """At the head of a test file: leaves it out, in one line, where no MPI is installed."""
    if missing := missing_mpi():
        pytest.skip(missing, allow_module_level=True)


def mpiexec(
    n: int, *arguments: object, folder: Path | None = None, flags: tuple[str, ...] = (), others: tuple[object, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in n processes, started in `folder`; others: the arguments of the last of them, if its own.

    Whatever is left after LIMIT seconds is killed, and TimeoutExpired raised. What scripts that call `keep_errors` say
    on standard error is in the result's, too.
    """
    errors = tempfile.TemporaryDirectory()
    python = [sys.executable]
    first = ["-n", str(n - bool(others)), *python, *map(str, arguments)]
    last = [":", "-n", "1", *python, *map(str, others)] if others else []
    process = subprocess.Popen(
        [str(MPIEXEC), *flags, *first, *last],
        cwd=folder or ROOT,
        env=environment(PYTHONFAULTHANDLER="1", **{_ERRORS: errors.name}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    with errors:
        err += "".join(file.read_text() for file in sorted(Path(errors.name).iterdir()))
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def keep_errors() -> None:
    """In a process of `mpiexec`: lets standard error go to a file, as mpiexec may drop what the dead have said last."""
    if _ERRORS not in os.environ:  # started by hand
        return
    file = os.open(Path(os.environ[_ERRORS], str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, sys.stderr.fileno())
