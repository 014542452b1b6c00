"""What a Program calculates without a gradient: comparisons, logic, whole numbers, shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError
from xpcnn.layers.base import Context, Layer, Shape

__all__ = ["Function"]


class Function(Layer):
    """`function(xp, *xs)` as a layer of a Program, over whole arrays of any dtype. It keeps nothing.

    inputs: how many arrays it takes (None: any number). name: for messages, such as the operator's.
    Its backward_in raises ConfigError; so does output_shape, for it cannot be part of a Network.
    """

    def __init__(self, function: Callable[..., Any], inputs: int | None = 1, name: str = "") -> None:
        super().__init__()
        self.function, self.inputs, self.name = function, inputs, name or type(self).__name__

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        xp = get_array_module(*xs)
        return xp.asarray(self.function(xp, *xs))  # NumPy makes a bare number of what has no axes

    def backward_in(self, ctx: Context, dout: Array) -> NoReturn:
        raise ConfigError(f"{self.name} has no gradient here; a model that is to be trained must do without it")

    def output_shape(self, *shapes: Shape) -> Shape:
        raise ConfigError(f"{self.name} works over whole arrays of a Program, and cannot be part of a Network")
