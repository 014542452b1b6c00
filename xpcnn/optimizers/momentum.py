"""Plain and accelerated gradient descent: SGD, Momentum, Nesterov."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import ClassVar

from xpcnn.device import Array
from xpcnn.ops.cuda import optimizers as kernels
from xpcnn.ops.cuda.optimizers import Rules
from xpcnn.optimizers.base import Optimizer, number

__all__ = ["SGD", "Momentum", "Nesterov"]


class SGD(Optimizer):
    """Stochastic gradient descent: p -= lr * g (the book, 6.1.2)."""

    def __init__(
        self,
        lr: float = 0.01,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)

    def _apply(self, xp: ModuleType, lr: float, p: Array, g: Array, room: Array, *state: Array) -> None:
        xp.multiply(g, lr, out=room)
        xp.subtract(p, room, out=p)

    def launch(self, lr: float, p: Array, g: Array, state: Sequence[Array], rules: Rules, done: Array | None) -> None:
        kernels.sgd(p, g, lr=lr, rules=rules)


class Momentum(Optimizer):
    """v = momentum * v - lr * g; p += v (the book, 6.1.4; Polyak 1964).

    PyTorch's SGD(momentum=...) keeps v without lr in it: the same path while lr stays the same, another one after a
    schedule changes it, where this form lets the old speed run on.
    """

    slots: ClassVar[tuple[str, ...]] = ("v",)

    def __init__(
        self,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, clip_norm, clip_value)
        self.momentum = number("momentum", momentum, 0.0, 1.0)

    def _apply(self, xp: ModuleType, lr: float, p: Array, g: Array, room: Array, *state: Array) -> None:
        (v,) = state
        xp.multiply(v, self.momentum, out=v)
        xp.multiply(g, lr, out=room)
        xp.subtract(v, room, out=v)
        xp.add(p, v, out=p)

    def launch(self, lr: float, p: Array, g: Array, state: Sequence[Array], rules: Rules, done: Array | None) -> None:
        kernels.momentum(p, g, *state, lr=lr, momentum=self.momentum, rules=rules)


class Nesterov(Momentum):
    """Nesterov's accelerated gradient, in the form of Bengio et al. 2013 (arXiv:1212.0901, eq. 6-7).

    v = momentum * v - lr * g; p += momentum * v - lr * g: the gradient is taken at the parameters themselves, which
    stand for the looked-ahead point. While lr stays the same, PyTorch's SGD(nesterov=True) walks the same path.
    The book's code means the same formula but uses the new v where the old one belongs, and so differs.
    """

    def _apply(self, xp: ModuleType, lr: float, p: Array, g: Array, room: Array, *state: Array) -> None:
        (v,) = state
        xp.multiply(v, self.momentum, out=v)
        xp.multiply(g, lr, out=room)
        xp.subtract(v, room, out=v)
        xp.subtract(p, room, out=p)
        xp.multiply(v, self.momentum, out=room)
        xp.add(p, room, out=p)

    def launch(self, lr: float, p: Array, g: Array, state: Sequence[Array], rules: Rules, done: Array | None) -> None:
        kernels.nesterov(p, g, *state, lr=lr, momentum=self.momentum, rules=rules)
