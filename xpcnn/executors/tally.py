"""What batches have added up to: loss, right answers, samples; kept on the device, so nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.errors import DataError
from xpcnn.layers.base import Shape
from xpcnn.layers.loss import Loss

__all__ = ["Tally", "evaluate"]


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

    def add(self, loss: Array, right: Array | None, samples: int) -> None:
        """A batch: its mean loss and right answers (both 0-d, on the tally's device); None where nothing is right."""
        self.loss_sum += loss.astype(np.float64) * float(samples)
        if right is not None:
            self.right += right
        self.seen += samples

    def figures(self) -> tuple[float, float]:
        """(mean loss, accuracy) of what was added, waiting for the device."""
        values = self.values()
        seen = max(values["seen"], 1)
        return values["loss_sum"] / seen, values["right"] / seen

    def values(self) -> dict[str, Any]:
        """JSON-ready, and what the constructor takes."""
        return {"loss_sum": float(self.loss_sum[0]), "right": int(self.right[0]), "seen": self.seen}


def evaluate(
    loss: Loss,
    batches: Iterable[tuple[Array, Array]],
    output_shape: Shape,
    across: Callable[[np.ndarray], None] | None = None,
) -> tuple[float, float]:
    """(mean loss, accuracy) over all samples of `batches` of (scores, targets), waiting for the device at the end.

    across: where other processes have other batches, adds an array up over all of them, in place.
    The accuracy is NaN where the loss knows no right and wrong. Raises DataError where there is no sample.
    """
    loss_sum: Any = 0.0  # stays on the device until the end
    weight: Any = 0.0
    right: Any = 0
    seen = 0
    for scores, t in batches:
        counts = loss.weight(t, output_shape)
        loss_sum = loss_sum + loss.forward(scores, t).astype("float64") * counts
        weight = weight + counts
        hits = loss.count_right(scores, t)
        right = float("nan") if hits is None else right + hits
        seen += len(scores)
    sums = np.array([float(loss_sum), float(weight), float(right), float(seen)])
    if across is not None:
        across(sums)
    loss_sum, weight, right, seen = sums.tolist()
    if seen == 0:
        raise DataError("evaluation needs at least one sample, got none")
    total = weight or 1.0  # 0 where no label of them all counts: so is the loss
    return loss_sum / total, right / seen
