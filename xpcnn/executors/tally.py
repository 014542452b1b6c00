"""What the batches of an epoch have added up to: loss, right answers, samples; kept on the device, so nothing waits."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.ops.reference import count_right

__all__ = ["Tally"]


class Tally:
    """Sums over training batches.

    loss_sum: (1,) float64, right: (1,) int64, on the device of `xp`; a kernel may add to them by itself, and then
    says so in `seen`, which lies on the host.
    """

    def __init__(self, xp: ModuleType = np, loss_sum: float = 0.0, right: int = 0, seen: int = 0) -> None:
        self.xp = xp
        self.loss_sum = xp.full(1, loss_sum, dtype=np.float64)
        self.right = xp.full(1, right, dtype=np.int64)
        self.seen = seen

    def add(self, loss: Array, scores: Array, t: Array) -> None:
        """A batch: its mean loss (0-d) and scores (N, K), all of them on the tally's device."""
        self.loss_sum += loss.astype(np.float64) * float(len(scores))
        self.right += count_right(scores, t)
        self.seen += len(scores)

    def figures(self) -> tuple[float, float]:
        """(mean loss, accuracy) of what was added, waiting for the device."""
        values = self.values()
        seen = max(values["seen"], 1)
        return values["loss_sum"] / seen, values["right"] / seen

    def values(self) -> dict[str, Any]:
        """JSON-ready, and what the constructor takes."""
        return {"loss_sum": float(self.loss_sum[0]), "right": int(self.right[0]), "seen": self.seen}
