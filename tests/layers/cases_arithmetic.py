"""Cases of `test_base.py`'s catalogue: arithmetic between branches and with a learned array; reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn import layers
from xpcnn.layers import Layer

Make = Callable[..., Any]


def _far(make: Make, *shape: int) -> Any:
    """Divisors, of which none comes near 0, nor half of one, nor half of one plus 1/4."""
    return make(*shape) * 0.125 + 2.0


def _with_constant(op: str, left: bool, *shape: int) -> Callable[[Make], tuple[Layer, tuple[Any, ...]]]:
    return lambda make: (layers.WithConstant(op, _far(make, *shape), left), (_far(make, 3, 2, 5, 3),))


CASES: dict[str, Callable[[Make], tuple[Layer, tuple[Any, ...]]]] = {
    "add-broadcast": lambda make: (layers.Add(broadcast=True), (make(3, 2, 5), make(3, 2, 1), make(3, 1, 5))),
    "subtract": lambda make: (layers.Subtract(), (make(3, 2, 5, 3), make(3, 2, 1, 3))),
    "multiply": lambda make: (layers.Multiply(), (make(3, 2, 5, 3), make(3, 2, 1, 1))),
    "divide": lambda make: (layers.Divide(), (make(3, 1, 5), _far(make, 3, 2, 5))),
    "with-constant-add": _with_constant("add", False, 2, 1, 1),
    "with-constant-subtract": _with_constant("subtract", True, 1, 2, 1, 3),
    "with-constant-multiply": _with_constant("multiply", False, 3),
    "with-constant-divide": _with_constant("divide", True, 2, 5, 3),
    "reduce-mean": lambda make: (layers.Reduce("mean", (2, 3)), (make(3, 2, 5, 3),)),
    "reduce-max": lambda make: (layers.Reduce("max", (-1,), keepdims=False), (make(3, 2, 5),)),
    "reduce-log-sum-exp": lambda make: (layers.Reduce("log_sum_exp", (1,)), (make(3, 7),)),
}
