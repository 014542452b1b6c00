"""Cases of `test_base.py`'s catalogue: activations, mathematics of one element, functions that broadcast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn import layers
from xpcnn.layers import Layer

Make = Callable[..., Any]


def _alone(build: Callable[[], Layer]) -> Callable[[Make], tuple[Layer, tuple[Any, ...]]]:
    return lambda make: (build(), (make(3, 2, 5, 3),))


def _positive(build: Callable[[], Layer], middle: float = 0.6) -> Callable[[Make], tuple[Layer, tuple[Any, ...]]]:
    """For functions that want numbers of 0..1, or above 1; the tests also take halves of them, and halves plus 1/4."""
    return lambda make: (build(), (make(3, 2, 5, 3) * 0.05 + middle,))


_ALONE: dict[str, Callable[[], Layer]] = {
    "celu": lambda: layers.Celu(0.7),
    "gelu": layers.Gelu,
    "gelu-tanh": lambda: layers.Gelu(approximate=True),
    "mish": layers.Mish,
    "selu": layers.Selu,
    "silu": lambda: layers.Silu(1.5),
    "softplus": layers.Softplus,
    "softsign": layers.Softsign,
    "clip": lambda: layers.Clip(-0.5, 0.75),
    "hard-sigmoid": lambda: layers.HardSigmoid(0.4, 0.5),
    "hard-swish": layers.HardSwish,
    "shrink": lambda: layers.Shrink(0.25, 0.5),
    "thresholded-relu": lambda: layers.ThresholdedRelu(-0.25),
    "abs": layers.Abs,
    "asinh": layers.Asinh,
    "atan": layers.Atan,
    "ceil": layers.Ceil,
    "cos": layers.Cos,
    "cosh": layers.Cosh,
    "erf": layers.Erf,
    "exp": layers.Exp,
    "floor": layers.Floor,
    "identity": layers.Identity,
    "neg": layers.Neg,
    "round": layers.Round,
    "sin": layers.Sin,
    "sinh": layers.Sinh,
}
CASES: dict[str, Callable[[Make], tuple[Layer, tuple[Any, ...]]]] = {
    **{name: _alone(build) for name, build in _ALONE.items()},
    "acos": _positive(layers.Acos),
    "acosh": _positive(layers.Acosh, 3.0),
    "asin": _positive(layers.Asin),
    "atanh": _positive(layers.Atanh),
    "log": _positive(layers.Log),
    "reciprocal": _positive(layers.Reciprocal),
    "sqrt": _positive(layers.Sqrt),
    "tan": _positive(layers.Tan),
    "power": lambda make: (layers.Power(), (make(3, 2, 5) * 0.05 + 0.6, make(3, 1, 5))),
    "prelu": lambda make: (layers.PRelu(make(2, 1, 1)), (make(3, 2, 5, 3),)),
    "prelu-rows": lambda make: (layers.PRelu(make(7)), (make(3, 7),)),
    "maximum": lambda make: (layers.Maximum(), (make(3, 2, 5, 3), make(3, 1, 5, 3), make(3, 2, 1, 1))),
    "minimum": lambda make: (layers.Minimum(), (make(3, 7), make(3, 7))),
    "average": lambda make: (layers.Average(), (make(3, 2, 5, 3), make(3, 2, 1, 3))),
    "beside": lambda make: (layers.Beside(layers.Maximum(), {1: make(7)}), (make(3, 7),)),
}
# It has one value wherever x > 0, and so no two different passes: tests/layers/test_elementwise.py has it.
ELSEWHERE = {layers.Sign}
