"""last.ckpt and best.ckpt: a run that can be taken up again, and its best moment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpcnn.errors import ConfigError
from xpcnn.training.callbacks.base import Callback, saving
from xpcnn.training.callbacks.nan_guard import check_state
from xpcnn.training.checkpoint import save_checkpoint
from xpcnn.training.rotation import incoming, settle

if TYPE_CHECKING:
    from xpcnn.training.trainer import Trainer

__all__ = ["Checkpoints"]


class Checkpoints(Callback):
    """Writes `folder`/last.ckpt after every epoch (and when training is stopped in mid-epoch), best.ckpt at a best.

    every_steps, every_seconds: also in between. keep: how many of the last there are in all, the ones before
    last.ckpt as last.1.ckpt, last.2.ckpt and so on. config: kept in each, see `save_checkpoint`. The best is the
    highest test accuracy, or training accuracy without test data (the lowest loss, where the loss has no accuracy); of
    equals the first.

    A state with NaN or infinity is not written: that, and a disk that takes no more, raises TrainingError.
    """

    first_only = True

    def __init__(
        self,
        folder: str | PathLike[str],
        every_steps: int | None = None,
        every_seconds: float | None = None,
        keep: int = 2,
        config: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if keep < 1:
            raise ConfigError(f"keep is a number of checkpoints of at least 1, got {keep}")
        self.folder = Path(folder)
        self.every_steps, self.every_seconds = every_steps, every_seconds
        self.keep, self.config = keep, config
        self.best: float | None = None
        self.saved_step: int | None = None  # of the last.ckpt that this process has written or gone on from
        self._saved: tuple[int, int] | None = None
        self._saved_at = time.monotonic()

    def on_step_end(self, trainer: Trainer) -> None:
        last_batch = trainer.batch == len(trainer.loader)  # on_epoch_end saves then, with the epoch's figures
        due = (self.every_steps is not None and trainer.step_count % self.every_steps == 0) or (
            self.every_seconds is not None and time.monotonic() - self._saved_at >= self.every_seconds
        )
        if not last_batch and (due or trainer.stop_reason is not None):
            check_state(trainer)
            self.save(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        row = trainer.history[-1]
        figure = row.get("test_acc", row.get("train_acc"))
        if figure is None:  # the loss knows no right and wrong
            figure = -row.get("test_loss", row["train_loss"])
        if self.best is None or figure > self.best:
            self.best = figure
            # Before last.ckpt, which remembers that this best has been kept.
            with saving():
                save_checkpoint(self.folder / "best.ckpt", trainer, self.config)
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes last.ckpt, if it does not hold this very state."""
        here = (trainer.epoch, trainer.batch)
        if here == self._saved:
            return
        path = self.folder / "last.ckpt"
        with saving():
            save_checkpoint(incoming(path), trainer, self.config)
            settle(path, self.keep)
        self.loaded(trainer)

    def loaded(self, trainer: Trainer) -> None:
        """Says that last.ckpt holds the state that the trainer has now."""
        self._saved, self.saved_step = (trainer.epoch, trainer.batch), trainer.step_count
        self._saved_at = time.monotonic()

    def state(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state(self, values: dict[str, Any]) -> None:
        self.best = values.get("best")
