"""Optimizers by the book's names and keywords; `make_optimizer` finds them by a word in any case."""

from __future__ import annotations

import inspect
from typing import Any

from xpcnn.errors import ConfigError
from xpcnn.optimizers.adaptive import AdaGrad, Adam, AdamW, RMSprop
from xpcnn.optimizers.base import Optimizer
from xpcnn.optimizers.momentum import SGD, Momentum, Nesterov

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSprop",
    "make_optimizer",
]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind for kind in (SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam, AdamW)
}


def make_optimizer(name: str, **param: Any) -> Optimizer:
    """The optimizer called `name` (any case: "sgd", "Adam", ...) with its constructor's keywords.

    Raises ConfigError for a name or keyword that does not exist (listing those that do) and for a bad value.
    """
    kind = OPTIMIZERS.get(name.strip().lower()) if isinstance(name, str) else None
    if kind is None:
        raise ConfigError(f"no optimizer is called {name!r}; there are {', '.join(OPTIMIZERS)}")
    known = list(inspect.signature(kind).parameters)
    if unknown := [key for key in param if key not in known]:
        raise ConfigError(f"{kind.__name__} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    return kind(**param)
