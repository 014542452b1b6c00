"""Optimizers with a step size for each element: AdaGrad, RMSprop, Adam, AdamW."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import ClassVar

from xpcnn.device import Array
from xpcnn.ops.cuda import optimizers as kernels
from xpcnn.ops.cuda.optimizers import Rules
from xpcnn.optimizers.base import Optimizer, number

__all__ = ["AdaGrad", "Adam", "AdamW", "RMSprop"]


class AdaGrad(Optimizer):
    """h += g * g; p -= lr * g / (sqrt(h) + eps) (the book, 6.1.5; Duchi et al. 2011)."""

    slots: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        lr: float = 0.01,
        eps: float = 1e-7,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        self.eps = number("eps", eps, math.ulp(0.0))

    def _apply(self, xp: ModuleType, lr: float, p: Array, g: Array, room: Array, *state: Array) -> None:
        (h,) = state
        xp.multiply(g, g, out=room)
        xp.add(h, room, out=h)
        _scaled_step(xp, lr, p, g, h, self.eps, room)

    def launch(self, lr: float, p: Array, g: Array, state: Sequence[Array], rules: Rules, done: Array | None) -> None:
        kernels.adagrad(p, g, *state, lr=lr, eps=self.eps, rules=rules)


class RMSprop(Optimizer):
    """h = decay_rate * h + (1 - decay_rate) * g * g; p -= lr * g / (sqrt(h) + eps) (Tieleman and Hinton 2012)."""

    slots: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        lr: float = 0.01,
        decay_rate: float = 0.99,
        eps: float = 1e-7,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        self.decay_rate = number("decay_rate", decay_rate, 0.0, 1.0)
        self.eps = number("eps", eps, math.ulp(0.0))

    def _apply(self, xp: ModuleType, lr: float, p: Array, g: Array, room: Array, *state: Array) -> None:
        (h,) = state
        _blend(xp, h, g, g, self.decay_rate, room)
        _scaled_step(xp, lr, p, g, h, self.eps, room)

    def launch(self, lr: float, p: Array, g: Array, state: Sequence[Array], rules: Rules, done: Array | None) -> None:
        kernels.rmsprop(p, g, *state, lr=lr, decay_rate=self.decay_rate, eps=self.eps, rules=rules)


class Adam(Optimizer):
    """Adam, Algorithm 1 of Kingma and Ba 2015 (arXiv:1412.6980).

    p -= lr * mhat / (sqrt(vhat) + eps), with mhat and vhat corrected for their start at zero. (The book's code adds
    1e-7 to the uncorrected root instead: the paper's last form, with a larger eps.)
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")

    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        self.beta1 = number("beta1", beta1, 0.0, 1.0)
        self.beta2 = number("beta2", beta2, 0.0, 1.0)
        self.eps = number("eps", eps, math.ulp(0.0))

    def _apply(self, xp: ModuleType, lr: float, p: Array, g: Array, room: Array, *state: Array) -> None:
        m, v = state
        _blend(xp, m, g, None, self.beta1, room)
        _blend(xp, v, g, g, self.beta2, room)
        xp.sqrt(v, out=room)
        xp.multiply(room, 1.0 / math.sqrt(1.0 - self.beta2**self._t), out=room)
        xp.add(room, self.eps, out=room)
        xp.divide(m, room, out=room)
        xp.multiply(room, lr / (1.0 - self.beta1**self._t), out=room)
        xp.subtract(p, room, out=p)

    def launch(self, lr: float, p: Array, g: Array, state: Sequence[Array], rules: Rules, done: Array | None) -> None:
        decoupled = 0.0 if self.decay_in_gradient else self.weight_decay
        numbers = {"beta1": self.beta1, "beta2": self.beta2, "eps": self.eps, "decoupled_decay": decoupled}
        kernels.adam(p, g, *state, lr=lr, t=self._t if done is None else done, rules=rules, **numbers)


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr * weight_decay * p, then Adam's step (Loshchilov and Hutter 2019).

    arXiv:1711.05101, Algorithm 2, with lr in the place of its schedule multiplier times alpha, as PyTorch has it.
    """

    decay_in_gradient: ClassVar[bool] = False

    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, beta1, beta2, eps, weight_decay, clip_norm, clip_value)

    def _apply(self, xp: ModuleType, lr: float, p: Array, g: Array, room: Array, *state: Array) -> None:
        xp.multiply(p, 1.0 - lr * self.weight_decay, out=p)
        super()._apply(xp, lr, p, g, room, *state)


def _blend(xp: ModuleType, mean: Array, a: Array, b: Array | None, keep: float, room: Array) -> None:
    """mean = keep * mean + (1 - keep) * a * b, in place; b None counts as 1."""
    xp.multiply(a, 1.0 - keep if b is None else b, out=room)
    if b is not None:
        xp.multiply(room, 1.0 - keep, out=room)
    xp.multiply(mean, keep, out=mean)
    xp.add(mean, room, out=mean)


def _scaled_step(xp: ModuleType, lr: float, p: Array, g: Array, h: Array, eps: float, room: Array) -> None:
    """p -= lr * g / (sqrt(h) + eps), in place."""
    xp.sqrt(h, out=room)
    xp.add(room, eps, out=room)
    xp.divide(g, room, out=room)
    xp.multiply(room, lr, out=room)
    xp.subtract(p, room, out=p)
