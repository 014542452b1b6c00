"""Activation layers: a function of one element at a time (book, section 5.5), and softmax."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.layers.base import Context, Layer
from xpcnn.ops import reference

__all__ = ["Elu", "LeakyRelu", "LogSoftmax", "Relu", "Sigmoid", "Softmax", "Tanh"]


class Relu(Layer):
    """max(x, 0)."""

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.relu_forward(xs[0])
        ctx.save(y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.relu_backward(dout, kept)


class LeakyRelu(Layer):
    """x where x > 0, slope*x elsewhere."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = float(slope)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save(xs[0])
        return reference.leaky_relu_forward(xs[0], self.slope)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.leaky_relu_backward(dout, kept, self.slope)


class Elu(Layer):
    """x where x > 0, alpha*(exp(x) - 1) elsewhere."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = float(alpha)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save(xs[0])
        return reference.elu_forward(xs[0], self.alpha)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.elu_backward(dout, kept, self.alpha)


class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

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


class Softmax(Layer):
    """exp(x) over its sum along `axis`. For training, SoftmaxWithLoss on the scores is exacter."""

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.softmax(xs[0], self.axis)
        ctx.save(y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.softmax_backward(dout, kept, self.axis)


class LogSoftmax(Layer):
    """Logarithm of the softmax along `axis`."""

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.log_softmax(xs[0], self.axis)
        ctx.save(y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (kept,) = ctx.load()
        return reference.log_softmax_backward(dout, kept, self.axis)
