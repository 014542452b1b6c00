"""Arithmetic between branches of a network, and between a branch and a learned array."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, GradientAttribute, Layer, ParameterAttribute, Shape
from xpcnn.ops import reference

__all__ = ["Divide", "Multiply", "Subtract", "WithConstant", "broadcast_samples"]


def broadcast_samples(*shapes: Shape) -> Shape:
    """The shape that samples of these shapes broadcast to.

    Raises ShapeError where they do not, or have different numbers of axes: N of one would then meet C of another.
    """
    together = ", ".join(map(str, shapes))
    if len({len(shape) for shape in shapes}) > 1:
        raise ShapeError(f"wanted inputs of as many axes each, got {together}; give the smaller ones axes of 1")
    sizes = [sorted({n for n in axis if n != 1} or {1}) for axis in zip(*shapes, strict=True)]
    if any(len(different) > 1 for different in sizes):
        raise ShapeError(f"wanted inputs alike but for axes of 1, got {together}")
    return tuple(n for (n,) in sizes)


class _Binary(Layer):
    """Two arrays to one, elements by elements; axes of 1 are repeated."""

    inputs = 2

    def output_shape(self, *shapes: Shape) -> Shape:
        return broadcast_samples(*shapes)


class Subtract(_Binary):
    """a - b of two branches. Axes of 1 are repeated."""

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        a, b = xs
        get_array_module(a, b)
        ctx.save(a, b)
        return a - b

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, Array]:
        return reference.subtract_backward(dout, *ctx.load())


class Multiply(_Binary):
    """a * b of two branches. Axes of 1 are repeated, as where squeeze and excitation weighs channels (Hu 2018)."""

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        a, b = xs
        get_array_module(a, b)
        ctx.save(a, b)
        return a * b

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, Array]:
        return reference.multiply_backward(dout, *ctx.load())


class Divide(_Binary):
    """a / b of two branches. Axes of 1 are repeated."""

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        a, b = xs
        get_array_module(a, b)
        ctx.save(a, b)
        return reference.divide(a, b)

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, Array]:
        return reference.divide_backward(dout, *ctx.load())


OPERATIONS = ("add", "divide", "multiply", "subtract")


class WithConstant(Layer):
    """x op c, or c op x (left), with an array c that is learned, or is saved with the network and not learned.

    op: "add", "subtract", "multiply" or "divide". c: any shape that broadcasts against (N, ...) without changing N,
    such as (C, 1, 1) or (1, C, 1, 1). learned: False where c belongs to the formula, as 255 to x / 255.
    Raises ConfigError for another op, ShapeError where a sample's shape and c do not fit together.
    """

    c = ParameterAttribute["WithConstant"]("c")
    dc = GradientAttribute["WithConstant"]("c")

    def __init__(self, op: str, c: Array, left: bool = False, learned: bool = True) -> None:
        super().__init__()
        if op not in OPERATIONS:
            raise ConfigError(f"op is one of {', '.join(OPERATIONS)}, got {op!r}")
        self.op, self.left, self.learned = op, left, learned
        (self.params if learned else self.state)["c"] = c

    @property
    def constant(self) -> Array:
        """c, learned or not."""
        return (self.params if self.learned else self.state)["c"]

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        c = self.constant.shape
        if len(c) > len(shape) + 1 or (len(c) == len(shape) + 1 and c[0] != 1):
            raise ShapeError(f"c of shape {c} would change the number of samples (N, {', '.join(map(str, shape))})")
        inner = c[max(0, len(c) - len(shape)) :]
        return broadcast_samples((1,) * (len(shape) - len(inner)) + inner, shape)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        c = self.constant
        get_array_module(xs[0], c)
        a, b = (c, xs[0]) if self.left else (xs[0], c)
        ctx.save(a, b)
        if self.op == "add":
            return a + b
        if self.op == "subtract":
            return a - b
        return a * b if self.op == "multiply" else reference.divide(a, b)

    def backward_in(self, ctx: Context, dout: Array) -> Array | None:
        a, b = ctx.load()
        wanted = (self.learned, ctx.need_dx) if self.left else (ctx.need_dx, self.learned)
        if self.op == "add":
            da = reference.unbroadcast(dout, a.shape) if wanted[0] else None
            db = reference.unbroadcast(dout, b.shape) if wanted[1] else None
        else:
            backward = {
                "subtract": reference.subtract_backward,
                "multiply": reference.multiply_backward,
                "divide": reference.divide_backward,
            }[self.op]
            da, db = backward(dout, a, b, wanted)
        dc, dx = (da, db) if self.left else (db, da)
        if self.learned:
            ctx.grads["c"] = dc
        return dx

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.op}, c={self.constant.shape})"
