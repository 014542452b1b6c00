"""Comparisons, logic, bits and types: what is not calculated with floating numbers, and so has no gradient."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np

from xpcnn.device import Array
from xpcnn.layers.elementwise import Identity
from xpcnn.onnx.call import Call, Translated, Translator, operator
from xpcnn.onnx.function import Function
from xpcnn.onnx.operators.elementwise import aligned
from xpcnn.ops.geometry import check_size

# the operator, NumPy's and CuPy's name of it, its since-versions
_OF_TWO: dict[str, tuple[str, tuple[int, ...]]] = {
    "And": ("logical_and", (1, 7)),
    "BitwiseAnd": ("bitwise_and", (18,)),
    "BitwiseOr": ("bitwise_or", (18,)),
    "BitwiseXor": ("bitwise_xor", (18,)),
    "Equal": ("equal", (1, 7, 11, 13, 19)),
    "Greater": ("greater", (1, 7, 9, 13)),
    "GreaterOrEqual": ("greater_equal", (12, 16)),
    "Less": ("less", (1, 7, 9, 13)),
    "LessOrEqual": ("less_equal", (12, 16)),
    "Or": ("logical_or", (1, 7)),
    "Xor": ("logical_xor", (1, 7)),
}
_OF_ONE: dict[str, tuple[str, tuple[int, ...]]] = {
    "BitwiseNot": ("invert", (18,)),
    "IsNaN": ("isnan", (9, 13, 20)),
    "Not": ("logical_not", (1,)),
}


def _named(name: str, inputs: int) -> Translator:
    def translate(call: Call) -> Translated:
        call.need_program("its result is not a floating number")
        if inputs == 1:
            return call.apply(Function(lambda xp, x: getattr(xp, name)(x), name=call.op))
        function = aligned(call, lambda xp, a, b: getattr(xp, name)(a, b))
        return call.apply(Function(function, 2, call.op), 0, 1)

    return translate


for _inputs, _table in ((1, _OF_ONE), (2, _OF_TWO)):
    for _op, (_function, _versions) in _table.items():
        operator(_op, *_versions)(_named(_function, _inputs))


@operator("IsInf", 10, 20)
def is_inf(call: Call) -> Translated:
    call.need_program("its result is not a floating number")
    wanted = [
        sign * float("inf")
        for name, sign in (("detect_positive", 1.0), ("detect_negative", -1.0))
        if call.attribute(name, 1)
    ]

    def function(xp: ModuleType, x: Array) -> Array:
        found = xp.zeros(x.shape, dtype=bool)
        for infinity in wanted:
            found = found | (x == infinity)
        return found

    return call.apply(Function(function, name="IsInf"))


@operator("BitShift", 11, 28)
def bit_shift(call: Call) -> Translated:
    call.need_program("it works on whole numbers")
    directions = {"LEFT": "left_shift", "RIGHT": "right_shift"}
    direction = call.attribute("direction")
    if direction not in directions:
        raise call.unsupported(f"direction is {direction!r}; xpcnn knows LEFT and RIGHT")
    name = directions[direction]
    return call.apply(Function(lambda xp, x, y: getattr(xp, name)(x, y), 2, "BitShift"), 0, 1)


@operator("Where", 9, 16)
def where(call: Call) -> Translated:
    call.need_program("its condition is not a floating number")
    return call.apply(Function(lambda xp, condition, x, y: xp.where(condition, x, y), 3, "Where"), 0, 1, 2)


# ------------------------------------------------------------------------------------------------------------ types
# ONNX's numbers for them (TensorProto.DataType); strings, complex numbers and those of less than 8 bits are left out.
_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}


@operator("Cast", 6, 9, 13, 19, 21, 23, 24, 25, 28)
def cast(call: Call) -> Translated:
    number = call.attribute("to")
    if number not in _TYPES:
        raise call.unsupported(f"to={number}, a type that xpcnn does not know; it knows {', '.join(_TYPES.values())}")
    return _cast(call, np.dtype(_TYPES[number]))


@operator("CastLike", 15, 19, 21, 23, 24, 25)
def cast_like(call: Call) -> Translated:
    dtype = call.dtype(1)
    if dtype.name not in _TYPES.values():
        raise call.unsupported(f"arrays of {dtype}")
    return _cast(call, dtype)


def _cast(call: Call, dtype: np.dtype[np.generic]) -> Translated:
    before = call.dtype(0)
    if before.name not in _TYPES.values():
        raise call.unsupported(f"arrays of {before}")
    if before == dtype:
        return call.apply(Identity())
    call.need_program(f"it makes {dtype} of {before}")
    return call.apply(Function(_as(dtype), name=call.op))


def _as(dtype: np.dtype[np.generic]) -> Callable[..., Array]:
    def function(xp: ModuleType, x: Array) -> Array:
        check_size(x.shape, dtype.itemsize, f"an array of {dtype}")
        return x.astype(dtype)

    return function
