"""Stops a run whose numbers are no longer finite, before it spoils the parameters or what is saved of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from xpcnn.device import asnumpy
from xpcnn.errors import TrainingError
from xpcnn.training.callbacks.base import Callback

if TYPE_CHECKING:
    from xpcnn.training.trainer import Trainer

__all__ = ["NanGuard", "check_state"]

_ADVICE = "a smaller learning rate or clip_norm may help, or look at the data"


class NanGuard(Callback):
    """Looks at the loss of every `every`-th step; None: every step on a CPU, every 50th on a GPU, where looking waits.

    Raises TrainingError with the step and the first layer whose output or parameters are not finite. On a CPU the
    optimizer has not yet used that batch, so the parameters are still those of the last good step. At an epoch's end
    it looks at all parameters and the optimizer's state as well.
    """

    def __init__(self, every: int | None = None) -> None:
        self.every = every

    def on_pass_end(self, trainer: Trainer, x: Any, t: Any, loss: Any) -> None:
        every = self.every or (1 if trainer.network.device.name == "cpu" else 50)
        if trainer.step_count % every == 0 and not math.isfinite(float(loss)):
            raise TrainingError(
                f"the loss of step {trainer.step_count + 1} (epoch {trainer.epoch + 1}) is {float(loss)}: "
                f"{self._cause(trainer, x)}; {_ADVICE}"
            )

    def on_epoch_end(self, trainer: Trainer) -> None:
        check_state(trainer)

    def _cause(self, trainer: Trainer, x: Any) -> str:
        """The first that any process finds: where several train together, the loss is alike in all of them."""
        found = trainer.team.all(self._found(trainer, x) if len(x) else None)
        return next((cause for cause in found if cause is not None), "the scores are finite, their loss is not")

    def _found(self, trainer: Trainer, x: Any) -> str | None:
        network = trainer.network
        xp = network.device.xp
        if not bool(xp.isfinite(network.device.asarray(x, network.dtype)).all()):
            return "the batch itself holds NaN or infinity"
        for name, a in network.params.items():
            if not bool(xp.isfinite(a).all()):
                return f"parameter {name} holds NaN or infinity"
        layer = network.first_nonfinite(x, step=network.step - 1)  # the pass has counted itself already
        return f"layer {layer} gives NaN or infinity" if layer else None


def check_state(trainer: Trainer) -> None:
    """Raises TrainingError, naming the step and the first array of network or optimizer that is not finite.

    A gradient can overflow where the loss does not, and an optimizer's squares before its parameters.
    """
    optimizer = trainer.optimizer.state_dict().items()
    arrays = {f"parameter {name}": a for name, a in trainer.network.arrays().items()}
    arrays |= {f"the optimizer's {name}": a for name, a in optimizer if a.dtype.kind == "f"}
    if not arrays:
        return
    xp = trainer.network.device.xp
    finite = asnumpy(xp.stack([xp.isfinite(a).all() for a in arrays.values()]))  # a GPU is waited for once
    for name, good in zip(arrays, finite.tolist(), strict=True):
        if not good:
            raise TrainingError(f"{name} holds NaN or infinity after step {trainer.step_count}; {_ADVICE}")
