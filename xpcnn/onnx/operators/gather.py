"""Operators that pick elements by places that are themselves arrays, and put them there."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.device import Array, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers.slicing import Take
from xpcnn.onnx.call import Call, Translated, operator
from xpcnn.onnx.function import Function
from xpcnn.ops.geometry import check_size

_PROGRAM = "its places are no values of samples"


def _picking(call: Call, function: Callable[..., Any], *inputs: int) -> Translated:
    """`function` as a layer; NumPy's complaint about a place that is not there becomes ours."""

    def careful(xp: ModuleType, *xs: Array) -> Any:
        try:
            return function(xp, *xs)
        except (IndexError, ValueError) as error:
            raise ShapeError(f"{call.op}: {error}") from error

    return call.apply(Function(careful, len(inputs), call.op), *inputs)


@operator("Gather", 1, 11, 13)
def gather(call: Call) -> Translated:
    axis = call.axis(call.attribute("axis", 0))
    if call.batch is not None:
        if call.is_constant(0):
            call.need_program(_PROGRAM)
        return call.apply(Take(call.constant(1), axis))

    def function(xp: ModuleType, x: Array, places: Array) -> Array:
        check_size((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]), x.dtype.itemsize, "what is gathered")
        return xp.take(x, places, axis=axis)

    return _picking(call, function, 0, 1)


@operator("GatherElements", 11, 13)
def gather_elements(call: Call) -> Translated:
    call.need_program(_PROGRAM)
    axis = call.axis(call.attribute("axis", 0))

    def function(xp: ModuleType, x: Array, places: Array) -> Array:
        if x.ndim != places.ndim:
            raise ShapeError(f"GatherElements: data of shape {x.shape}, places of shape {places.shape}")
        # Along the other axes places may be fewer than x's elements: the first ones are meant.
        part = tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(places.shape))
        return xp.take_along_axis(x[part], places, axis)

    return _picking(call, function, 0, 1)


@operator("GatherND", 11, 12, 13)
def gather_nd(call: Call) -> Translated:
    call.need_program(_PROGRAM)
    batch = call.attribute("batch_dims", 0)

    def function(xp: ModuleType, x: Array, places: Array) -> Array:
        lead = x.shape[:batch]
        if places.shape[:batch] != lead:
            raise ShapeError(f"GatherND: data of shape {x.shape}, places of shape {places.shape}, {batch} together")
        depth, inner = places.shape[-1], places.shape[batch:-1]
        check_size((*places.shape[:-1], *x.shape[batch + depth :]), x.dtype.itemsize, "what is gathered")
        rows = x.reshape(math.prod(lead), *x.shape[batch:])
        flat = places.reshape(math.prod(lead), math.prod(inner), depth)
        first = xp.arange(rows.shape[0])[:, None]
        picked = rows[(xp.broadcast_to(first, flat.shape[:2]), *(flat[..., i] for i in range(depth)))]
        return picked.reshape(*lead, *inner, *x.shape[batch + depth :])

    return _picking(call, function, 0, 1)


def _put(y: np.ndarray, key: Any, updates: np.ndarray, reduction: str) -> np.ndarray:
    """y with `updates` at `key`, where equal places may meet. On the host: CuPy has no products of the kind."""
    if reduction == "none":
        y[key] = updates
        return y
    ufunc = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[reduction]
    ufunc.at(y, key, updates)
    return y


def _scatter_elements(call: Call, axis: int, reduction: str) -> Translated:
    def function(xp: ModuleType, *xs: Array) -> np.ndarray:
        x, places, updates = map(asnumpy, xs)
        key: list[Any] = list(np.indices(places.shape, sparse=True))
        key[axis] = places
        return _put(x.copy(), tuple(key), updates, reduction)

    return _picking(call, function, 0, 1, 2)


def _reduction(call: Call) -> str:
    word: str = call.attribute("reduction", "none")
    if word not in ("none", "add", "mul", "max", "min"):
        raise call.unsupported(f"its reduction is {word!r}")
    return word


@operator("Scatter", 9)
def scatter(call: Call) -> Translated:
    call.need_program(_PROGRAM)
    return _scatter_elements(call, call.axis(call.attribute("axis", 0)), "none")


@operator("ScatterElements", 11, 13, 16, 18)
def scatter_elements(call: Call) -> Translated:
    call.need_program(_PROGRAM)
    return _scatter_elements(call, call.axis(call.attribute("axis", 0)), _reduction(call))


@operator("ScatterND", 11, 13, 16, 18)
def scatter_nd(call: Call) -> Translated:
    call.need_program(_PROGRAM)
    reduction = _reduction(call)

    def function(xp: ModuleType, *xs: Array) -> np.ndarray:
        x, places, updates = map(asnumpy, xs)
        return _put(x.copy(), tuple(np.moveaxis(places, -1, 0)), updates, reduction)

    return _picking(call, function, 0, 1, 2)


@operator("NonZero", 9, 13)
def nonzero(call: Call) -> Translated:
    call.need_program("how much it gives depends on the values")

    def function(xp: ModuleType, x: Array) -> Array:
        if x.ndim == 0:  # one place of no axes, or none
            return xp.zeros((0, int(asnumpy(x) != 0)), dtype="int64")
        check_size((x.ndim, x.size), 8, "the places of all elements")
        return xp.stack(xp.nonzero(x)).astype("int64")

    return call.apply(Function(function, name="NonZero"))


@operator("Compress", 9, 11, 28)
def compress(call: Call) -> Translated:
    call.need_program("how much it gives depends on the values")
    axis = call.attribute("axis")
    return _picking(call, lambda xp, x, chosen: xp.compress(chosen, x, axis=axis), 0, 1)


@operator("OneHot", 9, 11, 28)
def one_hot(call: Call) -> Translated:
    call.need_program("its input is whole numbers")
    depth = int(np.asarray(call.constant(1)).reshape(-1)[0])
    axis = call.attribute("axis", -1)

    def function(xp: ModuleType, places: Array, values: Array) -> Array:
        where = axis + places.ndim + 1 if axis < 0 else axis
        if depth < 1 or not 0 <= where <= places.ndim:
            raise ShapeError(f"OneHot: depth {depth} and axis {axis} for places of shape {places.shape}")
        check_size((*places.shape, depth), max(8, values.dtype.itemsize), "a one-hot array")
        counted = xp.where(places < 0, places + depth, places)
        line = xp.arange(depth).reshape(depth, *(1,) * (places.ndim - where))
        return xp.where(xp.expand_dims(counted, where) == line, values[1], values[0])

    return _picking(call, function, 0, 2)


@operator("ReverseSequence", 10, 28)
def reverse_sequence(call: Call) -> Translated:
    call.need_program(_PROGRAM)
    batch, time = call.axis(call.attribute("batch_axis", 1)), call.axis(call.attribute("time_axis", 0))

    def function(xp: ModuleType, x: Array, lengths: Array) -> Array:
        if {batch, time} != {0, 1} or lengths.shape != (x.shape[batch],):
            raise ShapeError(f"ReverseSequence: axes {batch} and {time} of {x.shape}, lengths of {lengths.shape}")
        steps, ends = xp.arange(x.shape[time])[:, None], lengths[None, :]
        places = xp.where(steps < ends, ends - 1 - steps, steps)
        places = places if time == 0 else places.T
        return xp.take_along_axis(x, places.reshape(*places.shape, *(1,) * (x.ndim - 2)), time)

    return _picking(call, function, 0, 1)


@operator("Unique", 11, 28)
def unique(call: Call) -> Translated:
    call.need_program("how much it gives depends on the values")
    axis, ranked = call.attribute("axis"), call.attribute("sorted", 1)
    axis = None if axis is None else call.axis(axis)

    def found(x: Array) -> tuple[np.ndarray, ...]:
        """Values, places of their first, which of them each element is, and how often each is there."""
        values, first, which, counts = np.unique(asnumpy(x), True, True, True, axis=axis)
        order = np.arange(len(first)) if ranked else np.argsort(first)
        values = values.take(order, axis=0 if axis is None else axis)
        return values, first[order], np.argsort(order)[which.ravel()], counts[order]

    def part(i: int) -> Function:
        return Function(lambda xp, x: found(x)[i], name="Unique")

    return [call.apply(part(i), output=i) for i in range(len(call.outputs)) if call.wants(i)]
