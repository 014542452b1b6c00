"""Layers that multiply and shift channels by numbers of their own at test time; several of them are as good as one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from xpcnn.device import Array
from xpcnn.layers.arithmetic import WithConstant
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.normalization import BatchNormalization

__all__ = ["channel_map", "per_channel"]


def per_channel(layer: Layer, shape: Shape) -> bool:
    """Whether at test time it multiplies and shifts each channel (or the whole) by numbers of its own."""
    if isinstance(layer, BatchNormalization):
        return True
    if not isinstance(layer, WithConstant) or (layer.op == "divide" and layer.left):
        return False
    sizes = layer.constant.shape
    return math.prod(sizes) == 1 or (len(sizes) >= len(shape) and sizes[-len(shape)] == math.prod(sizes) == shape[0])


def channel_map(layers: Sequence[Layer], C: int) -> tuple[Array, Array]:
    """What layers at test time multiply each of C channels by, and what they add, one after the other; float64."""
    scale, shift = np.ones(C), np.zeros(C)
    for layer in layers:
        if isinstance(layer, BatchNormalization):
            mean, var = layer.state["running_mean"].astype(float), layer.state["running_var"].astype(float)
            factor = layer.params["gamma"] / np.sqrt(var + layer.eps)
            scale, shift = scale * factor, (shift - mean) * factor + layer.params["beta"]
            continue
        assert isinstance(layer, WithConstant)
        c, op, left = np.asarray(layer.constant, dtype=float).reshape(-1), layer.op, layer.left
        if op == "multiply":
            scale, shift = scale * c, shift * c
        elif op == "divide":
            scale, shift = scale / c, shift / c
        elif op == "add":
            shift = shift + c
        else:
            scale, shift = (-scale, c - shift) if left else (scale, shift - c)
    return scale, shift
