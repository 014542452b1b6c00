"""Normalisation of each sample by itself: the same at training and test time, and for any number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Array
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, GradientAttribute, Layer, ParameterAttribute, Shape
from xpcnn.ops import reference
from xpcnn.ops.geometry import whole

__all__ = [
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "RMSNormalization",
    "own_axis",
]


def own_axis(axis: int, shape: Shape) -> int:
    """The axis counted from 0, of an array (N, *shape). Raises ShapeError where it is the samples' or none."""
    rank = len(shape) + 1
    if not -rank <= axis < rank or axis % rank == 0:
        raise ShapeError(f"axis {axis} is none of a sample's, 1 to {rank - 1} (0 is N), for samples {shape}")
    return axis % rank


def _check_broadcast(name: str, a: Array, axis: int, shape: Shape) -> None:
    short = len(shape) - a.ndim
    if short < 0 or any(n not in (1, m) for n, m in zip(a.shape, shape[short:], strict=True)):
        raise ShapeError(f"{name} for axes from {axis} on has shape {shape[axis - 1 :]}, got {a.shape} for {shape}")


class LayerNormalization(Layer):
    """Normalises each sample over its axes from `axis` on, then scales by gamma and shifts by beta (Ba et al. 2016).

    gamma, beta: of the shape of these axes (or one that broadcasts to a sample); None leaves them out. axis counts
    axes of the whole array: 1 takes all of a sample, as in the paper; -1 its last axis, as for tokens (N, L, D).
    """

    gamma = ParameterAttribute["LayerNormalization"]("gamma")
    beta = ParameterAttribute["LayerNormalization"]("beta")
    dgamma = GradientAttribute["LayerNormalization"]("gamma")
    dbeta = GradientAttribute["LayerNormalization"]("beta")

    def __init__(self, gamma: Array | None, beta: Array | None = None, axis: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        for name, a in (("gamma", gamma), ("beta", beta)):
            if a is not None:
                self.params[name] = a
        self.axis, self.eps = int(axis), float(eps)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        axis = own_axis(self.axis, shape)
        for name, a in self.params.items():
            _check_broadcast(name, a, axis, shape)
        return shape

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        gamma, beta = self.params.get("gamma"), self.params.get("beta")
        y, x_hat, inverse_std = reference.layer_norm_forward(x, gamma, beta, self.axis, self.eps)
        ctx.save(x_hat, inverse_std)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        x_hat, inverse_std = ctx.load()
        gamma, beta = self.params.get("gamma"), self.params.get("beta")
        dx, dgamma, dbeta = reference.layer_norm_backward(dout, x_hat, gamma, beta, inverse_std, self.axis)
        for name, gradient in (("gamma", dgamma), ("beta", dbeta)):
            if gradient is not None:
                ctx.grads[name] = gradient
        return dx


class GroupNormalization(Layer):
    """Normalises each sample's channels in `groups` equal groups, then scales and shifts each channel.

    gamma, beta: (C,), for samples (C, ...) (Wu & He 2018). It needs no large batch, as batch normalisation does.
    """

    gamma = ParameterAttribute["GroupNormalization"]("gamma")
    beta = ParameterAttribute["GroupNormalization"]("beta")
    dgamma = GradientAttribute["GroupNormalization"]("gamma")
    dbeta = GradientAttribute["GroupNormalization"]("beta")

    def __init__(self, gamma: Array, beta: Array, groups: int, eps: float = 1e-5) -> None:
        super().__init__()
        if gamma.ndim != 1 or beta.shape != gamma.shape:
            raise ShapeError(f"gamma and beta have one shape (C,), got {gamma.shape} and {beta.shape}")
        self.groups, self.eps = whole(groups, "the number of groups"), float(eps)
        if gamma.shape[0] % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide the {gamma.shape[0]} channels of gamma")
        self.params["gamma"], self.params["beta"] = gamma, beta

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        C = self.params["gamma"].shape[0]
        if not shape or shape[0] != C:
            raise ShapeError(f"wanted ({C}, ...), got {shape}")
        return shape

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        gamma, beta = self.params["gamma"], self.params["beta"]
        y, x_hat, inverse_std = reference.group_norm_forward(x, gamma, beta, self.groups, self.eps)
        ctx.save(x_hat, inverse_std)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        x_hat, inverse_std = ctx.load()
        dx, ctx.grads["gamma"], ctx.grads["beta"] = reference.group_norm_backward(
            dout, x_hat, self.params["gamma"], inverse_std, self.groups
        )
        return dx


class InstanceNormalization(GroupNormalization):
    """Normalises each channel of each sample by itself (Ulyanov et al. 2016): as many groups as channels.

    gamma, beta: (C,), for samples (C, ...) with more than one place.
    """

    def __init__(self, gamma: Array, beta: Array, eps: float = 1e-5) -> None:
        super().__init__(gamma, beta, max(gamma.shape[:1], default=1), eps)

    def output_shape(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) == 1:
            raise ShapeError(f"a channel of {shapes[0]} is one number, of which nothing is left; wanted (C, L) or more")
        return super().output_shape(*shapes)


class RMSNormalization(Layer):
    """Divides each sample by its root mean square over its axes from `axis` on, and scales by gamma.

    gamma: of the shape of these axes, or one that broadcasts to a sample (Zhang & Sennrich 2019). axis: see
    LayerNormalization.
    """

    gamma = ParameterAttribute["RMSNormalization"]("gamma")
    dgamma = GradientAttribute["RMSNormalization"]("gamma")

    def __init__(self, gamma: Array, axis: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.params["gamma"] = gamma
        self.axis, self.eps = int(axis), float(eps)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        _check_broadcast("gamma", self.params["gamma"], own_axis(self.axis, shape), shape)
        return shape

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y, x_hat, inverse_rms = reference.rms_norm_forward(xs[0], self.params["gamma"], self.axis, self.eps)
        ctx.save(x_hat, inverse_rms)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        x_hat, inverse_rms = ctx.load()
        dx, ctx.grads["gamma"] = reference.rms_norm_backward(dout, x_hat, self.params["gamma"], inverse_rms, self.axis)
        return dx


class LpNormalization(Layer):
    """Divides by the norm along `axis` of the whole array: p = 1 the sum of magnitudes, p = 2 the Euclidean one."""

    def __init__(self, axis: int = -1, p: int = 2) -> None:
        super().__init__()
        if p not in (1, 2):
            raise ConfigError(f"norms are of p = 1 or 2, got {p}")
        self.axis, self.p = int(axis), int(p)

    def output_shape(self, *shapes: Shape) -> Shape:
        own_axis(self.axis, shapes[0])
        return shapes[0]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y, norm = reference.lp_norm_forward(xs[0], self.axis, self.p)
        ctx.save(y, norm)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        y, norm = ctx.load()
        return reference.lp_norm_backward(dout, y, norm, self.axis, self.p)


class MeanVarianceNormalization(Layer):
    """Takes off the mean over `axes` of the whole array and divides by the deviation; no parameters.

    axes: None takes all of a sample. eps is added to the deviation, as ONNX does.
    """

    def __init__(self, axes: Sequence[int] | None = None, eps: float = 1e-9) -> None:
        super().__init__()
        self.axes = None if axes is None else tuple(map(int, axes))
        self.eps = float(eps)

    def output_shape(self, *shapes: Shape) -> Shape:
        for axis in self.axes or ():
            own_axis(axis, shapes[0])
        return shapes[0]

    def _axes_of(self, x: Array) -> tuple[int, ...]:
        return tuple(range(1, x.ndim)) if self.axes is None else self.axes

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        y, *needed = reference.moments_forward(x, self._axes_of(x), self.eps)
        ctx.save(y, *needed)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Any:
        y, deviation, inverse = ctx.load()
        return reference.moments_backward(dout, y, deviation, inverse, self._axes_of(dout))
