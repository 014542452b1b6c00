"""What a run has measured: a row an epoch and a loss a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["History"]


@dataclass
class History:
    """rows: one dict an epoch (epoch, step, lr, train_loss, train_acc, test_loss, test_acc, seconds,
    images_per_second; the test figures only where there is test data, accuracies only where the loss knows right and
    wrong). step_losses: the loss of every step.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    step_losses: list[float] = field(default_factory=list)

    def column(self, name: str) -> list[Any]:
        """One figure of every epoch that has it, such as `column("test_acc")`."""
        return [row[name] for row in self.rows if name in row]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, epoch: int) -> dict[str, Any]:
        return self.rows[epoch]
