"""SIGINT and SIGTERM: the step under way is finished and saved; a second one ends the process at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

import typer

from xpcnn.training.callbacks.base import Callback
from xpcnn.training.trainer import Trainer

__all__ = ["INTERRUPTED", "StopOnSignals"]

INTERRUPTED = "interrupted"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignals(Callback):
    """While open as a context, a signal during training sets the trainer's stop_reason to `INTERRUPTED`.

    One after training is let pass, for the results are being written and that takes a second. One before training,
    when there is nothing to finish, and every second one raise KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.raised = False  # KeyboardInterrupt, which a library may have turned into an error of its own
        self._asked = False
        self._trainer: Trainer | None = None
        self._over = False
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopOnSignals:
        self._old = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if self.raised and isinstance(error, Exception) and not isinstance(error, typer.Exit):
            raise KeyboardInterrupt from error

    def on_train_begin(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def on_train_end(self, trainer: Trainer) -> None:
        self._over = True

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._trainer is None or self._asked:
            self.raised = True
            raise KeyboardInterrupt
        self._asked = True
        if not self._over:
            self._trainer.stop_reason = INTERRUPTED
