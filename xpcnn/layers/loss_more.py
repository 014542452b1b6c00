"""Losses against numbers rather than classes: regression, and yes-or-no outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array, Device, asnumpy, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, Shape
from xpcnn.layers.loss import Loss
from xpcnn.ops import reference

__all__ = ["BinaryCrossEntropyWithLogits", "MeanSquaredError"]


class NumberLoss(Loss):
    """Base of the losses against a number for each number that the network gives; the mean is over all of them."""

    def check_targets(self, t: Any, N: int, output_shape: Shape) -> None:
        wanted = (N, *output_shape)
        if t.dtype.kind not in "biuf":
            raise ShapeError(f"targets are real numbers, got dtype {t.dtype}")
        if t.shape != wanted:
            hint = "; use t[:, None]" if (*t.shape, 1) == wanted else ""
            if t.ndim == 1 and t.dtype.kind in "iu" and not hint:
                hint = "; labels of classes are for SoftmaxWithLoss"
            raise ShapeError(f"targets have the shape of the network's output, {wanted}, got {t.shape}{hint}")
        if isinstance(t, np.ndarray) and t.size:
            self._check_values(t)

    def _check_values(self, t: np.ndarray[Any, Any]) -> None:
        if t.dtype.kind == "f" and not np.isfinite(t).all():
            row = int(np.argwhere(~np.isfinite(t))[0][0])
            raise ShapeError(f"targets are finite, but that of sample {row} holds a NaN or an infinity; leave it out")

    def targets(self, t: Any, device: Device, dtype: Any) -> Array:
        return device.asarray(t, dtype)

    def _checked(self, x: Array, t: Array) -> Array:
        """t in x's dtype."""
        if x.size == 0:
            raise ShapeError(f"the mean loss of an empty batch is not defined, got scores of shape {x.shape}")
        self.check_targets(t, len(x), x.shape[1:])
        get_array_module(x, t)
        return t.astype(x.dtype, copy=False)


class MeanSquaredError(NumberLoss):
    """Mean of (x - t)**2 over all numbers of a batch, for targets t of the shape of the network's output x.

    There is no right or wrong, and so no accuracy: it is NaN.
    """

    def forward_in(self, ctx: Context, x: Array, t: Array) -> Array:
        """The loss of x (N, ...) against t of its shape (0-d); keeps in `ctx` what backward needs."""
        t = self._checked(x, t)
        ctx.save(x, t)
        return reference.mean_squared_error_forward(x, t)

    def backward_in(self, ctx: Context, dout: Any = 1.0) -> Array:
        x, t = ctx.load()
        return reference.mean_squared_error_backward(x, t, dout)


class BinaryCrossEntropyWithLogits(NumberLoss):
    """Sigmoid and the mean cross-entropy against targets 0..1, one for each score: yes-or-no outputs.

    pos_weight: what a yes counts beside a no, a number or an array that meets a sample's shape (None: the same).
    A sample is right where all of its scores are on the side of 0 on which their targets are of 1/2.
    """

    def __init__(self, pos_weight: Any = None) -> None:
        super().__init__()
        self.pos_weight: np.ndarray[Any, Any] | None = None
        if pos_weight is not None:
            self.pos_weight = np.array(asnumpy(pos_weight), dtype=np.float64)
            if not (np.isfinite(self.pos_weight) & (self.pos_weight >= 0.0)).all():
                raise ConfigError(f"pos_weight is a number of at least 0, or an array of such, got {pos_weight}")

    def check_output(self, output_shape: Shape, t: Any) -> None:
        shape = () if self.pos_weight is None else self.pos_weight.shape
        short = len(output_shape) - len(shape)
        if short < 0 or any(n not in (1, m) for n, m in zip(shape, output_shape[short:], strict=True)):
            raise ShapeError(f"pos_weight of shape {shape} does not meet a sample's scores {output_shape}")

    def check_targets(self, t: Any, N: int, output_shape: Shape) -> None:
        self.check_output(output_shape, t)
        super().check_targets(t, N, output_shape)

    def _check_values(self, t: np.ndarray[Any, Any]) -> None:
        low, high = float(t.min()), float(t.max())
        if not (low >= 0.0 and high <= 1.0):  # NaN fails this as well
            raise ShapeError(f"targets of yes-or-no outputs lie in 0..1, got values from {low:g} to {high:g}")

    def judges(self, output_shape: Shape) -> bool:
        return True

    def count_right(self, x: Array, t: Array) -> Array:
        return reference.count_right_signs(x, t)

    def forward_in(self, ctx: Context, x: Array, t: Array) -> Array:
        """The loss of scores x (N, ...) against t of its shape (0-d); keeps in `ctx` what backward needs."""
        t = self._checked(x, t)
        ctx.save(x, t)
        return reference.binary_cross_entropy_forward(x, t, self.placed(self.pos_weight, x, x.dtype))

    def backward_in(self, ctx: Context, dout: Any = 1.0) -> Array:
        x, t = ctx.load()
        return reference.binary_cross_entropy_backward(x, t, dout, self.placed(self.pos_weight, x, x.dtype))
