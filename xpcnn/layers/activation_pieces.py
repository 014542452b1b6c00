"""Activation layers made of pieces: clipping, hard sigmoid and Swish, learned slopes, shrinkage."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.activation import Pointwise
from xpcnn.layers.base import Context, GradientAttribute, Layer, ParameterAttribute, Shape
from xpcnn.ops import reference

__all__ = ["Clip", "HardSigmoid", "HardSwish", "PRelu", "Shrink", "ThresholdedRelu"]


class Clip(Pointwise):
    """x kept within low..high (None: no bound); Clip(0, 6) is ReLU6. Gradient 0 at the bounds and beyond."""

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        super().__init__()
        self.low, self.high = (None if bound is None else float(bound) for bound in (low, high))

    def apply(self, x: Array) -> Array:
        return reference.clip_forward(x, self.low, self.high)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.clip_backward(dout, x, self.low, self.high)


class HardSigmoid(Pointwise):
    """alpha*x + beta kept within 0..1 (Courbariaux et al. 2015; PyTorch's has alpha = 1/6)."""

    def __init__(self, alpha: float = 0.2, beta: float = 0.5) -> None:
        super().__init__()
        self.alpha, self.beta = float(alpha), float(beta)

    def apply(self, x: Array) -> Array:
        return reference.hard_sigmoid_forward(x, self.alpha, self.beta)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.hard_sigmoid_backward(dout, x, self.alpha, self.beta)


class HardSwish(Pointwise):
    """x times (x + 3)/6 kept within 0..1 (Howard et al. 2019)."""

    def apply(self, x: Array) -> Array:
        return reference.hard_swish_forward(x)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.hard_swish_backward(dout, x)


class PRelu(Layer):
    """x where x > 0, slope*x elsewhere, with a slope that is learned (He et al. 2015).

    slope: any shape that broadcasts to x's as NumPy does it, without an axis for N: (C, 1, 1) for a slope per channel
    of pictures (N, C, H, W), (C,) of vectors (N, C), (1,) for one slope. Raises ShapeError for others.
    """

    slope = ParameterAttribute["PRelu"]("slope")
    dslope = GradientAttribute["PRelu"]("slope")

    def __init__(self, slope: Array) -> None:
        super().__init__()
        self.params["slope"] = slope

    def output_shape(self, *shapes: Shape) -> Shape:
        slope, whole = self.params["slope"].shape, (1, *shapes[0])
        pairs = zip(reversed(slope), reversed(whole), strict=False)
        if len(slope) > len(whole) or any(n not in (1, m) for n, m in pairs):
            raise ShapeError(f"slopes of shape {slope} do not broadcast to samples of {shapes[0]}")
        return shapes[0]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save(xs[0])
        return reference.prelu_forward(xs[0], self.params["slope"])

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (x,) = ctx.load()
        dx, ctx.grads["slope"] = reference.prelu_backward(dout, x, self.params["slope"])
        return dx


class Shrink(Pointwise):
    """x - bias above lambd, x + bias below -lambd, 0 between."""

    def __init__(self, bias: float = 0.0, lambd: float = 0.5) -> None:
        super().__init__()
        self.bias, self.lambd = float(bias), float(lambd)

    def apply(self, x: Array) -> Array:
        return reference.shrink_forward(x, self.bias, self.lambd)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.shrink_backward(dout, x, self.lambd)


class ThresholdedRelu(Pointwise):
    """x where x > alpha, 0 elsewhere (Konda et al. 2014)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = float(alpha)

    def apply(self, x: Array) -> Array:
        return reference.thresholded_relu_forward(x, self.alpha)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.thresholded_relu_backward(dout, x, self.alpha)
