"""Goes back to the best epoch when training ends."""

from __future__ import annotations

from typing import Any

from xpcnn.training.callbacks.base import Callback
from xpcnn.training.trainer import Trainer

__all__ = ["KeepBest"]


class KeepBest(Callback):
    """Keeps the parameters and running statistics of the epoch with the least `monitor`; the network ends with them."""

    def __init__(self, monitor: str = "test_loss") -> None:
        self.monitor = monitor
        self.best: float | None = None
        self._arrays: dict[str, Any] = {}

    def on_epoch_end(self, trainer: Trainer) -> None:
        value = trainer.history[-1][self.monitor]
        if self.best is None or value < self.best:
            self.best = value
            self._arrays = {name: a.copy() for name, a in trainer.network.arrays().items()}

    def on_train_end(self, trainer: Trainer) -> None:
        if self._arrays:
            trainer.network.load_arrays(self._arrays)
