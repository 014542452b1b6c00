"""All that a resumed run needs of a Trainer: what it is in, out of it and back into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpcnn.device import Array, asnumpy
from xpcnn.errors import CheckpointError
from xpcnn.executors.tally import Tally

if TYPE_CHECKING:
    from xpcnn.training.callbacks.base import Callback
    from xpcnn.training.trainer import Trainer

__all__ = ["put_back", "state_of"]


def state_of(trainer: Trainer) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, JSON-ready values) from which `put_back` continues to the same bits; all of it copies."""
    losses = trainer.train_loss_list
    if trainer.averaging is None:
        arrays = {f"network/{name}": np.array(asnumpy(a)) for name, a in trainer.network.arrays().items()}
    else:
        network, averages = trainer.averaging.state()
        arrays = {f"network/{name}": a for name, a in network.items()}
        arrays.update({f"average/{name}": a for name, a in averages.items()})
    arrays.update({f"optimizer/{name}": asnumpy(a) for name, a in trainer.optimizer.state_dict().items()})
    arrays.update({f"scaling/{name}": asnumpy(a) for name, a in _scaling(trainer).items()})
    arrays["history/step_losses"] = np.array(losses, dtype=np.float64)
    values = {
        "epoch": trainer.epoch,
        "batch": trainer.batch,
        "step_count": trainer.step_count,
        "network_step": trainer.network.step,
        "network_seed": trainer.network.seed,
        **trainer.tally.values(),
        "history": [dict(row) for row in trainer.history.rows],
        "callbacks": {name: state for name, c in _named_callbacks(trainer) if (state := c.state())},
    }
    return arrays, values


def put_back(trainer: Trainer, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], source: object) -> None:
    """Puts the trainer and its network where `state_of` found them. Raises CheckpointError where they do not fit."""
    averages = _group(arrays, "average/")
    if trainer.averaging is not None:
        trainer.averaging.load(averages, source)
    elif averages:
        raise CheckpointError(f"{source} holds averages of the parameters; go on with the same `average`")
    trainer.network.load_arrays(_group(arrays, "network/"), source)
    held = {name: trainer.network.device.asarray(a) for name, a in _group(arrays, "optimizer/").items()}
    trainer.optimizer.load_state_dict(held)
    scaling = _scaling(trainer)
    for name, a in _group(arrays, "scaling/").items():
        if name in scaling:
            scaling[name][...] = trainer.network.device.asarray(a)
    trainer.epoch, trainer.batch = values["epoch"], values["batch"]
    trainer.step_count, trainer.network.step = values["step_count"], values["network_step"]
    trainer.network.use_seed(values["network_seed"])
    sums = {name: values[name] for name in ("loss_sum", "right", "seen")}
    trainer.tally = Tally(trainer.network.device.xp, **sums)
    trainer.forget_losses()
    trainer.history.rows[:] = [dict(row) for row in values["history"]]
    trainer.history.step_losses[:] = arrays["history/step_losses"].tolist()
    if trainer.step_count:  # an epoch that has no step left reports the rate of its last one
        trainer.optimizer.lr = trainer.schedule.lr_at(trainer.step_count - 1)
    for name, callback in _named_callbacks(trainer):
        callback.load_state(values["callbacks"].get(name, {}))


def _scaling(trainer: Trainer) -> dict[str, Array]:
    """The state of the loss's scale, where there is one (float16)."""
    flat = trainer.network.params.flat
    return {} if flat is None else flat.extra()


def _named_callbacks(trainer: Trainer) -> list[tuple[str, Callback]]:
    """Each callback with the name of its class, and a number from the second of a class on."""
    counts: dict[str, int] = {}
    named = []
    for callback in trainer.callbacks:
        kind = type(callback).__name__
        counts[kind] = counts.get(kind, 0) + 1
        named.append((kind if counts[kind] == 1 else f"{kind} {counts[kind]}", callback))
    return named


def _group(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
