"""Cases of `test_base.py`'s catalogue: convolutions over any axes, transposed ones, products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn import layers
from xpcnn.layers import Layer

Make = Callable[..., Any]

CASES: dict[str, Callable[[Make], tuple[Layer, tuple[Any, ...]]]] = {
    "convolution-1d": lambda make: (
        layers.Convolution1D(make(4, 1, 3), make(4), stride=2, pad=(1, 0), groups=2),
        (make(2, 2, 7),),
    ),
    "convolution-3d": lambda make: (
        layers.Convolution3D(make(2, 2, 2, 1, 2), None, (2, 1, 1), (0, 1, 0), (1, 1, 2)),
        (make(2, 2, 3, 2, 3),),
    ),
    "convolution-nd": lambda make: (layers.ConvolutionND(make(3, 2, 2, 3), make(3), pad=1), (make(2, 2, 3, 5),)),
    "transposed-convolution": lambda make: (
        layers.TransposedConvolution(make(4, 1, 3, 2), make(2), (2, 1), (1, 0, 0, 1), (1, 0), groups=2),
        (make(2, 4, 3, 3),),
    ),
    "transposed-convolution-1d": lambda make: (layers.TransposedConvolution(make(2, 3, 3)), (make(2, 2, 5),)),
    "matmul": lambda make: (layers.MatMul(), (make(3, 2, 3, 5), make(3, 1, 5, 3))),
    "projection": lambda make: (layers.Projection(make(5, 3)), (make(3, 2, 5),)),
    "projection-left": lambda make: (layers.Projection(make(5, 3), left=True), (make(3, 3, 2),)),
}
# A product of two whole arrays, which no network of samples can hold: tests/layers/test_matmul.py has it.
ELSEWHERE = {layers.Gemm}
