"""Layers that bring many elements to one."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.device import Array
from xpcnn.errors import ConfigError
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.layers.shape import axes_of, sample_axes_of
from xpcnn.ops import reference

__all__ = ["Reduce"]


class Reduce(Layer):
    """The sum, or another reduction, of the elements along `axes` (of the whole array; None: all, N among them).

    kind: "sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square", "log_sum" or "log_sum_exp"; see
    `ops.reference.reduce`. keepdims: whether the axes stay, with size 1. In a network, axis 0 cannot be one of them.
    """

    def __init__(self, kind: str, axes: Sequence[int] | None = None, keepdims: bool = True) -> None:
        super().__init__()
        if kind not in reference.REDUCTIONS:
            raise ConfigError(f"a reduction is one of {', '.join(reference.REDUCTIONS)}, got {kind!r}")
        self.kind, self.keepdims = kind, keepdims
        self.axes = None if axes is None else tuple(axes)

    def _reduced(self, shape: Shape, axes: tuple[int, ...]) -> Shape:
        return tuple(1 if i in axes else n for i, n in enumerate(shape) if self.keepdims or i not in axes)

    def output_shape(self, *shapes: Shape) -> Shape:
        whole = (1, *shapes[0])
        axes = sample_axes_of(range(len(whole)) if self.axes is None else self.axes, len(whole))
        return self._reduced(whole, axes)[1:]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        axes = axes_of(range(x.ndim) if self.axes is None else self.axes, x.ndim)
        y = reference.reduce(x, self.kind, axes)
        ctx.save(x, y, axes)
        return y.reshape(self._reduced(x.shape, axes))

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        x, y, axes = ctx.load()
        return reference.reduce_backward(dout.reshape(y.shape), x, y, self.kind, axes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind}, axes={self.axes})"
