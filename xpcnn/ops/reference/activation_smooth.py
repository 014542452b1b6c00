"""Activations that are smooth, or nearly: each backward takes the input, and overflows for no finite x."""

from __future__ import annotations

import math

from xpcnn.device import Array, get_array_module
from xpcnn.ops.reference.activation import elu_backward, elu_forward
from xpcnn.ops.reference.elementwise import erf

__all__ = [
    "celu_backward",
    "celu_forward",
    "gelu_backward",
    "gelu_forward",
    "mish_backward",
    "mish_forward",
    "selu_backward",
    "selu_forward",
    "silu_backward",
    "silu_forward",
    "softplus_backward",
    "softplus_forward",
    "softsign_backward",
    "softsign_forward",
]

# The numbers with which outputs keep mean 0 and variance 1 from layer to layer (Klambauer et al. 2017, section 2).
SELU_ALPHA, SELU_GAMMA = 1.6732632423543772, 1.0507009873554805
_CUBE = 0.044715  # of the tanh form of GELU (Hendrycks & Gimpel 2016)


def _logistic(x: Array) -> Array:
    """1 / (1 + exp(-x)) to the last digits, however small: what multiplies it here may be large."""
    xp = get_array_module(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0.0, 1.0, e) / (1.0 + e)


def selu_forward(x: Array, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA) -> Array:
    """gamma * elu(x, alpha) (Klambauer et al. 2017)."""
    return elu_forward(x, alpha) * gamma


def selu_backward(dout: Array, x: Array, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA) -> Array:
    """Gradient of `selu_forward` from its input x."""
    return elu_backward(dout, x, alpha) * gamma


def celu_forward(x: Array, alpha: float = 1.0) -> Array:
    """x where x > 0, alpha*(exp(x/alpha) - 1) elsewhere: an ELU without a kink (Barron 2017). alpha > 0."""
    xp = get_array_module(x)
    return xp.where(x > 0.0, x, alpha * xp.expm1(xp.minimum(x, 0.0) / alpha))


def celu_backward(dout: Array, x: Array, alpha: float = 1.0) -> Array:
    """Gradient of `celu_forward` from its input x."""
    xp = get_array_module(dout, x)
    return xp.where(x > 0.0, dout, dout * xp.exp(xp.minimum(x, 0.0) / alpha))


def gelu_forward(x: Array, approximate: bool = False) -> Array:
    """x times the share of a standard normal distribution below x (Hendrycks & Gimpel 2016).

    approximate: the paper's tanh form of that share, 4e-4 off at most, rather than erf.
    """
    return x * _normal_share(x, approximate)


def _normal_share(x: Array, approximate: bool) -> Array:
    return _logistic(_twice_inner(x)) if approximate else erf(x * math.sqrt(0.5)) * 0.5 + 0.5


def _twice_inner(x: Array) -> Array:
    """2u for the tanh form's u: half of 1 + tanh(u) is the logistic function of 2u, to the last digits."""
    return math.sqrt(8.0 / math.pi) * (x + _CUBE * x * x * x)


def gelu_backward(dout: Array, x: Array, approximate: bool = False) -> Array:
    """Gradient of `gelu_forward` from its input x."""
    xp = get_array_module(dout, x)
    share = _normal_share(x, approximate)
    near = xp.clip(x, -40.0, 40.0)  # beyond, the density is 0 in float64 too, and its arguments may overflow
    if approximate:
        slope = math.sqrt(8.0 / math.pi) * (1.0 + 3.0 * _CUBE * near * near)
        density = share * _logistic(-_twice_inner(near)) * slope
    else:
        density = xp.exp(-0.5 * near * near) * math.sqrt(0.5 / math.pi)
    return dout * (share + near * density)


def silu_forward(x: Array, alpha: float = 1.0) -> Array:
    """x / (1 + exp(-alpha*x)); also called Swish (Elfwing et al. 2017; Ramachandran et al. 2017)."""
    return x * _logistic(x * alpha)


def silu_backward(dout: Array, x: Array, alpha: float = 1.0) -> Array:
    """Gradient of `silu_forward` from its input x."""
    scaled = x * alpha
    share = _logistic(scaled)
    return dout * (share * (1.0 + scaled * _logistic(-scaled)))


def mish_forward(x: Array) -> Array:
    """x * tanh(log(1 + exp(x))) (Misra 2019)."""
    return x * _tanh_of_softplus(x)


def _tanh_of_softplus(x: Array) -> Array:
    """tanh(log(1 + exp(x))) as a fraction in e = exp(-|x|), which lies in 0..1: exact to the last digits."""
    xp = get_array_module(x)
    e = xp.exp(-xp.abs(x))
    top = xp.where(x >= 0.0, 1.0 + 2.0 * e, e * (e + 2.0))
    return top / (top + xp.where(x >= 0.0, 2.0 * e * e, 2.0))


def mish_backward(dout: Array, x: Array) -> Array:
    """Gradient of `mish_forward` from its input x."""
    t = _tanh_of_softplus(x)
    return dout * (t + x * _logistic(x) * (1.0 - t * t))


def softplus_forward(x: Array) -> Array:
    """log(1 + exp(x)) (Dugas et al. 2001)."""
    xp = get_array_module(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def softplus_backward(dout: Array, x: Array) -> Array:
    """Gradient of `softplus_forward` from its input x."""
    return dout * _logistic(x)


def softsign_forward(x: Array) -> Array:
    """x / (1 + |x|) (Glorot & Bengio 2010)."""
    return x / (1.0 + get_array_module(x).abs(x))


def softsign_backward(dout: Array, x: Array) -> Array:
    """Gradient of `softsign_forward` from its input x."""
    root = 1.0 / (1.0 + get_array_module(dout, x).abs(x))
    return dout * (root * root)
