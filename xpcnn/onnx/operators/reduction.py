"""Reductions, and where the extremes are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from types import ModuleType

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.reduction import Reduce
from xpcnn.onnx.call import Applied, Call, Translated, Translator, operator
from xpcnn.onnx.function import Function
from xpcnn.onnx.operators.shape import axes_given, ints
from xpcnn.ops.geometry import check_size


def _reduction(kind: str, inputs_from: int) -> Translator:
    """The translator of one reduction, whose axes are an input from that opset on."""

    def translate(call: Call) -> Translated:
        axes = axes_given(call, inputs_from)
        if not axes and not call.attribute("noop_with_empty_axes", 0):
            axes = None
        elif axes is None:
            axes = []
        return call.apply(Reduce(kind, axes, bool(call.attribute("keepdims", 1))))

    return translate


for _name, _kind, _more in (
    ("ReduceL1", "l1", ()),
    ("ReduceL2", "l2", ()),
    ("ReduceLogSum", "log_sum", (28,)),
    ("ReduceLogSumExp", "log_sum_exp", (28,)),
    ("ReduceMax", "max", (12, 20)),
    ("ReduceMean", "mean", ()),
    ("ReduceMin", "min", (12, 20)),
    ("ReduceProd", "prod", ()),
    ("ReduceSumSquare", "sum_square", ()),
):
    operator(_name, 1, 11, 13, 18, *_more)(_reduction(_kind, 18))
operator("ReduceSum", 1, 11, 13)(_reduction("sum", 13))


def _arg_extreme(name: str) -> Translator:
    def translate(call: Call) -> Translated:
        call.need_program("it gives whole numbers")
        axis, keepdims = call.axis(call.attribute("axis", 0)), bool(call.attribute("keepdims", 1))
        last = bool(call.attribute("select_last_index", 0))

        def function(xp: ModuleType, x: Array) -> Array:
            find = getattr(xp, name)
            found = x.shape[axis] - 1 - find(xp.flip(x, axis), axis=axis) if last else find(x, axis=axis)
            return xp.expand_dims(found, axis) if keepdims else found

        return call.apply(Function(function, name=call.op))

    return translate


operator("ArgMax", 1, 11, 12, 13)(_arg_extreme("argmax"))
operator("ArgMin", 1, 11, 12, 13)(_arg_extreme("argmin"))


@operator("TopK", 1, 10, 11, 24)
def top_k(call: Call) -> Translated:
    call.need_program("one of its outputs is whole numbers")
    axis = call.axis(call.attribute("axis", -1))
    k = call.attribute("k") if call.version < 10 else ints(call.constant(1))[0]
    size = call.shape(0)[axis]
    if not 0 <= k <= size:
        raise call.unsupported(f"the first {k} of {size}")
    largest = bool(call.attribute("largest", 1))

    def places(xp: ModuleType, x: Array) -> Array:
        if largest:  # of equals the first counts as larger, so the array is read backwards
            order = size - 1 - xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis)
        else:
            order = xp.argsort(x, axis=axis, kind="stable")
        return order[(*(slice(None),) * axis, slice(k))]

    values = Function(lambda xp, x, i: xp.take_along_axis(x, i, axis), 2, "TopK")
    return [
        Applied(Function(places, name="TopK"), (call.inputs[0],), call.outputs[1]),
        Applied(values, (call.inputs[0], call.outputs[1]), call.outputs[0]),
    ]


def _cumulative(name: str) -> Translator:
    """Running sums or products; those without the element itself are shifted by one place."""

    def translate(call: Call) -> Translated:
        call.need_program("what is added up along an axis has no layer")
        axis = call.axis(ints(call.constant(1))[0])
        exclusive, reverse = call.attribute("exclusive", 0), call.attribute("reverse", 0)

        def function(xp: ModuleType, x: Array) -> Array:
            x = xp.flip(x, axis) if reverse else x
            if exclusive:
                first = xp.full_like(x[(*(slice(None),) * axis, slice(1))], 0 if name == "cumsum" else 1)
                x = xp.concatenate([first, x[(*(slice(None),) * axis, slice(-1))]], axis=axis)
            total = getattr(xp, name)(x, axis=axis, dtype=x.dtype)
            return xp.flip(total, axis) if reverse else total

        return call.apply(Function(function, name=call.op))

    return translate


operator("CumProd", 26)(_cumulative("cumprod"))
operator("CumSum", 11, 14)(_cumulative("cumsum"))


_MOST_LOOPS = 2**36  # of an Einsum: some minutes


def _einsum_shape(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The sizes of what an Einsum gives, or an upper bound: of axes that "..." stands for, each is counted."""
    terms, arrow, result = equation.partition("->")
    sizes: dict[str, int] = {}
    others: list[int] = []
    for term, shape in zip(terms.split(","), shapes, strict=False):
        named = term.replace("...", "")
        front = term.find("...") if "..." in term else len(term)
        behind = len(named) - front
        inner = shape[front : len(shape) - behind] if "..." in term else ()
        others = [max(pair) for pair in itertools.zip_longest(others[::-1], inner[::-1], fillvalue=1)][::-1]
        for letter, n in zip(named, (*shape[:front], *shape[len(shape) - behind :]), strict=False):
            sizes[letter] = max(n, sizes.get(letter, 1))
    letters = result.replace("...", "") if arrow else [c for c in sizes if terms.count(c) == 1]
    return (*(others if "..." in equation else ()), *(sizes.get(letter, 1) for letter in letters))


@operator("Einsum", 12, 28)
def einsum(call: Call) -> Translated:
    call.need_program("an Einsum has no layer")
    equation = call.attribute("equation").replace(" ", "")

    def function(xp: ModuleType, *xs: Array) -> Array:
        shapes = [x.shape for x in xs]
        check_size(_einsum_shape(equation, shapes), xs[0].dtype.itemsize, "an Einsum's array")
        terms = equation.partition("->")[0]
        loops = _einsum_shape(f"{terms}->...{''.join(dict.fromkeys(filter(str.isalpha, terms)))}", shapes)
        if math.prod(loops) > _MOST_LOOPS:
            raise ShapeError(f"{equation} goes through {' x '.join(map(str, loops))} products, which takes too long")
        try:
            return xp.einsum(equation, *xs)
        except (TypeError, ValueError) as error:
            raise ShapeError(f"{equation} of {', '.join(f'{x.dtype} {x.shape}' for x in xs)}: {error}") from error

    return call.apply(Function(function, len(call.inputs), "Einsum"), *range(len(call.inputs)))
