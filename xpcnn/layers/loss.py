"""Losses: the last layer in training (book, section 5.6.3)."""

from __future__ import annotations

from typing import Any

from xpcnn.device import Array
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context
from xpcnn.ops import reference

__all__ = ["SoftmaxWithLoss"]


class SoftmaxWithLoss:
    """Softmax and the mean cross-entropy against labels, in one numerically safe layer.

    label_smoothing: share of the target that is spread evenly over all classes, 0 <= label_smoothing < 1.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(f"label_smoothing lies in 0 <= label_smoothing < 1, got {label_smoothing}")
        self.label_smoothing = float(label_smoothing)
        self._context: Context | None = None

    @property
    def y(self) -> Array | None:
        """softmax(x) of the last forward, (N, K)."""
        return None if self._context is None else self._context.load()[0]

    def forward_in(self, ctx: Context, x: Array, t: Array) -> Array:
        """The loss (0-d, on x's device); keeps in `ctx` what backward needs."""
        loss, y = reference.softmax_cross_entropy_forward(x, t, self.label_smoothing)
        ctx.save(y, t)
        return loss

    def backward_in(self, ctx: Context, dout: Any = 1.0) -> Array:
        """Gradient of the scores, (N, K)."""
        y, t = ctx.load()
        return reference.softmax_cross_entropy_backward(y, t, dout, self.label_smoothing)

    def forward(self, x: Array, t: Array) -> Array:
        """Mean loss of scores x (N, K) against t: (N,) whole numbers or (N, K) one-hot."""
        self._context = Context()
        return self.forward_in(self._context, x, t)

    def backward(self, dout: Any = 1.0) -> Array:
        """Gradient of the last forward's scores."""
        if self._context is None:
            raise ShapeError("SoftmaxWithLoss.backward was called before forward; call forward first")
        return self.backward_in(self._context, dout)
