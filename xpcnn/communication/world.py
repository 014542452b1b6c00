"""The processes that one mpiexec has started, found once."""

from __future__ import annotations

import functools
import os

from xpcnn.communication.communicator import Communicator
from xpcnn.errors import DistributedError

__all__ = ["world"]

_STARTED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # how many MPICH, Open MPI or srun has started


@functools.cache
def world() -> Communicator:
    """All processes that were started together; one, where Python was started without mpiexec.

    Raises ConfigError where mpi4py or an MPI library is not installed, and DistributedError where another MPI has
    started several processes: each would train a network of its own.
    """
    from xpcnn.communication.mpi import MpiCommunicator

    ranks = MpiCommunicator()
    for name in _STARTED:
        told = os.environ.get(name, "")
        if ranks.size == 1 and told.isdigit() and int(told) > 1:
            raise DistributedError(
                f"{told} processes were started together ({name}={told}), but mpi4py's MPI sees one, so that each "
                "would train alone: start them with the mpiexec of the MPI that mpi4py uses (`xpcnn info` names it), "
                "or with srun --mpi=pmi2 or --mpi=pmix, whichever it understands"
            )
    return ranks
