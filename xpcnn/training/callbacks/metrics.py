"""metrics.csv and metrics.jsonl: a row an epoch."""

from __future__ import annotations

import csv
import io
import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from xpcnn.atomic import atomic_write
from xpcnn.training.callbacks.base import Callback, saving

if TYPE_CHECKING:
    from xpcnn.training.trainer import Trainer

__all__ = ["MetricsFiles"]

# Only figures that are the same each time the same run is made; times are in the JSONL file.
COLUMNS = ("epoch", "step", "lr", "train_loss", "train_acc", "test_loss", "test_acc")


class MetricsFiles(Callback):
    """Keeps `folder`/metrics.csv and metrics.jsonl equal to the history after every epoch.

    Both are written whole each time and renamed into place: never half a line, never an epoch twice. Where training
    begins or goes on, files that are there are brought to the history, without rows of a time after its checkpoint.
    Raises TrainingError where the disk takes no more.
    """

    first_only = True

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)

    def on_train_begin(self, trainer: Trainer) -> None:
        there = any((self.folder / name).exists() for name in ("metrics.csv", "metrics.jsonl"))
        if there or trainer.history.rows:
            self._write(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row.get(column, "") for column in COLUMNS] for row in trainer.history.rows)
        with saving():
            with atomic_write(self.folder / "metrics.csv", "w") as file:
                file.write(text.getvalue())
            with atomic_write(self.folder / "metrics.jsonl", "w") as file:
                file.writelines(json.dumps(row) + "\n" for row in trainer.history.rows)
