"""Numerical gradients, to prove the analytic ones (book, sections 4.4 and 5.7.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpcnn.device import Array, asnumpy, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.rng import generator

__all__ = ["check_gradient", "check_layer", "numerical_gradient", "relative_error"]


def numerical_gradient(f: Callable[[], Any], a: Array, h: float = 1e-5) -> Array:
    """Gradient by central differences of the number `f()` with respect to the array `a` that f reads.

    a is changed one element at a time and put back. float64 for results worth comparing with: in float32 the
    difference drowns in rounding. Returns an array of a's shape and dtype.
    """
    xp = get_array_module(a)
    gradient = xp.zeros_like(a)
    for i in np.ndindex(*a.shape):
        kept = a[i].copy()
        a[i] = kept + h
        above = float(f())
        a[i] = kept - h
        below = float(f())
        a[i] = kept
        gradient[i] = (above - below) / (2.0 * h)
    return gradient


def relative_error(got: Array, expected: Array) -> float:
    """Largest difference over the largest magnitude of either (0 where both are zero); inf where one is not finite."""
    a, b = asnumpy(got).astype(np.float64), asnumpy(expected).astype(np.float64)
    if a.shape != b.shape:
        raise ShapeError(f"cannot compare arrays of shapes {a.shape} and {b.shape}")
    if a.size == 0:
        return 0.0
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    largest = max(float(np.abs(a).max()), float(np.abs(b).max()))
    return float(np.abs(a - b).max()) / largest if largest else 0.0


def check_gradient(
    f: Callable[[], Any], arrays: Mapping[str, Array], gradients: Mapping[str, Array], h: float = 1e-5
) -> dict[str, float]:
    """Relative error of each of `gradients` against central differences of `f()` in the array of the same name."""
    for name, a in arrays.items():
        if a.dtype != np.float64:
            raise ShapeError(f"a gradient check needs float64 arrays, {name!r} is {a.dtype}")
    return {name: relative_error(gradients[name], numerical_gradient(f, a, h)) for name, a in arrays.items()}


def check_layer(layer: Any, *inputs: Array, train: bool = True, h: float = 1e-5, seed: int = 0) -> dict[str, float]:
    """Relative error of a layer's gradients: one entry per input ("x", or "x0", "x1", ...) and per parameter.

    layer: anything with forward, backward, params and grads, in float64. The number differentiated is the sum of
    the output times fixed random weights, so no gradient can hide behind a symmetry.
    """
    weights: Array | None = None

    def weighted_sum() -> Any:
        nonlocal weights
        y = layer.forward(*inputs, train=train)
        if weights is None:
            host = generator(seed, "check_layer").standard_normal(y.shape)
            weights = get_array_module(y).asarray(host)
        return (y * weights).sum()

    weighted_sum()
    dx = layer.backward(weights)
    named = {"x" if len(inputs) == 1 else f"x{i}": x for i, x in enumerate(inputs)}
    gradients = dict(zip(named, dx if isinstance(dx, tuple) else (dx,), strict=True))
    gradients.update({name: g.copy() for name, g in layer.grads.items()})
    return check_gradient(weighted_sum, {**named, **layer.params}, gradients, h)
