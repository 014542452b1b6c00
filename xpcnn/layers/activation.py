"""Activation layers: a function of one element at a time (book, section 5.5), and softmax."""

from __future__ import annotations

from typing import Any

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.ops import reference

__all__ = ["Elu", "LeakyRelu", "LogSoftmax", "Pointwise", "Relu", "Sigmoid", "Softmax", "Tanh"]


class Pointwise(Layer):
    """A function of one element at a time whose gradient is taken from its input: `apply` and `gradient`."""

    def apply(self, x: Array) -> Array:
        """The function of x."""
        raise NotImplementedError

    def gradient(self, dout: Array, x: Array) -> Array:
        """dout times the derivative at x."""
        raise NotImplementedError

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save(xs[0])
        return self.apply(xs[0])

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return self.gradient(dout, kept)


class Relu(Layer):
    """max(x, 0) (book, section 5.5.1)."""

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.relu_forward(xs[0])
        ctx.save(y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.relu_backward(dout, kept)


class LeakyRelu(Pointwise):
    """x where x > 0, slope*x elsewhere (Maas et al. 2013)."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = float(slope)

    def apply(self, x: Array) -> Array:
        return reference.leaky_relu_forward(x, self.slope)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.leaky_relu_backward(dout, x, self.slope)


class Elu(Pointwise):
    """x where x > 0, alpha*(exp(x) - 1) elsewhere (Clevert et al. 2016)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = float(alpha)

    def apply(self, x: Array) -> Array:
        return reference.elu_forward(x, self.alpha)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.elu_backward(dout, x, self.alpha)


class Sigmoid(Layer):
    """1 / (1 + exp(-x)) (book, section 5.5.2)."""

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.sigmoid_forward(xs[0])
        ctx.save(y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.sigmoid_backward(dout, kept)


class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.tanh_forward(xs[0])
        ctx.save(y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.tanh_backward(dout, kept)


class _AlongAxes(Layer):
    def __init__(self, axis: int | tuple[int, ...] = 1) -> None:
        super().__init__()
        self.axis: Any = axis

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        ndim = len(shape) + 1
        for axis in self.axis if isinstance(self.axis, tuple) else (self.axis,):
            if not -ndim <= axis < ndim:
                raise ShapeError(f"axis {axis} of an array of {ndim} axes: (N, {', '.join(map(str, shape))})")
            if axis % ndim == 0:
                raise ShapeError("axis 0 is the batch's; a softmax along it would mix samples")
        return shape


class Softmax(_AlongAxes):
    """exp(x) over its sum along `axis`, or several (book, section 3.5).

    For training, SoftmaxWithLoss on the scores is exacter.
    """

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.softmax(xs[0], self.axis)
        ctx.save(y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.softmax_backward(dout, kept, self.axis)


class LogSoftmax(_AlongAxes):
    """Logarithm of the softmax along `axis`, or several."""

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.log_softmax(xs[0], self.axis)
        ctx.save(y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.log_softmax_backward(dout, kept, self.axis)
