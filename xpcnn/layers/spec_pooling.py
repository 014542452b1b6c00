"""Specs of the rarer poolings, before their input's shape is known."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.pooling import GlobalPooling, Pooling
from xpcnn.layers.pooling_nd import AdaptiveAveragePooling, Ints, PoolingND, fitted_pooling
from xpcnn.layers.spec import WORDS, Maker, Spec, remembered

__all__ = ["adaptive_average_pool", "global_max_pool", "lp_pool"]


@remembered
def global_max_pool(keep: bool = False) -> Spec:
    """The largest element of each channel: (C, H, W) to (C,); keep: to (C, 1, 1)."""
    return Spec("pool", lambda shapes, make: GlobalPooling("max", keep=keep))


@remembered
def lp_pool(size: Ints, stride: Ints | None = None, pad: Ints = 0, p: float = 2.0, ceil: bool = False) -> Spec:
    """An Lp pooling of `size` (int or one for each axis); stride None: windows side by side; ceil: as in max_pool."""
    step = size if stride is None else stride
    PoolingND(size, step, pad, 1, "lp", p=p)  # numbers that make no sense are told where they are written
    return Spec("pool", lambda shapes, make: fitted_pooling(shapes[0], size, step, pad, 1, "lp", True, ceil, p))


@remembered
def adaptive_average_pool(size: int | Sequence[int | None]) -> Spec:
    """An average pooling to `size` (int or one for each axis, None: as it is), whatever size arrives."""
    general = AdaptiveAveragePooling(size)

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        (_, *arriving), (_, *wanted) = shapes[0], general.output_shape(shapes[0])
        if len(arriving) != 2 or any(a % w for a, w in zip(arriving, wanted, strict=True)):
            return AdaptiveAveragePooling(size)
        pool_h, pool_w = (a // w for a, w in zip(arriving, wanted, strict=True))
        return Pooling(pool_h, pool_w, (pool_h, pool_w), mode="average")  # the same windows, the faster way

    return Spec("pool", build)


WORDS["global_max_pool"] = global_max_pool
