"""Cases of `test_base.py`'s catalogue: poolings of whole channels, into bins, over any axes, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn import layers
from xpcnn.layers import Layer

Make = Callable[..., Any]

CASES: dict[str, Callable[[Make], tuple[Layer, tuple[Any, ...]]]] = {
    "global-max-pool": lambda make: (layers.GlobalPooling("max"), (make(2, 3, 5, 3),)),
    "global-lp-pool": lambda make: (layers.GlobalPooling("lp", p=3.0, keep=False), (make(2, 3, 7),)),
    "adaptive-average-pool": lambda make: (layers.AdaptiveAveragePooling((3, None)), (make(2, 2, 5, 3),)),
    "max-pool-nd": lambda make: (
        layers.PoolingND((2, 2), stride=(2, 1), pad=(1, 0, 0, 1), dilation=(1, 2), ceil=True),
        (make(2, 2, 5, 3),),
    ),
    "average-pool-1d": lambda make: (
        layers.PoolingND(3, 2, 1, mode="average", count_pad=False, ceil=True),
        (make(2, 3, 7),),
    ),
    "lp-pool-3d": lambda make: (layers.PoolingND(2, 1, (0, 1, 0), mode="lp", p=2.0), (make(2, 1, 3, 2, 3),)),
}
# Whole numbers come out, or go in: tests/layers/test_unpooling.py has these.
ELSEWHERE = {layers.MaxPoolIndices, layers.MaxUnpool}
