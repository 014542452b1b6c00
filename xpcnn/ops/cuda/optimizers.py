"""One launch updates all parameters, side by side in one array, by the rules of `xpcnn.optimizers`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.ops.cuda.module import launch, output, sum_dtype

__all__ = ["OPTIONS", "Rules", "adagrad", "adam", "momentum", "nesterov", "rmsprop", "sgd"]


class Rules(NamedTuple):
    """What happens to gradients before any rule.

    skip: (1,) int32, not 0 where this step must change nothing. scale: (1,) float32, the gradients are divided by it
    (loss scaling). clip_value: then limited to this. clip_factor: (1,) float64, then multiplied by it. weight_decay:
    then this much of the parameters is added.
    """

    skip: Array | None = None
    scale: Array | None = None
    clip_value: float | None = None
    clip_factor: Array | None = None
    weight_decay: float = 0.0


_PLAIN = Rules()
# Each product rounded by itself, as NumPy and CuPy have it: memory, not arithmetic, sets the speed here.
OPTIONS = ("--fmad=false",)


def _update(
    kernel: str, params: Array, grads: Array, state: tuple[Array, ...], rules: Rules, numbers: tuple[Any, ...]
) -> None:
    """params and state: (size,) in what is calculated in for the gradients' dtype; grads: (size,)."""
    xp = get_array_module(params, grads, *state)
    for name, a in (("params", params), *((f"state {i}", s) for i, s in enumerate(state))):
        output(xp, a, grads.shape, sum_dtype(grads.dtype), name)
    limit = float("inf") if rules.clip_value is None else float(rules.clip_value)
    shared = (rules.skip, rules.scale, limit, rules.clip_factor, float(rules.weight_decay))
    launch(
        "optimizers",
        kernel,
        grads.dtype,
        (params, grads, *state, grads.size, *shared, *numbers),
        threads_wanted=grads.size,
        more=OPTIONS,
    )


def sgd(params: Array, grads: Array, *, lr: float, rules: Rules = _PLAIN) -> None:
    """p -= lr * g (the book, 6.1.2)."""
    _update("sgd", params, grads, (), rules, (float(lr),))


def momentum(params: Array, grads: Array, v: Array, *, lr: float, momentum: float = 0.9, rules: Rules = _PLAIN) -> None:
    """v = momentum * v - lr * g; p += v (the book, 6.1.4)."""
    _update("momentum", params, grads, (v,), rules, (float(lr), float(momentum)))


def nesterov(params: Array, grads: Array, v: Array, *, lr: float, momentum: float = 0.9, rules: Rules = _PLAIN) -> None:
    """v = momentum * v - lr * g; p += momentum * v - lr * g (Bengio et al. 2013)."""
    _update("nesterov", params, grads, (v,), rules, (float(lr), float(momentum)))


def adagrad(params: Array, grads: Array, h: Array, *, lr: float, eps: float = 1e-7, rules: Rules = _PLAIN) -> None:
    """h += g * g; p -= lr * g / (sqrt(h) + eps) (the book, 6.1.5)."""
    _update("adagrad", params, grads, (h,), rules, (float(lr), float(eps)))


def rmsprop(
    params: Array,
    grads: Array,
    h: Array,
    *,
    lr: float,
    decay_rate: float = 0.99,
    eps: float = 1e-7,
    rules: Rules = _PLAIN,
) -> None:
    """h = decay_rate * h + (1 - decay_rate) * g * g; p -= lr * g / (sqrt(h) + eps)."""
    numbers = (float(lr), float(eps), float(decay_rate), 1.0 - float(decay_rate))
    _update("rmsprop", params, grads, (h,), rules, numbers)


def adam(
    params: Array,
    grads: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    t: int | Array,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decoupled_decay: float = 0.0,
    rules: Rules = _PLAIN,
) -> None:
    """Adam (Kingma and Ba 2015), or AdamW (Loshchilov and Hutter 2019) with its weight decay as `decoupled_decay`.

    t: this update's number, from 1; or a (1,) int64 array of how many updates were made before, which
    `gradients.adjust_scale` counts where steps may be skipped.
    """
    done, number = (None, t) if isinstance(t, int) else (t, 0)
    exact = (done, np.int64(number), np.float64(lr), np.float64(beta1), np.float64(beta2))
    numbers = (*map(float, (beta1, 1.0 - beta1, beta2, 1.0 - beta2, eps, 1.0 - lr * decoupled_decay)),)
    _update("adam", params, grads, (m, v), rules, (*exact, *numbers))
