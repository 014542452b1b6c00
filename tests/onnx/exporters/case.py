"""One case of the exporters' tests: a small network, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn import Network, layers

OPSETS = (13, 17, 18, 20, 21, 23, 25)
NEVER = 99  # a later opset than any


@dataclass(frozen=True)
class Case:
    """make: the entries of a network for samples of `shape`. among: where their numbers lie.

    since: the oldest opset that has what it takes. alike: the oldest one in which its parameters have their names again
    when it is read (in older ones a layer is made of several operators). idle: at test time it does nothing, and is
    gone when read. program: it is read as a Program, for some of its values are whole numbers. reference, onnxruntime:
    why they cannot judge it.
    """

    name: str
    make: Callable[[], list[Any]]
    shape: tuple[int, ...]
    among: tuple[float, float] = (-2.0, 2.0)
    since: int = 13
    alike: int = 13
    idle: bool = False
    program: bool = False
    reference: str = ""
    onnxruntime: str = ""

    def network(self) -> Network:
        return Network(self.make(), self.shape, seed=0)

    def samples(self, N: int) -> np.ndarray:
        low, high = self.among
        return np.random.default_rng(N).uniform(low, high, (N, *self.shape)).astype(np.float32)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(0.5, 1.5, shape).astype(np.float32)


def alone(name: str, *given: Any, **options: Any) -> Callable[[], list[Any]]:
    return lambda: [getattr(layers, name)(*given, **options)]


PICTURES = (4, 6, 5)
POSITIVE = (0.1, 3.0)
