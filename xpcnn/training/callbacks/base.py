"""What a Trainer tells, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xpcnn.errors import ConfigError, TrainingError

if TYPE_CHECKING:  # the trainer imports this file
    from xpcnn.training.trainer import Trainer

__all__ = ["Callback", "saving"]


class Callback:
    """Base of all callbacks: each event does nothing until a subclass says otherwise.

    first_only: of several processes that train together only the first tells it anything; for what prints or writes.
    """

    first_only = False

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first step of a call of `train`."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before an epoch's first batch, or the batch at which a resumed epoch goes on."""

    def on_pass_end(self, trainer: Trainer, x: Any, t: Any, loss: Any) -> None:
        """After forward and backward over one batch, before the optimizer changes anything."""

    def on_step_end(self, trainer: Trainer) -> None:
        """After each optimizer step of `train`."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After an epoch's figures have joined `trainer.history`."""

    def on_train_end(self, trainer: Trainer) -> None:
        """After the last step, also where training ended by an error."""

    def state(self) -> dict[str, Any]:
        """JSON-ready values that a checkpoint keeps for this callback."""
        return {}

    def load_state(self, values: dict[str, Any]) -> None:
        """Takes back what `state` gave ({} where a checkpoint has nothing for it)."""


@contextmanager
def saving() -> Iterator[None]:
    """Around the writing of a run's files: what fails there ends a run, it is no bad input."""
    try:
        yield
    except ConfigError as error:
        raise TrainingError(str(error)) from error
    except OSError as error:
        raise TrainingError(f"cannot write a file of the run: {error}") from error
