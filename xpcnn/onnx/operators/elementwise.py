"""Mathematics of one element at a time, and of several arrays that broadcast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType

from xpcnn.device import Array
from xpcnn.layers import elementwise
from xpcnn.layers.base import Layer
from xpcnn.layers.broadcast import Average, Beside, Maximum, Minimum, Power
from xpcnn.layers.elementwise import Identity
from xpcnn.layers.merge import Add
from xpcnn.onnx.call import Call, Translated, Translator, operator
from xpcnn.onnx.function import Function

# since-versions of the operators that are a layer of their own name
_UNARY: dict[str, tuple[int, ...]] = {
    "Abs": (1, 6, 13),
    "Acos": (7, 22),
    "Acosh": (9, 22),
    "Asin": (7, 22),
    "Asinh": (9, 22),
    "Atan": (7, 22),
    "Atanh": (9, 22),
    "Ceil": (1, 6, 13),
    "Cos": (7, 22),
    "Cosh": (9, 22),
    "Erf": (9, 13),
    "Exp": (1, 6, 13),
    "Floor": (1, 6, 13),
    "Identity": (1, 13, 14, 16, 19, 21, 23, 24, 25),
    "Log": (1, 6, 13),
    "Neg": (1, 6, 13),
    "Reciprocal": (1, 6, 13),
    "Round": (11, 22),
    "Sign": (9, 13),
    "Sin": (7, 22),
    "Sinh": (9, 22),
    "Sqrt": (1, 6, 13),
    "Tan": (7, 22),
}


def _unary(layer: Callable[[], Layer]) -> Translator:
    return lambda call: call.apply(layer())


for _name, _versions in _UNARY.items():
    operator(_name, *_versions)(_unary(getattr(elementwise, _name)))


def aligned(call: Call, function: Callable[[ModuleType, Array, Array], Array]) -> Callable[..., Array]:
    """`function` of two arrays that broadcast as the operator says.

    Since opset 7 that is NumPy's way. Before, the second array's axes lay beside the first's from `axis` on, and
    beside its last ones where that is left out.
    """
    axis = call.attribute("axis")
    if call.version >= 7 or not call.attribute("broadcast", 0) or axis is None:
        return function

    def old(xp: ModuleType, a: Array, b: Array) -> Array:
        return function(xp, a, b.reshape(*b.shape, *(1 for _ in range(a.ndim - axis % a.ndim - b.ndim))))

    return old


# -------------------------------------------------------------------------------------------------------- two arrays
@operator("Pow", 1, 7, 12, 13, 15)
def power(call: Call) -> Translated:
    if call.batch is None:
        # The exponent may be of another type; the result is of the base's.
        function = aligned(call, lambda xp, x, p: xp.power(x, p).astype(x.dtype))
        return call.apply(Function(function, 2, "Pow"), 0, 1)
    if call.version < 7 and call.has(1) and call.shape(1) not in ((), (1,)):
        call.need_program("it broadcasts as opsets before 7 do")
    constants = {i: call.parameter(i) for i in (0, 1) if call.is_constant(i)}
    if not constants:
        return call.apply(Power(), 0, 1)
    (place,) = constants
    return call.apply(Beside(Power((place == 1, place == 0)), constants), 1 - place)


@operator("Mod", 10, 13, 28)
def modulo(call: Call) -> Translated:
    call.need_program("it has no gradient")
    if call.attribute("fmod", 0):
        return call.apply(Function(lambda xp, a, b: xp.fmod(a, b), 2, "Mod"), 0, 1)
    return call.apply(Function(lambda xp, a, b: xp.remainder(a, b), 2, "Mod"), 0, 1)


# ------------------------------------------------------------------------------------------------------- many arrays
def _many(call: Call, layer: Layer, function: Callable[..., Array]) -> Translated:
    """Any number of arrays to one: the layer in a Network, with constants beside it; the function in a Program."""
    places = range(len(call.inputs))
    if call.batch is None:
        return call.apply(Function(function, None, call.op), *places)
    if len(places) == 1:
        return call.apply(Identity())
    constants = {i: call.parameter(i) for i in places if call.is_constant(i)}
    others = [i for i in places if i not in constants]
    return call.apply(Beside(layer, constants, len(others)) if constants else layer, *others)


def _sum(xp: ModuleType, *xs: Array) -> Array:
    return functools.reduce(lambda a, b: a + b, xs)


@operator("Max", 1, 6, 8, 12, 13)
def maximum(call: Call) -> Translated:
    return _many(call, Maximum(), lambda xp, *xs: functools.reduce(xp.maximum, xs))


@operator("Min", 1, 6, 8, 12, 13)
def minimum(call: Call) -> Translated:
    return _many(call, Minimum(), lambda xp, *xs: functools.reduce(xp.minimum, xs))


@operator("Sum", 1, 6, 8, 13)
def total(call: Call) -> Translated:
    return _many(call, Add(broadcast=True), _sum)


@operator("Mean", 1, 6, 8, 13)
def mean(call: Call) -> Translated:
    return _many(call, Average(), lambda xp, *xs: _sum(xp, *xs) / float(len(xs)))
