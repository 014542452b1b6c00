"""Mathematics of one element at a time as layers: each names its function and its derivative in `reference.UNARY`."""

from __future__ import annotations

from typing import ClassVar

from xpcnn.device import Array
from xpcnn.layers.base import Context, Layer
from xpcnn.ops import reference

__all__ = [
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Cos",
    "Cosh",
    "Erf",
    "Exp",
    "Floor",
    "Identity",
    "Log",
    "Neg",
    "Reciprocal",
    "Round",
    "Sign",
    "Sin",
    "Sinh",
    "Sqrt",
    "Tan",
]


class _Unary(Layer):
    function: ClassVar[str]  # its name in reference.UNARY

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        y = reference.unary_forward(self.function, xs[0])
        ctx.save(xs[0], y)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        return reference.unary_backward(self.function, dout, *ctx.load())


class Abs(_Unary):
    """|x|, with gradient 0 at 0."""

    function = "abs"


class Acos(_Unary):
    """The arc cosine; NaN beyond -1..1."""

    function = "acos"


class Acosh(_Unary):
    """The inverse hyperbolic cosine; NaN below 1."""

    function = "acosh"


class Asin(_Unary):
    """The arc sine; NaN beyond -1..1."""

    function = "asin"


class Asinh(_Unary):
    """The inverse hyperbolic sine."""

    function = "asinh"


class Atan(_Unary):
    """The arc tangent."""

    function = "atan"


class Atanh(_Unary):
    """The inverse hyperbolic tangent; NaN beyond -1..1."""

    function = "atanh"


class Ceil(_Unary):
    """The least whole number not below x; its gradient is 0."""

    function = "ceil"


class Cos(_Unary):
    """The cosine."""

    function = "cos"


class Cosh(_Unary):
    """The hyperbolic cosine."""

    function = "cosh"


class Erf(_Unary):
    """The error function."""

    function = "erf"


class Exp(_Unary):
    """e to the power x."""

    function = "exp"


class Floor(_Unary):
    """The largest whole number not above x; its gradient is 0."""

    function = "floor"


class Identity(_Unary):
    """x itself."""

    function = "identity"


class Log(_Unary):
    """The natural logarithm."""

    function = "log"


class Neg(_Unary):
    """-x."""

    function = "neg"


class Reciprocal(_Unary):
    """1/x."""

    function = "reciprocal"


class Round(_Unary):
    """The nearest whole number, halves to the even one; its gradient is 0."""

    function = "round"


class Sign(_Unary):
    """-1, 0 or 1; its gradient is 0."""

    function = "sign"


class Sin(_Unary):
    """The sine."""

    function = "sin"


class Sinh(_Unary):
    """The hyperbolic sine."""

    function = "sinh"


class Sqrt(_Unary):
    """The square root."""

    function = "sqrt"


class Tan(_Unary):
    """The tangent."""

    function = "tan"
