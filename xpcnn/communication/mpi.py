"""Sums by MPI, through mpi4py."""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import os
import pickle
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

from xpcnn.communication.communicator import LIMIT, Communicator, Pending
from xpcnn.device import Array
from xpcnn.errors import ConfigError, DistributedError

__all__ = ["MpiCommunicator", "mpi_library"]

# Ranks may share cores, and who waits must not keep the others from calculating.
_SHORT = 2e-3  # seconds in which the processor is but offered to others between two looks: most sums are there then
_PAUSE = 5e-5  # seconds without looking, after that
_yield = getattr(os, "sched_yield", lambda: None)  # Windows has none
_GOODBYE = 1.0  # seconds that the end of MPI may take where something has gone wrong


class MpiCommunicator(Communicator):
    """All processes that one mpiexec has started. limit: seconds after which those who do not come are given up.

    Sums that run beside other work (`start_sum`) have an MPI communicator of their own: on either one the order of
    calls is the same everywhere. Only the thread that trains calls MPI.
    Raises ConfigError where mpi4py or an MPI library is not installed.
    """

    name = "MPI"

    def __init__(self, limit: float = LIMIT) -> None:
        super().__init__()
        self.limit = limit
        self._broken = False
        mpi = self._mpi = mpi_library()
        self._comm, self._beside = mpi.COMM_WORLD.Dup(), mpi.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        here = self._comm.Split_type(mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = here.Get_rank(), here.Get_size()
        here.Free()
        _hear_out_mpiexec()

    def start_sum(self, a: Array) -> Pending:
        return self._sum(self._beside, a)

    def sum(self, a: Array) -> None:
        self._sum(self._comm, a).wait()

    def _sum(self, comm: Any, a: Array) -> _Sum:
        self.calls += 1
        self.bytes += int(a.nbytes)
        return _Sum(self, comm.Iallreduce(self._mpi.IN_PLACE, a))

    def all(self, value: Any, limit: float | None = LIMIT) -> list[Any]:
        mine = np.frombuffer(pickle.dumps(value), dtype=np.uint8)
        sizes = np.zeros(self.size, dtype=np.int64)
        self._wait(self._comm.Iallgather(np.array([mine.size]), sizes), limit)
        theirs = np.empty(int(sizes.sum()), dtype=np.uint8)
        self._wait(self._comm.Iallgatherv(mine, (theirs, sizes.tolist())), limit)
        ends = np.cumsum(sizes)
        return [pickle.loads(theirs[end - size : end].tobytes()) for end, size in zip(ends, sizes, strict=True)]

    def _wait(self, request: Any, limit: float | None) -> None:
        """Looks at a request until it is done."""
        started = time.perf_counter()
        while not request.Test():
            waited = time.perf_counter() - started
            if waited <= _SHORT:
                _yield()
            else:
                time.sleep(_PAUSE)
                if limit is not None and waited > limit:
                    raise DistributedError(
                        f"rank {self.rank} has waited {limit:g} s for the others; one of them hangs or is far slower; "
                        "see what they print, then go on with --resume"
                    )
        self.seconds += time.perf_counter() - started

    def give_up(self) -> None:
        if not self._broken:
            self._broken = True
            atexit.register(_leave, self._mpi)

    def abort(self, code: int) -> None:
        self._comm.Abort(code)


class _Sum(Pending):
    def __init__(self, owner: MpiCommunicator, request: Any) -> None:
        self._owner, self._request = owner, request

    def poke(self) -> None:
        self._request.Test()

    def wait(self) -> None:
        self._owner._wait(self._request, self._owner.limit)


def _hear_out_mpiexec() -> None:
    """MPICH's mpiexec tells of a dead process by SIGUSR1, which would end this one before it has said who died."""
    number = getattr(signal, "SIGUSR1", None)
    here = threading.current_thread() is threading.main_thread()  # elsewhere no signal can be set
    if number is not None and here and signal.getsignal(number) == signal.SIG_DFL:
        signal.signal(number, signal.SIG_IGN)


def _leave(mpi: Any) -> None:
    """At the end of a process that failed: MPI's own end would wait for those who never come there."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open(os.devnull, "w") as nowhere:
        # The one clock of Python's that also ends a process that is deep in a library.
        faulthandler.dump_traceback_later(_GOODBYE, exit=True, file=nowhere)
        mpi.Finalize()
        faulthandler.cancel_dump_traceback_later()


def mpi_library() -> Any:
    """mpi4py.MPI. Raises ConfigError, saying what to install, where it cannot be loaded."""
    try:
        return importlib.import_module("mpi4py.MPI")
    except ModuleNotFoundError as error:
        if error.name not in ("mpi4py", "mpi4py.MPI"):
            raise
        raise ConfigError(
            'training over several processes needs MPI; pip install "xpcnn[mpi]", which brings mpi4py and MPICH, then '
            "start it with mpiexec"
        ) from error
    except (ImportError, RuntimeError) as error:  # mpi4py without an MPI library that it can load
        raise ConfigError(
            f'mpi4py is installed but finds no MPI library ({error}); pip install "xpcnn[mpi]" brings MPICH'
        ) from error
