"""Layers that make one array of several which broadcast: powers, extremes, means; and any such layer with constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.arithmetic import broadcast_samples
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.ops import reference

__all__ = ["Average", "Beside", "Maximum", "Minimum", "Power"]


class _Extreme(Layer):
    inputs = None
    mode: ClassVar[str]

    def output_shape(self, *shapes: Shape) -> Shape:
        return broadcast_samples(*shapes)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.extreme_forward(self.mode, xs)
        ctx.save(xs, y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, ...]:
        return reference.extreme_backward(dout, *ctx.load())


class Maximum(_Extreme):
    """The largest of any number of inputs, element by element; of equals the first has the gradient."""

    mode = "maximum"


class Minimum(_Extreme):
    """The smallest of any number of inputs, element by element; of equals the first has the gradient."""

    mode = "minimum"


class Average(Layer):
    """The mean of any number of inputs, element by element."""

    inputs = None

    def output_shape(self, *shapes: Shape) -> Shape:
        return broadcast_samples(*shapes)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save([x.shape for x in xs])
        return reference.mean_forward(xs)

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, ...]:
        (shapes,) = ctx.load()
        return reference.mean_backward(dout, shapes)


class Power(Layer):
    """x ** p, element by element. wanted: which of the two gradients; None stands for the other."""

    inputs = 2

    def __init__(self, wanted: tuple[bool, bool] = (True, True)) -> None:
        super().__init__()
        self.wanted = wanted

    def output_shape(self, *shapes: Shape) -> Shape:
        return broadcast_samples(*shapes)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.power_forward(*xs)
        ctx.save(*xs, y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array | None, Array | None]:
        x, p, y = ctx.load()
        return reference.power_backward(dout, x, p, y, self.wanted)


class Beside(Layer):
    """A layer without parameters, some of whose inputs are constants: `Beside(Power(), {1: exponent})` squares, or so.

    layer: one of several inputs that broadcast, whose gradients are a tuple. constants: arrays by their place among
    all inputs, of shapes that broadcast against (N, ...) without changing N; they are saved with the network and not
    learned. inputs: how many others there are. Raises ConfigError where there are none of either.
    """

    def __init__(self, layer: Layer, constants: Mapping[int, Array], inputs: int = 1) -> None:
        super().__init__()
        if not constants or inputs < 1 or layer.params:
            raise ConfigError("Beside takes a layer without parameters, one constant or more and one input or more")
        self.layer, self.inputs = layer, inputs
        self.places = sorted(constants)
        for i in self.places:
            self.state[f"constant{i}"] = constants[i]

    def _among(self, given: Any, constants: Mapping[int, Any]) -> list[Any]:
        """All inputs in their order."""
        others = iter(given)
        count = len(self.places) + len(given)
        return [constants[i] if i in constants else next(others) for i in range(count)]

    def output_shape(self, *shapes: Shape) -> Shape:
        axes = max(len(shape) for shape in shapes) + 1
        padded = {}
        for i in self.places:
            c = self.state[f"constant{i}"].shape
            if len(c) > axes or (len(c) == axes and c[0] != 1):
                raise ShapeError(f"a constant of shape {c} would change the number of samples of {shapes}")
            padded[i] = ((1,) * (axes - len(c)) + c)[1:]
        return self.layer.output_shape(*self._among(shapes, padded))

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        constants = {i: self.state[f"constant{i}"] for i in self.places}
        get_array_module(*xs, *constants.values())
        return self.layer.forward_in(ctx, *self._among(xs, constants))

    def backward_in(self, ctx: Context, dout: Array) -> Any:
        gradients = self.layer.backward_in(ctx, dout)
        kept = tuple(g for i, g in enumerate(gradients) if i not in self.places)
        return kept if len(kept) > 1 else kept[0]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={c.shape}" for name, c in self.state.items())
        return f"{type(self).__name__}({type(self.layer).__name__}, {sizes})"
