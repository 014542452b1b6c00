"""Ends a run that no longer gets better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpcnn.errors import ConfigError
from xpcnn.training.callbacks.base import Callback

if TYPE_CHECKING:
    from xpcnn.training.trainer import Trainer

__all__ = ["EarlyStopping"]


class EarlyStopping(Callback):
    """Stops after `patience` epochs in which `monitor` did not improve by more than `min_delta`.

    monitor: a column of the history; losses are to fall, accuracies to rise. Raises ConfigError for a column the
    history does not have (test figures need test data).
    """

    def __init__(self, patience: int = 5, monitor: str = "test_loss", min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ConfigError(f"patience is at least 1 epoch, got {patience}")
        self.patience, self.monitor, self.min_delta = patience, monitor, min_delta
        self.best: float | None = None
        self.waited = 0
        self._was_done = False  # in the state that was loaded

    def on_train_begin(self, trainer: Trainer) -> None:
        if self._was_done:
            self._was_done = False  # a further call of `train` is meant to go on
            self._stop(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        row = trainer.history[-1]
        if self.monitor not in row:
            raise ConfigError(f"early stopping watches {self.monitor!r}, but an epoch only has {', '.join(row)}")
        value = -row[self.monitor] if self.monitor.endswith("loss") else row[self.monitor]
        if self.best is None or value > self.best + self.min_delta:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        trainer.stop_reason = f"{self.monitor} has not improved for {self.patience} epochs"

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state(self, values: dict[str, Any]) -> None:
        self.best, self.waited = values.get("best"), values.get("waited", 0)
        self._was_done = self.waited >= self.patience
