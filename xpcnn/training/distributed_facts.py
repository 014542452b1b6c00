"""What processes must have in common to train one network, and the error that says in what they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpcnn.communication import Communicator
from xpcnn.device import asnumpy
from xpcnn.errors import DistributedError
from xpcnn.training.checkpoint import versions

if TYPE_CHECKING:
    from xpcnn.training.trainer import Trainer

__all__ = ["agree", "checksum", "facts"]

Facts = Mapping[str, Mapping[str, Any]]

_OWN = ("threads", "BLAS for")  # of the versions: every rank's gradients go into all parameters alike
_DEPTH = 3  # objects within objects that are described


def agree(communicator: Communicator, mine: Facts) -> None:
    """Raises the same DistributedError on all ranks where any two differ in what they say."""
    everyone = communicator.all((communicator.host, mine))
    (first_host, first), *_ = everyone
    for rank, (host, theirs) in enumerate(everyone):
        for group in {**first, **theirs}:
            here, there = first.get(group, {}), theirs.get(group, {})
            for name in {**here, **there}:
                a, b = here.get(name, "none"), there.get(name, "none")
                if a != b:
                    raise DistributedError(
                        f"rank {rank} on {host} differs from rank 0 on {first_host} in its {group}: {name} is {b!r} "
                        f"there and {a!r} on rank 0; start all ranks with the same command, version and data"
                    )


def facts(trainer: Trainer, **options: Any) -> Facts:
    """What must be alike before a trainer's steps: how it trains, with which versions, on what, and from where.

    options: what else has been said to this process.
    """
    network = trainer.network
    said: dict[str, Any] = {
        "epochs": trainer.epochs,
        "mini_batch_size": trainer.mini_batch_size,
        "seed": trainer.seed,
        "optimizer": trainer.optimizer,
        "schedule": trainer.schedule,
        "average": None if trainer.averaging is None else trainer.averaging.decay,
        "augment": trainer.loader.augment,
        "scale": trainer.loader.scale,
        "samples": len(trainer.loader.x),
        "network": [(name, type(node.layer).__name__, node.shape) for name, node in network.nodes.items()],
        "dtype": network.dtype.name,
        "network's seed": network.seed,
        "loss": network.loss_layer,
        **options,
    }
    arrays = {**network.arrays(), **{f"optimizer/{name}": a for name, a in trainer.optimizer.state_dict().items()}}
    return {
        "configuration": {name: described(value) for name, value in said.items()},
        "versions": {name: v for name, v in versions(network).items() if name not in _OWN},
        "data": trainer.fingerprints,
        "state": {
            "epoch": trainer.epoch,
            "batch": trainer.batch,
            "step": trainer.step_count,
            "parameters' checksum": checksum(arrays),
        },
    }


def checksum(arrays: Mapping[str, Any]) -> str:
    """64 bits of the SHA-256 of all arrays' names and bytes."""
    digest = hashlib.sha256()
    for name, a in arrays.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(asnumpy(a)).data)
    return digest.hexdigest()[:16]


def described(value: Any, depth: int = _DEPTH) -> str:
    """A value in words that are the same in every process: an object by its class and its public attributes."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, np.generic | np.ndarray):
        return f"{value.dtype} {value.shape} {checksum({'': value})}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{described(k, depth)}: {described(v, depth)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(described(item, depth) for item in value) + ")"
    if hasattr(value, "__qualname__"):  # a function or a class
        return str(value.__qualname__)
    if depth == 0 or not hasattr(value, "__dict__"):
        return type(value).__qualname__
    parts = (f"{k}={described(v, depth - 1)}" for k, v in sorted(vars(value).items()) if not k.startswith("_"))
    return f"{type(value).__qualname__}({', '.join(parts)})"
