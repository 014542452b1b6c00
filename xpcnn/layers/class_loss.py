"""The loss of classes as a layer whose labels are one of its inputs, as a model of ONNX has it."""

from __future__ import annotations

from typing import Any

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.ops import reference

__all__ = ["ClassLosses"]


class ClassLosses(Layer):
    """-w[t] log p[t] for log-probabilities (N, K, ...), class numbers t (N, ...) and, if given, weights w (K,).

    reduction: "none" gives (N, ...), "sum" their sum, "mean" the sum over the sum of the weights. ignore_index: a
    label that counts nothing. Works over whole arrays; a Network's loss is SoftmaxWithLoss or NegativeLogLikelihood.
    """

    inputs = None

    def __init__(self, reduction: str = "mean", ignore_index: int | None = None) -> None:
        super().__init__()
        if reduction not in ("none", "sum", "mean"):
            raise ConfigError(f'a loss is reduced by "none", "sum" or "mean", got {reduction!r}')
        self.reduction, self.ignore_index = reduction, ignore_index

    def output_shape(self, *shapes: Shape) -> Shape:
        raise ShapeError("labels are no value of a Network's layers; give the Network a loss instead")

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        log_p, t, *rest = xs
        if t.shape != (*log_p.shape[:1], *log_p.shape[2:]):
            raise ShapeError(f"labels for log-probabilities {log_p.shape} are (N, ...) without K, got {t.shape}")
        xp = get_array_module(log_p, t)
        weights = rest[0].astype(log_p.dtype, copy=False) if rest else None
        masses = reference.target_masses(log_p, t, weights, self.ignore_index)
        losses = reference.class_losses_forward(log_p, masses)
        divisor: Any = 1.0
        if self.reduction == "mean":
            divisor = reference.label_weights(t, False, weights, self.ignore_index).sum().astype(log_p.dtype)
        ctx.save(masses, divisor)
        return losses if self.reduction == "none" else xp.asarray(losses.sum() / divisor)

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array | None, ...]:
        """The gradient of the log-probabilities; labels and weights have none."""
        masses, divisor = ctx.load()
        return reference.class_losses_backward(dout / divisor, masses), None, None
