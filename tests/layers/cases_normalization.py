"""Cases of `test_base.py`'s catalogue: normalisations of each sample by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn import layers
from xpcnn.layers import Layer

Make = Callable[..., Any]

CASES: dict[str, Callable[[Make], tuple[Layer, tuple[Any, ...]]]] = {
    "batch-norm-volumes": lambda make: (layers.BatchNormalization(make(2), make(2), 0.7), (make(2, 2, 3, 1, 3),)),
    "layer-norm": lambda make: (layers.LayerNormalization(make(2, 5), make(2, 5)), (make(3, 2, 5),)),
    "layer-norm-tokens": lambda make: (layers.LayerNormalization(make(5), axis=-1), (make(3, 2, 5),)),
    "group-norm": lambda make: (layers.GroupNormalization(make(4), make(4), 2), (make(2, 4, 3, 3),)),
    "instance-norm": lambda make: (layers.InstanceNormalization(make(3), make(3)), (make(2, 3, 5),)),
    "rms-norm": lambda make: (layers.RMSNormalization(make(5), axis=-1), (make(3, 2, 5),)),
    "lp-norm": lambda make: (layers.LpNormalization(axis=1), (make(2, 3, 5),)),
    "lp-norm-magnitudes": lambda make: (layers.LpNormalization(p=1), (make(3, 5),)),
    "mean-variance-norm": lambda make: (layers.MeanVarianceNormalization(), (make(2, 3, 5),)),
    "mean-variance-norm-axes": lambda make: (layers.MeanVarianceNormalization((2, 3)), (make(2, 2, 3, 3),)),
}
