"""A progress bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from xpcnn.training.callbacks.base import Callback

if TYPE_CHECKING:
    from xpcnn.training.trainer import Trainer

__all__ = ["Progress"]


class Progress(Callback):
    """Shows loss, accuracy, images a second and the time left; leaves one line an epoch behind.

    console: a rich Console (None: one on standard output).
    """

    first_only = True

    def __init__(self, console: Any = None) -> None:
        self.console = console
        self._bar: Any = None
        self._shown_at = 0.0
        self._start = (0.0, 0)  # time and step at which this epoch, or its rest, began

    def on_train_begin(self, trainer: Trainer) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self.console is None:
            self.console = Console(highlight=False)
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
                refresh_per_second=4,
            )
            total = trainer.epochs * len(trainer.loader)
            self._task = self._bar.add_task(
                "", total=total, completed=trainer.step_count, epoch=trainer.epoch + 1, figures=""
            )
            self._bar.start()

    def on_epoch_begin(self, trainer: Trainer) -> None:
        self._start = (time.perf_counter(), trainer.step_count)

    def on_step_end(self, trainer: Trainer) -> None:
        now = time.perf_counter()
        if self._bar is None or now - self._shown_at < 0.25:
            return  # reading the figures back from a GPU waits for it: four times a second is enough
        self._shown_at = now
        loss, accuracy = trainer.running()
        right = "" if math.isnan(accuracy) else f"accuracy {accuracy:6.2%}  "
        rate = (trainer.step_count - self._start[1]) * trainer.mini_batch_size / (now - self._start[0])
        self._bar.update(
            self._task,
            completed=trainer.step_count,
            epoch=f"{trainer.epoch + 1}/{trainer.epochs}",
            figures=f"loss {loss:.4f}  {right}{rate:,.0f} images/s",
        )

    def on_epoch_end(self, trainer: Trainer) -> None:
        row = trainer.history[-1]
        line = f"epoch {row['epoch']:>{len(str(trainer.epochs))}}/{trainer.epochs}"
        line += f"  loss {row['train_loss']:.4f}"
        if "train_acc" in row:
            line += f"  train {row['train_acc']:7.2%}"
        if "test_acc" in row:
            line += f"  test {row['test_acc']:7.2%} (loss {row['test_loss']:.4f})"
        elif "test_loss" in row:
            line += f"  test loss {row['test_loss']:.4f}"
        line += f"  {row['seconds']:5.1f} s  {row['images_per_second']:,.0f} images/s"
        self.console.print(line, markup=False, soft_wrap=True)

    def on_train_end(self, trainer: Trainer) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
