"""A Trainer's side of training in several processes: its part of every batch, and what it tells and asks the others.

Every rank makes the epoch's one permutation and takes its part of every batch, so that N ranks make the very batches
that one process makes. Gradients are summed, so all ranks make the same steps from the same parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from xpcnn.communication import Communicator, Lifeline, world
from xpcnn.communication.choose import own_device
from xpcnn.device import Array, Device, get_device
from xpcnn.errors import DistributedError
from xpcnn.executors.exchange import Exchange
from xpcnn.training.distributed_facts import agree, checksum, facts
from xpcnn.training.shares import cores_for_one, part_of

if TYPE_CHECKING:
    from xpcnn.network import Network
    from xpcnn.training.callbacks.base import Callback
    from xpcnn.training.trainer import Trainer

__all__ = ["OneProcess", "Team", "team_of"]


class OneProcess:
    """What a Trainer asks about other processes, where there are none.

    ranks: how many train together. across: adds an array up over all of them, in place. part: which samples of a
    batch of so many are this one's.
    """

    ranks = 1
    across: Callable[[Array], None] | None = None
    part: Callable[[int], slice] | None = None

    @contextmanager
    def training(self, trainer: Trainer) -> Iterator[None]:
        """Around all steps of a call of `Trainer.train`."""
        yield

    @property
    def versions(self) -> dict[str, str]:
        """What has a say in the bits of a run, beside that of each process (see training/checkpoint.py)."""
        return {} if self.ranks == 1 else {"ranks": str(self.ranks)}

    def placed(self, network: Network, device: str | Device | None) -> Network:
        """The network on the device that this process is to train on; None: where it is."""
        return network if device is None else network.to(get_device(device))

    def agree(self, trainer: Trainer) -> None:
        """Raises DistributedError where the processes differ in how or on what they are to train."""

    def hearing(self, callbacks: Sequence[Callback]) -> list[Callback]:
        """The callbacks that this process tells what happens."""
        return list(callbacks)

    def turns(self, batches: int) -> tuple[int, int]:
        """(first, stride) of the batches that are this process's to evaluate."""
        return 0, 1

    def pass_through(self, trainer: Trainer, x: Any, t: Any) -> Array:
        """Forward and backward over one batch; its loss."""
        return trainer.network.train_pass(x, t, trainer.tally)[0]

    def begins(self, trainer: Trainer) -> None:
        """Before the first step, when all callbacks have been told."""

    def stops(self, trainer: Trainer) -> bool:
        """Whether no further step is to be made."""
        return trainer.stop_reason is not None

    def epoch_ended(self, trainer: Trainer) -> None:
        """When all callbacks have been told of an epoch's end."""

    def all(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        return [value]


class Team(OneProcess):
    """One rank among several.

    sync_batch_norm: whether batch normalisation takes its statistics over the whole batch. Otherwise each rank
    normalises by its own part, and the running statistics follow the mean of the ranks'.
    """

    def __init__(self, communicator: Communicator, sync_batch_norm: bool = True) -> None:
        self.communicator, self.sync_batch_norm = communicator, sync_batch_norm
        self.ranks = communicator.size
        self.across = communicator.sum
        self.part = part_of(communicator.rank, communicator.size)
        self._exchange: Exchange | None = None
        self._shared_out = False  # the host's cores, among its ranks
        self._stopping = False  # agreed by all

    @contextmanager
    def training(self, trainer: Trainer) -> Iterator[None]:
        """Raises DistributedError where the ranks differ. A rank that leaves by an error ends all the others."""
        with nullcontext() if self.communicator.watched else Lifeline(self.communicator):
            own_device(self.communicator, trainer.network.device)  # raises where two share one, or devices differ
            self._share_cores(trainer.network)
            self.agree(trainer)
            self._stopping = False
            yield

    def agree(self, trainer: Trainer) -> None:
        agree(self.communicator, facts(trainer, sync_batch_norm=self.sync_batch_norm))

    def placed(self, network: Network, device: str | Device | None) -> Network:
        return network if device is None else network.to(own_device(self.communicator, device))

    def hearing(self, callbacks: Sequence[Callback]) -> list[Callback]:
        return [c for c in callbacks if self.communicator.rank == 0 or not c.first_only]

    def turns(self, batches: int) -> tuple[int, int]:
        return min(self.communicator.rank, batches), self.communicator.size

    def pass_through(self, trainer: Trainer, x: Any, t: Any) -> Array:
        """x: the whole batch, or this rank's part of it, as the Loader makes it. t: of the whole batch."""
        part = part_of(self.communicator.rank, self.communicator.size)(len(t))
        x = x[part] if len(x) == len(t) else x
        exchange = self._bound(trainer.network)
        exchange.stop = trainer.stop_reason is not None
        loss, _ = trainer.network.train_pass(x, t, trainer.tally, part)
        if exchange.stop:
            self._agree_to_stop(trainer, self.all(trainer.stop_reason))
        return loss

    def begins(self, trainer: Trainer) -> None:
        self._agree_to_stop(trainer, self.all(trainer.stop_reason))

    def stops(self, trainer: Trainer) -> bool:
        """Only what all have agreed on counts: a signal may come to one rank alone, or sooner than to another."""
        return self._stopping

    def epoch_ended(self, trainer: Trainer) -> None:
        """Raises DistributedError where the ranks' parameters are no longer the same."""
        everyone = self.all((checksum(trainer.network.arrays()), trainer.stop_reason))
        for rank, (theirs, _) in enumerate(everyone):
            if theirs != everyone[0][0]:
                raise DistributedError(
                    f"the parameters of rank {rank} are no longer those of rank 0 after step {trainer.step_count}: "
                    "its memory, its network or its MPI library gives wrong numbers; go on from an older checkpoint, "
                    "without that host"
                )
        self._agree_to_stop(trainer, [reason for _, reason in everyone])

    def all(self, value: Any) -> list[Any]:
        return self.communicator.all(value)

    def _agree_to_stop(self, trainer: Trainer, reasons: list[str | None]) -> None:
        reason = next((reason for reason in reasons if reason is not None), None)
        if reason is not None:
            trainer.stop_reason = reason
            self._stopping = True

    def _share_cores(self, network: Network) -> None:
        """Gives each rank its share of its host's cores, unless it was told how many threads to take."""
        if not self._shared_out and network.device.name == "cpu" and self.ranks > 1:
            cores = cores_for_one(self.communicator)
            if network.threads is None:
                network.use_threads(cores)
        self._shared_out = True

    def _bound(self, network: Network) -> Exchange:
        """The exchange that the network's executor uses; a network that was moved has a new executor."""
        executor = network.executor
        held: Exchange | None = executor.exchange
        if held is not None and held is self._exchange:
            return held
        separately = not self.sync_batch_norm
        self._exchange = new = executor.join(self.communicator, network.param_dtype, average_state=separately)
        executor.across = None if separately else new.communicator.sum
        return new


def team_of(distributed: bool | Communicator, sync_batch_norm: bool = True) -> OneProcess:
    """For a Trainer's `distributed`: False trains alone, True with all that one mpiexec has started.

    Raises ConfigError where there is no MPI.
    """
    if distributed is False:
        return OneProcess()
    return Team(world() if distributed is True else distributed, sync_batch_norm)
