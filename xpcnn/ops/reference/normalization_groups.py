"""Normalisation of each sample by itself: over layers, groups, instances, given axes, and by norms."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.reference.broadcasting import unbroadcast
from xpcnn.ops.reference.normalization import inverse_deviation

__all__ = [
    "group_norm_backward",
    "group_norm_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "lp_norm_backward",
    "lp_norm_forward",
    "moments_backward",
    "moments_forward",
    "rms_norm_backward",
    "rms_norm_forward",
    "standardize",
    "standardize_backward",
]

Axes = tuple[int, ...]


def _last_axes(x: Array, axis: int) -> Axes:
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"axis {axis} of an array of shape {x.shape}")
    return tuple(range(axis % x.ndim, x.ndim))


def standardize(x: Array, axes: Axes, eps: float) -> tuple[Array, Array, Array]:
    """x with mean 0 and (biased) variance 1 over `axes`: (x - mean) / sqrt(var + eps).

    Returns it, 1/sqrt(var + eps) and the mean, both of x's rank.
    """
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    inverse_std = inverse_deviation((centred * centred).mean(axis=axes, keepdims=True), eps)
    return centred * inverse_std, inverse_std, mean


def standardize_backward(dout: Array, x_hat: Array, inverse_std: Array, axes: Axes) -> Array:
    """Gradient of `standardize`'s x from that of x_hat."""
    get_array_module(dout, x_hat, inverse_std)
    along = (dout * x_hat).mean(axis=axes, keepdims=True)
    return (dout - dout.mean(axis=axes, keepdims=True) - x_hat * along) * inverse_std


def layer_norm_forward(
    x: Array, gamma: Array | None, beta: Array | None, axis: int = 1, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Layer normalisation over the axes from `axis` on (Ba, Kiros & Hinton 2016, section 3).

    gamma, beta: of the shape of these axes, or one that broadcasts to x's (None: left out). Returns y, x_hat and
    1/sqrt(var + eps). Raises ShapeError for an axis that x does not have.
    """
    x_hat, inverse_std, _ = standardize(x, _last_axes(x, axis), eps)
    return _scaled(x_hat, gamma, beta), x_hat, inverse_std


def _scaled(x_hat: Array, gamma: Array | None, beta: Array | None) -> Array:
    y = x_hat if gamma is None else x_hat * gamma
    return y if beta is None else y + beta


def layer_norm_backward(
    dout: Array, x_hat: Array, gamma: Array | None, beta: Array | None, inverse_std: Array, axis: int = 1
) -> tuple[Array, Array | None, Array | None]:
    """Gradients dx, dgamma, dbeta of `layer_norm_forward`; None for what was left out."""
    dgamma = None if gamma is None else unbroadcast(dout * x_hat, gamma.shape)
    dbeta = None if beta is None else unbroadcast(dout, beta.shape)
    scaled = dout if gamma is None else dout * gamma
    return standardize_backward(scaled, x_hat, inverse_std, _last_axes(dout, axis)), dgamma, dbeta


def _grouped(x: Array, groups: int) -> Array:
    """x (N, C, ...) as (N, groups, C / groups, ...)."""
    N, C, *places = x.shape
    if C % groups:
        raise ShapeError(f"{groups} groups do not divide the {C} channels of shape {x.shape}")
    return x.reshape(N, groups, C // groups, *places)


def _of_channels(v: Array, like: Array) -> Array:
    """v (C,) shaped to meet `like` channel by channel."""
    return v.reshape(-1, *(1,) * (like.ndim - 2))


def group_norm_forward(
    x: Array, gamma: Array, beta: Array, groups: int, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Group normalisation: each sample's channels in `groups` equal groups (Wu & He 2018, section 3.1).

    x: (N, C, ...); gamma, beta: (C,). One group is layer normalisation, C groups instance normalisation.
    Returns y, x_hat (x's shape) and 1/sqrt(var + eps), (N, groups, 1, ...). Raises ShapeError where C is not divided.
    """
    grouped = _grouped(x, groups)
    x_hat, inverse_std, _ = standardize(grouped, tuple(range(2, grouped.ndim)), eps)
    x_hat = x_hat.reshape(x.shape)
    return x_hat * _of_channels(gamma, x) + _of_channels(beta, x), x_hat, inverse_std


def group_norm_backward(
    dout: Array, x_hat: Array, gamma: Array, inverse_std: Array, groups: int
) -> tuple[Array, Array, Array]:
    """Gradients dx, dgamma, dbeta of `group_norm_forward`."""
    axes = (0, *range(2, dout.ndim))
    scaled = _grouped(dout * _of_channels(gamma, dout), groups)
    dx = standardize_backward(scaled, _grouped(x_hat, groups), inverse_std, tuple(range(2, scaled.ndim)))
    return dx.reshape(dout.shape), (dout * x_hat).sum(axis=axes), dout.sum(axis=axes)


def rms_norm_forward(x: Array, gamma: Array, axis: int = 1, eps: float = 1e-5) -> tuple[Array, Array, Array]:
    """x over its root mean square along the axes from `axis` on, times gamma (Zhang & Sennrich 2019).

    gamma: of the shape of these axes, or one that broadcasts to x's. Returns y, x_hat and 1/rms.
    """
    get_array_module(x, gamma)
    inverse_rms = inverse_deviation((x * x).mean(axis=_last_axes(x, axis), keepdims=True), eps)
    x_hat = x * inverse_rms
    return x_hat * gamma, x_hat, inverse_rms


def rms_norm_backward(
    dout: Array, x_hat: Array, gamma: Array, inverse_rms: Array, axis: int = 1
) -> tuple[Array, Array]:
    """Gradients dx, dgamma of `rms_norm_forward`."""
    scaled = dout * gamma
    along = (scaled * x_hat).mean(axis=_last_axes(dout, axis), keepdims=True)
    return (scaled - x_hat * along) * inverse_rms, unbroadcast(dout * x_hat, gamma.shape)


def lp_norm_forward(x: Array, axis: int = -1, p: int = 2) -> tuple[Array, Array]:
    """x over its norm along `axis`: the sum of the magnitudes (p = 1) or the root of the squares' sum (p = 2).

    Zeros all along stay zeros. Returns y and the norm (of x's rank, 1 in place of 0).
    """
    xp = get_array_module(x)
    norm = abs(x).sum(axis=axis, keepdims=True) if p == 1 else xp.sqrt((x * x).sum(axis=axis, keepdims=True))
    norm = xp.where(norm == 0.0, 1.0, norm)
    return x / norm, norm


def lp_norm_backward(dout: Array, y: Array, norm: Array, axis: int = -1, p: int = 2) -> Array:
    """Gradient of `lp_norm_forward` from its output y."""
    xp = get_array_module(dout, y, norm)
    grows = xp.sign(y) if p == 1 else y  # how the norm changes with x
    return (dout - grows * (dout * y).sum(axis=axis, keepdims=True)) / norm


def moments_forward(x: Array, axes: Axes, eps: float = 1e-9) -> tuple[Array, Array, Array]:
    """(x - mean) / (deviation + eps) over `axes`, as ONNX's MeanVarianceNormalization; eps holds up the deviation.

    Returns y, the deviation and 1/(deviation + eps), both of x's rank.
    """
    xp = get_array_module(x)
    centred = x - x.mean(axis=axes, keepdims=True)
    deviation = xp.sqrt((centred * centred).mean(axis=axes, keepdims=True))
    inverse = 1.0 / (deviation + eps)
    return centred * inverse, deviation, inverse


def moments_backward(dout: Array, y: Array, deviation: Array, inverse: Array, axes: Axes) -> Array:
    """Gradient of `moments_forward` from its output y. Where the deviation is 0, the mean alone is taken off."""
    xp = get_array_module(dout, y, deviation, inverse)
    # d deviation / d x = (x - mean) / (n deviation), and x - mean = y / inverse.
    held = xp.where(deviation == 0.0, 1.0, deviation)
    along = (dout * y).mean(axis=axes, keepdims=True) / (held * inverse)
    return (dout - dout.mean(axis=axes, keepdims=True) - y * along) * inverse
