"""What a model may cost: it says sizes of any kind, so they are looked at before memory is taken and time spent."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from xpcnn.device import Array
from xpcnn.errors import ShapeError, XpcnnError
from xpcnn.layers.activation_pieces import PRelu
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.convolution_nd import ConvolutionND
from xpcnn.layers.matmul import Gemm, MatMul
from xpcnn.layers.merge import Concatenate
from xpcnn.layers.normalization_groups import LayerNormalization, RMSNormalization
from xpcnn.layers.pooling import Pooling
from xpcnn.layers.pooling_nd import PoolingND
from xpcnn.layers.resize import Resize
from xpcnn.layers.transposed import TransposedConvolution
from xpcnn.layers.unpooling import MaxUnpool
from xpcnn.onnx.call import Applied
from xpcnn.onnx.function import Function
from xpcnn.ops.geometry import check_size

__all__ = [
    "ALWAYS",
    "A_SAMPLE",
    "MOST_STEPS",
    "TIMES",
    "Budget",
    "check_applied",
    "check_sample",
    "most_of_a_sample",
    "work_of",
]

ALWAYS = 1 << 30  # bytes: what any model may take for values of its own making
A_SAMPLE = 256 << 20  # bytes: what any model may make of one sample in a layer of a Network
TIMES = 256  # or so many times what it was given
MOST_STEPS = 2**34  # elements that constants' folding, or one sample's pooling, may look at: some seconds
_MOST_WEIGHTS = 2**25  # of the matrix by which an axis is resized
_MOST_PLACES = 2**18  # of a window, which are gone through one by one

_OWN_SHAPES = ("Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND", "Compress", "OneHot",
               "TopK", "BatchNormalization in training", "Einsum")  # fmt: skip
_CONVOLUTIONS = (Convolution, ConvolutionND, TransposedConvolution)
_POOLINGS = (Pooling, PoolingND)
_SHIFTED = (PRelu, LayerNormalization, RMSNormalization)  # whose parameters broadcast with what comes


def most_of_a_sample(given: int) -> int:
    """How many bytes a layer of a Network may make of one sample. given: bytes of the sample and the file's arrays."""
    return max(A_SAMPLE, TIMES * given)


class Budget:
    """How many bytes may still be taken. given: bytes of the file's arrays and of what a run is fed."""

    def __init__(self, given: int) -> None:
        self.left = max(ALWAYS, TIMES * given)

    def take(self, a: Array) -> None:
        """Counts an array that was made."""
        self.left -= int(a.nbytes)

    def give_back(self, a: Array) -> None:
        """Counts one that is no longer needed."""
        self.left += int(a.nbytes)


def check_applied(item: Applied, values: Mapping[str, Array]) -> None:
    """Raises ShapeError where a layer would make more of whole arrays than `no_larger_than` lets it.

    For what the layers do not look at themselves: axes of 1 that are repeated, arrays side by side, products.
    """
    xs = [values[name] for name in item.inputs]
    shapes, layer = [tuple(x.shape) for x in xs], item.layer
    itemsize = max((int(x.dtype.itemsize) for x in xs), default=1)
    if isinstance(layer, Concatenate):
        total = sum(math.prod(shape) for shape in shapes)
        check_size((total,), itemsize, "an array of all inputs")
    elif isinstance(layer, MatMul | Gemm):
        check_size(_product(layer, shapes), itemsize, "a product")
    elif isinstance(layer, _CONVOLUTIONS + _POOLINGS):
        check_sample(layer, shapes[0][1:], max(1, *shapes[0][:1]), itemsize)
    elif isinstance(layer, Resize):
        _check_resize(layer, shapes[0])
    elif isinstance(layer, MaxUnpool):
        check_size((*shapes[0][:2], *layer.unpooled(shapes[0][2:])), itemsize, "an unpooled array")
    elif isinstance(layer, Function) and layer.name in _OWN_SHAPES:
        return
    elif len(shapes) > 1 or isinstance(layer, _SHIFTED):
        _check_broadcast([*shapes, *(tuple(a.shape) for a in layer.params.values())], itemsize)


def _check_broadcast(shapes: list[Shape], itemsize: int) -> None:
    axes = max(map(len, shapes))
    sizes = [(1,) * (axes - len(shape)) + shape for shape in shapes]
    together = tuple(0 if 0 in axis else max(axis) for axis in zip(*sizes, strict=True))
    check_size(together, itemsize, "an array")


def check_sample(layer: Layer, shape: Shape, N: int, itemsize: int) -> None:
    """Raises ShapeError where windows over N samples of `shape`, or their resizing, take too much memory or time."""
    if isinstance(layer, Resize):
        _check_resize(layer, (N, *shape))
    if not isinstance(layer, _CONVOLUTIONS + _POOLINGS):
        return
    try:
        out = layer.output_shape(shape)
    except XpcnnError:
        return  # it will say so itself
    check_size((N, *out), itemsize, "what windows make")
    if isinstance(layer, _CONVOLUTIONS):
        window: Shape = layer.params["W"].shape[2:]
        across = isinstance(layer, TransposedConvolution)
        check_size(
            (N, *((out[0], *window, *shape[1:]) if across else (shape[0], *window, *out[1:]))), itemsize, "windows"
        )
    else:
        window = (layer.pool_h, layer.pool_w) if isinstance(layer, Pooling) else layer.windows(len(shape) - 1).window
    if math.prod(window) > _MOST_PLACES or (
        math.prod(window) > 1024 and isinstance(layer, _POOLINGS) and math.prod((*window, *out)) > MOST_STEPS
    ):
        raise ShapeError(f"windows of {' x '.join(map(str, window))} over {shape} are more than xpcnn goes through")


def _check_resize(layer: Resize, shape: Shape) -> None:
    for old, new in zip(shape, layer.resized(shape), strict=True):
        if old != new and layer.way.mode != "nearest" and max(old, 4) * new > _MOST_WEIGHTS:
            raise ShapeError(f"an axis of {old:,} elements cannot be resized to {new:,} by a matrix")


def _product(layer: MatMul | Gemm, shapes: list[Shape]) -> Shape:
    a, b = shapes[:2]
    if isinstance(layer, Gemm):
        a = a[::-1] if layer.trans_a else a
        b = b[::-1] if layer.trans_b else b
    if len(a) < 2 or len(b) < 2:
        return (max(math.prod(a[:-1]), 1) * max(math.prod(b[:-2]) * b[-1] if len(b) > 1 else 1, 1),)
    before = np.broadcast_shapes(a[:-2], b[:-2])
    return (*before, a[-2], b[-1])


def work_of(item: Applied, values: Mapping[str, Array]) -> int:
    """About how many elements a layer will read, write or multiply, of inputs that are there."""
    xs, layer = [values[name] for name in item.inputs if name in values], item.layer
    steps = sum(int(x.size) for x in xs)
    if isinstance(layer, MatMul | Gemm) and xs[0].ndim:
        inner = xs[0].shape[0 if isinstance(layer, Gemm) and layer.trans_a else -1]
        return steps + int(inner) * math.prod(_product(layer, [tuple(x.shape) for x in xs]))
    if isinstance(layer, _CONVOLUTIONS) and xs:
        W = layer.params["W"]
        return steps + int(xs[0].size) * int(W.size) // max(1, min(W.shape[:2], default=1))
    if isinstance(layer, Function) and layer.name == "Einsum":
        return steps + math.prod(math.prod(x.shape) for x in xs)
    return steps
