"""Smooth activation layers: CELU, GELU, Mish, SELU, SiLU, softplus, softsign."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.errors import ConfigError
from xpcnn.layers.activation import Pointwise
from xpcnn.ops import reference
from xpcnn.ops.reference.activation_smooth import SELU_ALPHA, SELU_GAMMA

__all__ = ["Celu", "Gelu", "Mish", "Selu", "Silu", "Softplus", "Softsign"]


class Celu(Pointwise):
    """x where x > 0, alpha*(exp(x/alpha) - 1) elsewhere (Barron 2017). Raises ConfigError unless alpha > 0."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        if not alpha > 0.0:
            raise ConfigError(f"a CELU's alpha is greater than 0, got {alpha}")
        self.alpha = float(alpha)

    def apply(self, x: Array) -> Array:
        return reference.celu_forward(x, self.alpha)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.celu_backward(dout, x, self.alpha)


class Gelu(Pointwise):
    """x times the normal distribution's share below x (Hendrycks & Gimpel 2016); approximate: by tanh, not erf."""

    def __init__(self, approximate: bool = False) -> None:
        super().__init__()
        self.approximate = bool(approximate)

    def apply(self, x: Array) -> Array:
        return reference.gelu_forward(x, self.approximate)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.gelu_backward(dout, x, self.approximate)


class Mish(Pointwise):
    """x * tanh(log(1 + exp(x))) (Misra 2019)."""

    def apply(self, x: Array) -> Array:
        return reference.mish_forward(x)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.mish_backward(dout, x)


class Selu(Pointwise):
    """gamma * elu(x, alpha), which keeps outputs at mean 0 and variance 1 (Klambauer et al. 2017)."""

    def __init__(self, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA) -> None:
        super().__init__()
        self.alpha, self.gamma = float(alpha), float(gamma)

    def apply(self, x: Array) -> Array:
        return reference.selu_forward(x, self.alpha, self.gamma)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.selu_backward(dout, x, self.alpha, self.gamma)


class Silu(Pointwise):
    """x / (1 + exp(-alpha*x)), also called Swish (Elfwing et al. 2017)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = float(alpha)

    def apply(self, x: Array) -> Array:
        return reference.silu_forward(x, self.alpha)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.silu_backward(dout, x, self.alpha)


class Softplus(Pointwise):
    """log(1 + exp(x)) (Dugas et al. 2001)."""

    def apply(self, x: Array) -> Array:
        return reference.softplus_forward(x)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.softplus_backward(dout, x)


class Softsign(Pointwise):
    """x / (1 + |x|) (Glorot & Bengio 2010)."""

    def apply(self, x: Array) -> Array:
        return reference.softsign_forward(x)

    def gradient(self, dout: Array, x: Array) -> Array:
        return reference.softsign_backward(dout, x)
