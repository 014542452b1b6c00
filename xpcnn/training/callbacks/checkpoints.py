"""last.ckpt and best.ckpt: a run that can be taken up again, and its best moment."""

from __future__ import annotations

import time
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpcnn.training.callbacks.base import Callback
from xpcnn.training.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from xpcnn.training.trainer import Trainer

__all__ = ["Checkpoints"]


class Checkpoints(Callback):
    """Writes `folder`/last.ckpt after every epoch (and when training is stopped in mid-epoch), best.ckpt at a best.

    every_steps, every_seconds: also in between. The best is the highest test accuracy, or training accuracy without
    test data; of equals the first.
    """

    def __init__(
        self, folder: str | PathLike[str], every_steps: int | None = None, every_seconds: float | None = None
    ) -> None:
        self.folder = Path(folder)
        self.every_steps, self.every_seconds = every_steps, every_seconds
        self.best: float | None = None
        self._saved_at = time.monotonic()

    def on_step_end(self, trainer: Trainer) -> None:
        last_batch = trainer.batch == len(trainer.loader)  # on_epoch_end saves then, with the epoch's figures
        due = (self.every_steps is not None and trainer.step_count % self.every_steps == 0) or (
            self.every_seconds is not None and time.monotonic() - self._saved_at >= self.every_seconds
        )
        if not last_batch and (due or trainer.stop_reason is not None):
            self._save(trainer, "last.ckpt")

    def on_epoch_end(self, trainer: Trainer) -> None:
        row = trainer.history[-1]
        figure = row.get("test_acc", row["train_acc"])
        better = self.best is None or figure > self.best
        if better:
            self.best = figure
        self._save(trainer, "last.ckpt")
        if better:
            self._save(trainer, "best.ckpt")

    def _save(self, trainer: Trainer, name: str) -> None:
        save_checkpoint(self.folder / name, trainer)
        self._saved_at = time.monotonic()

    def state(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state(self, values: dict[str, Any]) -> None:
        self.best = values.get("best")
