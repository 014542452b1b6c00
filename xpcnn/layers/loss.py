"""Losses: the last layer in training (book, section 5.6.3), and what each takes for a target."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np

from xpcnn.device import Array, Device, asnumpy, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, Shape
from xpcnn.ops import reference

__all__ = ["Loss", "NegativeLogLikelihood", "SoftmaxWithLoss"]


class Loss:
    """Base of all losses: one number for the scores (N, ...) of a batch and the targets t of its samples.

    A subclass writes `forward_in(ctx, x, t)`, which gives the batch's mean, and `backward_in(ctx, dout)`; a batch's
    loss is the sum of its pieces' losses, each times its part of the samples.
    """

    def __init__(self) -> None:
        self._context: Context | None = None
        self._placed: dict[tuple[str, str], Array] = {}  # by dtype and device

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: without what a pass keeps, and without arrays on a device."""
        return {**self.__dict__, "_context": None, "_placed": {}}

    def placed(self, values: np.ndarray[Any, Any] | None, like: Array, dtype: Any) -> Array | None:
        """`values`, which never change, on the device of `like`; brought there once."""
        if values is None:
            return None
        key = (str(dtype), str(like.device))
        if key not in self._placed:
            self._placed[key] = get_array_module(like).asarray(values.astype(dtype))
        return self._placed[key]

    def check_output(self, output_shape: Shape, t: Any) -> None:
        """Raises ShapeError for a network whose samples' scores (of output_shape, without N) this loss cannot take."""

    def check_targets(self, t: Any, N: int, output_shape: Shape) -> None:
        """Raises ShapeError for targets that do not fit N samples' scores of output_shape each.

        Only targets on the host are looked at value by value: reading them back from a GPU would stop it.
        """
        raise NotImplementedError

    def targets(self, t: Any, device: Device, dtype: Any) -> Array:
        """Checked targets, on `device`; dtype: that of the scores."""
        return device.asarray(t)

    def of_batch(self, t: Array, output_shape: Shape) -> Loss:
        """The loss to use on the pieces of a batch with targets t. Itself, where all samples count the same."""
        return self

    def weight(self, t: Array, output_shape: Shape) -> Any:
        """What a batch with targets t counts in a mean over batches: its samples, where all count the same."""
        return float(len(t))

    def judges(self, output_shape: Shape) -> bool:
        """Whether there is a right and a wrong answer to a sample, and so an accuracy."""
        return False

    def count_right(self, x: Array, t: Array) -> Array | None:
        """How many samples are right (0-d, on the device); None where `judges` says that there is no such thing."""
        return None

    def forward_in(self, ctx: Context, x: Array, t: Array) -> Array:
        """The loss (0-d, on x's device); keeps in `ctx` what backward needs."""
        raise NotImplementedError

    def backward_in(self, ctx: Context, dout: Any = 1.0) -> Array:
        """Gradient of the scores, of their shape."""
        raise NotImplementedError

    def forward(self, x: Array, t: Array) -> Array:
        """Mean loss of a batch of scores x (N, ...) against t (0-d, on x's device)."""
        self._context = Context()
        return self.forward_in(self._context, x, t)

    def backward(self, dout: Any = 1.0) -> Array:
        """Gradient of the last forward's scores."""
        if self._context is None:
            raise ShapeError(f"{type(self).__name__}.backward was called before forward; call forward first")
        return self.backward_in(self._context, dout)


class ClassLoss(Loss):
    """Base of the losses against labels of K classes.

    weights: what each class counts, K numbers of at least 0 (None: all the same). ignore_index: a label that counts
    nothing, which may lie outside 0..K-1. With either, the mean is over what counts: the sum of w[t] * loss over the
    sum of w[t], as PyTorch and ONNX have it; a batch of which nothing counts has the loss 0. In an accuracy ignored
    labels are wrong ones, and an epoch's training loss weighs its batches by their samples.
    """

    def __init__(self, weights: Any = None, ignore_index: int | None = None) -> None:
        super().__init__()
        self.weights: np.ndarray[Any, Any] | None = None
        if weights is not None:
            self.weights = np.array(asnumpy(weights), dtype=np.float64)
            if self.weights.ndim != 1 or not (np.isfinite(self.weights) & (self.weights >= 0.0)).all():
                raise ConfigError(f"weights are a number of at least 0 for each class, got {weights}")
        if ignore_index is not None and (isinstance(ignore_index, bool) or not hasattr(ignore_index, "__index__")):
            raise ConfigError(f"ignore_index is a whole number, got {ignore_index!r}")
        self.ignore_index = None if ignore_index is None else int(ignore_index)
        self._per_sample: Array | None = None  # what a sample of the batch counts on average, where this is for pieces

    @property
    def plain(self) -> bool:
        """Whether all labels count the same."""
        return self.weights is None and self.ignore_index is None

    def check_output(self, output_shape: Shape, t: Any) -> None:
        if len(output_shape) != 1 and t.ndim != len(output_shape):
            raise ShapeError(
                f"the loss takes a row of scores a sample, but the network gives {output_shape}; "
                'end it with affine(classes), "flatten" or "global_average_pool"'
            )
        if self.weights is not None and len(self.weights) != output_shape[0]:
            raise ShapeError(f"the loss has weights for {len(self.weights)} classes, but scores for {output_shape[0]}")

    def check_targets(self, t: Any, N: int, output_shape: Shape) -> None:
        self.check_output(output_shape, t)
        K, *places = output_shape
        if self.ignore_index is not None:
            if t.ndim == 2 and not places:
                raise ShapeError(f"ignore_index goes with class numbers ({N},), not with rows {t.shape}")
            if isinstance(t, np.ndarray) and t.dtype.kind in "iu":
                t = np.where(t.astype(np.int64) == self.ignore_index, 0, t)
        if not places:
            reference.check_labels(t, N, K)
            return
        if t.shape != (N, *places):
            raise ShapeError(f"labels for scores {(N, K, *places)} have shape {(N, *places)}, got {t.shape}")
        reference.check_labels(t.reshape(-1), t.size, K)

    def of_batch(self, t: Array, output_shape: Shape) -> Self:
        if self.plain:
            return self
        loss = copy.copy(self)
        loss._placed = self._placed
        loss._per_sample = self.weight(t, output_shape) / float(max(len(t), 1))
        return loss

    def weight(self, t: Array, output_shape: Shape) -> Any:
        if self.plain:
            return super().weight(t, output_shape)
        rows = t.ndim == 2 and len(output_shape) == 1
        return reference.label_weights(t, rows, self.placed(self.weights, t, "float64"), self.ignore_index).sum()

    def judges(self, output_shape: Shape) -> bool:
        """Yes for a label a sample, no for labels at places, (N, d1, ...)."""
        return len(output_shape) == 1

    def count_right(self, x: Array, t: Array) -> Array | None:
        """How many rows are highest at their label."""
        return reference.count_right(x, t) if self.judges(x.shape[1:]) else None

    def _mean(self, ctx: Context, log_p: Array, t: Array, label_smoothing: float = 0.0) -> Array:
        """The mean at whatever places log_p (N, K, ...) has; keeps what `_mean_backward` needs."""
        if log_p.ndim < 2 or log_p.shape[0] == 0:
            raise ShapeError(f"scores have shape (N, K) or (N, K, d1, ...) with at least one sample, got {log_p.shape}")
        self.check_targets(t, len(log_p), log_p.shape[1:])
        xp = get_array_module(log_p, t)
        masses = reference.target_masses(
            log_p, t, self.placed(self.weights, log_p, log_p.dtype), self.ignore_index, label_smoothing
        )
        losses = reference.class_losses_forward(log_p, masses)
        if self.plain:
            divisor: Any = float(losses.size)
        else:
            each = self._per_sample
            total = self.weight(t, log_p.shape[1:]) if each is None else each * float(len(t))
            divisor = xp.where(total == 0.0, 1.0, total).astype(log_p.dtype)
        ctx.save(log_p, masses, divisor)
        return losses.sum() / divisor

    def _mean_backward(self, ctx: Context, dout: Any) -> tuple[Array, Array]:
        """The gradient of log_p, and log_p."""
        log_p, masses, divisor = ctx.load()
        return reference.class_losses_backward(dout / divisor, masses), log_p


class SoftmaxWithLoss(ClassLoss):
    """Softmax and the mean cross-entropy against labels, in one numerically safe layer (book, section 5.6.3).

    label_smoothing: share of the target that is spread evenly over all classes, 0 <= label_smoothing < 1.
    weights, ignore_index: what the classes count, and a label that counts nothing (see ClassLoss).
    """

    def __init__(self, label_smoothing: float = 0.0, weights: Any = None, ignore_index: int | None = None) -> None:
        super().__init__(weights, ignore_index)
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(f"label_smoothing lies in 0 <= label_smoothing < 1, got {label_smoothing}")
        self.label_smoothing = float(label_smoothing)

    @property
    def y(self) -> Array | None:
        """softmax(x) of the last forward, of x's shape."""
        if self._context is None:
            return None
        first, *more = self._context.load()
        return first if len(more) == 1 else get_array_module(first).exp(first)

    def forward_in(self, ctx: Context, x: Array, t: Array) -> Array:
        """Mean loss of scores x: (N, K) against (N,) whole numbers or (N, K) one-hot, or (N, K, d1, ...) against
        whole numbers (N, d1, ...). Keeps in `ctx` what backward needs.
        """
        at_places = x.ndim > 2 and t.ndim == x.ndim - 1
        if at_places or not self.plain:
            return self._mean(ctx, reference.log_softmax(x, axis=1), t, self.label_smoothing)
        loss, y = reference.softmax_cross_entropy_forward(x, t, self.label_smoothing)
        ctx.save(y, t)
        return loss

    def backward_in(self, ctx: Context, dout: Any = 1.0) -> Array:
        """Gradient of the scores, of their shape."""
        first, second, *more = ctx.load()
        if more:
            return reference.log_softmax_backward(*self._mean_backward(ctx, dout), axis=1)
        return reference.softmax_cross_entropy_backward(first, second, dout, self.label_smoothing)


class NegativeLogLikelihood(ClassLoss):
    """Mean of -log p of the labels, where the network ends in `log_softmax` and so gives log p itself.

    weights, ignore_index: see ClassLoss. Scores with SoftmaxWithLoss are the same thing in one layer, and faster.
    """

    def forward_in(self, ctx: Context, x: Array, t: Array) -> Array:
        """Mean loss of log-probabilities x (N, K) against (N,) or one-hot t; (N, K, d1, ...) against (N, d1, ...)."""
        return self._mean(ctx, x, t)

    def backward_in(self, ctx: Context, dout: Any = 1.0) -> Array:
        """Gradient of the log-probabilities, of their shape."""
        return self._mean_backward(ctx, dout)[0]
