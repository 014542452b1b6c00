"""Mathematics of one element at a time, the error function, and functions of several arrays that broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from xpcnn.device import Array, get_array_module
from xpcnn.ops.reference.broadcasting import unbroadcast

__all__ = [
    "UNARY",
    "Unary",
    "erf",
    "extreme_backward",
    "extreme_forward",
    "mean_backward",
    "mean_forward",
    "power_backward",
    "power_forward",
    "unary_backward",
    "unary_forward",
]


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split()))


# W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969): erf(x)/x in x**2 below
# 0.46875, erfc(x) exp(x**2) in x above; numerator and denominator, the highest power first.
_NEAR = (
    _numbers("1.85777706184603153e-1 3.16112374387056560 113.864154151050156 377.485237685302021 3209.37758913846947"),
    _numbers("1.0 23.6012909523441209 244.024637934444173 1282.61652607737228 2844.23683343917062"),
)
_FAR = (
    _numbers(
        "2.15311535474403846e-8 5.64188496988670089e-1 8.88314979438837594 66.1191906371416295 298.635138197400131 "
        "881.952221241769090 1712.04761263407058 2051.07837782607147 1230.33935479799725"
    ),
    _numbers(
        "1.0 15.7449261107098347 117.693950891312499 537.181101862009858 1621.38957456669019 3290.79923573345963 "
        "4362.61909014324716 3439.36767414372164 1230.33935480374942"
    ),
)


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    """Horner's rule."""
    y = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        y = y * x + c
    return y


def erf(x: Array) -> Array:
    """The error function, within 4 units of the last place in float32 and float64 (Cody 1969); the same dtype.

    Half precision is calculated in float32.
    """
    if x.dtype.itemsize == 2:
        return erf(x.astype("float32")).astype(x.dtype)
    xp = get_array_module(x)
    size = xp.abs(x)
    near = xp.minimum(size, 0.5)
    square = near * near
    near = near * (_polynomial(_NEAR[0], square) / _polynomial(_NEAR[1], square))
    far = xp.clip(size, 0.46875, 6.0)  # from 6 on, erf is 1 to the last digit
    far = 1.0 - xp.exp(-far * far) * (_polynomial(_FAR[0], far) / _polynomial(_FAR[1], far))
    return xp.copysign(xp.where(size < 0.46875, near, far), x)


@dataclass(frozen=True)
class Unary:
    """A function of one element and its derivative: `forward(xp, x)` gives y, `slope(xp, x, y)` dy/dx."""

    forward: Callable[[ModuleType, Array], Array]
    slope: Callable[[ModuleType, Array, Array], Array | float]


# The slopes of what moves in steps are 0 everywhere, as if the steps were not there. hypot(1, x)**2 is 1 + x*x, and
# (1 - x)(1 + x) is 1 - x*x, without the overflow of the one and the cancellation of the other.
UNARY: dict[str, Unary] = {
    "abs": Unary(lambda xp, x: xp.abs(x), lambda xp, x, y: xp.sign(x)),
    "acos": Unary(lambda xp, x: xp.arccos(x), lambda xp, x, y: -1.0 / xp.sqrt((1.0 - x) * (1.0 + x))),
    "acosh": Unary(lambda xp, x: xp.arccosh(x), lambda xp, x, y: 1.0 / (xp.sqrt(x - 1.0) * xp.sqrt(x + 1.0))),
    "asin": Unary(lambda xp, x: xp.arcsin(x), lambda xp, x, y: 1.0 / xp.sqrt((1.0 - x) * (1.0 + x))),
    "asinh": Unary(lambda xp, x: xp.arcsinh(x), lambda xp, x, y: 1.0 / xp.hypot(x, 1.0)),
    "atan": Unary(lambda xp, x: xp.arctan(x), lambda xp, x, y: (1.0 / xp.hypot(x, 1.0)) ** 2),
    "atanh": Unary(lambda xp, x: xp.arctanh(x), lambda xp, x, y: 1.0 / ((1.0 - x) * (1.0 + x))),
    "ceil": Unary(lambda xp, x: xp.ceil(x), lambda xp, x, y: 0.0),
    "cos": Unary(lambda xp, x: xp.cos(x), lambda xp, x, y: -xp.sin(x)),
    "cosh": Unary(lambda xp, x: xp.cosh(x), lambda xp, x, y: xp.sinh(x)),
    "erf": Unary(lambda xp, x: erf(x), lambda xp, x, y: xp.exp(-x * x) * (2.0 / math.sqrt(math.pi))),
    "exp": Unary(lambda xp, x: xp.exp(x), lambda xp, x, y: y),
    "floor": Unary(lambda xp, x: xp.floor(x), lambda xp, x, y: 0.0),
    "identity": Unary(lambda xp, x: x, lambda xp, x, y: 1.0),
    "log": Unary(lambda xp, x: xp.log(x), lambda xp, x, y: 1.0 / x),
    "neg": Unary(lambda xp, x: xp.negative(x), lambda xp, x, y: -1.0),
    "reciprocal": Unary(lambda xp, x: 1 / x, lambda xp, x, y: -y * y),
    "round": Unary(lambda xp, x: xp.rint(x), lambda xp, x, y: 0.0),
    "sign": Unary(lambda xp, x: xp.sign(x), lambda xp, x, y: 0.0),
    "sin": Unary(lambda xp, x: xp.sin(x), lambda xp, x, y: xp.cos(x)),
    "sinh": Unary(lambda xp, x: xp.sinh(x), lambda xp, x, y: xp.cosh(x)),
    "sqrt": Unary(lambda xp, x: xp.sqrt(x), lambda xp, x, y: 0.5 / y),
    "tan": Unary(lambda xp, x: xp.tan(x), lambda xp, x, y: 1.0 + y * y),
}


def unary_forward(name: str, x: Array) -> Array:
    """One of UNARY's functions of x; "round" takes halves to the even neighbour."""
    return UNARY[name].forward(get_array_module(x), x)


def unary_backward(name: str, dout: Array, x: Array, y: Array) -> Array:
    """Gradient of `unary_forward` from its input x and its output y."""
    return dout * UNARY[name].slope(get_array_module(dout, x), x, y)


def power_forward(x: Array, p: Array) -> Array:
    """x ** p, broadcast."""
    return get_array_module(x, p).power(x, p)


def power_backward(
    dout: Array, x: Array, p: Array, y: Array, wanted: tuple[bool, bool] = (True, True)
) -> tuple[Any, Any]:
    """Gradients of y = x ** p, of the shapes of x and p; None for the one that is not wanted.

    Of p it is y log(x) where x > 0, 0 at x = 0 and NaN where x < 0, for between whole powers there are none.
    """
    xp = get_array_module(dout, x, p)
    dx = dp = None
    if wanted[0]:
        # The rule's own x ** -1 * 0 for p = 0 would be NaN at x = 0.
        slope = xp.where(p == 0.0, 0.0, p * xp.power(x, xp.where(p == 0.0, 1.0, p - 1.0)))
        dx = unbroadcast(dout * slope, x.shape)
    if wanted[1]:
        slope = y * xp.log(xp.where(x > 0.0, x, 1.0))
        dp = unbroadcast(dout * xp.where(x > 0.0, slope, xp.where(x < 0.0, math.nan, x * 0.0)), p.shape)
    return dx, dp


def extreme_forward(mode: str, xs: Sequence[Array]) -> Array:
    """The largest ("maximum") or smallest ("minimum") of arrays that broadcast; NaN stays NaN."""
    best = getattr(get_array_module(*xs), mode)
    y = xs[0]
    for x in xs[1:]:
        y = best(y, x)
    return y


def extreme_backward(dout: Array, xs: Sequence[Array], y: Array) -> tuple[Array, ...]:
    """Gradients of `extreme_forward` from its inputs and output; the first of equals takes all, as in pooling.

    Where y is NaN no input equals it: the last one takes the gradient.
    """
    xp = get_array_module(dout, y, *xs)
    gradients, free = [], xp.ones(y.shape, dtype=bool)
    for x in xs[:-1]:
        won = free & (x == y)
        free = free & ~won
        gradients.append(unbroadcast(dout * won, x.shape))
    return *gradients, unbroadcast(dout * free, xs[-1].shape)


def mean_forward(xs: Sequence[Array]) -> Array:
    """The mean of arrays that broadcast."""
    get_array_module(*xs)
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total * (1.0 / len(xs)) if len(xs) > 1 else total


def mean_backward(dout: Array, shapes: Sequence[tuple[int, ...]]) -> tuple[Array, ...]:
    """Gradients of `mean_forward` for inputs of these shapes."""
    share = dout * (1.0 / len(shapes))
    return tuple(unbroadcast(share, shape) for shape in shapes)
