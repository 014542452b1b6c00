"""Cases of layers that pool and normalise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.onnx.exporters.case import NEVER, PICTURES, Case, alone, numbers
from xpcnn import layers
from xpcnn.layers import AdaptiveAveragePooling, GroupNormalization, LayerNormalization, PoolingND


def poolings() -> Iterator[Case]:
    yield Case("max_pool", lambda: [layers.max_pool(3, stride=2, pad=1)], PICTURES)
    yield Case("average_pool", lambda: [layers.average_pool((3, 2), stride=2, pad=(1, 0, 0, 1))], PICTURES)
    yield Case("average_pool of its own", lambda: [layers.Pooling(2, 3, 1, 1, "average", count_pad=False)], PICTURES)
    for mode, shape in (("max", (2, 9)), ("average", (2, 9)), ("max", (2, 5, 4, 6)), ("average", (2, 5, 4, 6))):
        yield Case(f"PoolingND {mode} of {shape}", lambda mode=mode: [PoolingND(3, 2, 1, mode=mode)], shape)
    yield Case("PoolingND dilated", lambda: [PoolingND((2, 3), 2, 1, dilation=2)], PICTURES)
    for mode, since in (("max", 13), ("average", 19), ("lp", 18)):
        yield Case(
            f"PoolingND {mode} dilated, padded far",
            lambda mode=mode: [PoolingND(2, 1, (2, 1, 2, 2), (2, 3), mode)],
            PICTURES,
            since=since,
        )
    yield Case("PoolingND of dilated means", lambda: [PoolingND(2, 1, 1, 2, "average")], PICTURES, since=19)
    for mode in ("max", "average", "lp"):
        yield Case(
            f"PoolingND {mode} over the end", lambda mode=mode: [PoolingND(2, 2, 0, 1, mode, ceil=True)], PICTURES
        )
        yield Case(
            f"PoolingND {mode} over the end, padded",
            lambda mode=mode: [PoolingND(3, 2, (1, 0), 1, mode, ceil=True)],
            (2, 6, 6),
        )
    yield Case(
        "PoolingND average over the end, its own",
        lambda: [PoolingND(3, 2, 1, 1, "average", count_pad=False, ceil=True)],
        (2, 6, 6),
    )
    yield Case("PoolingND of p = 3", lambda: [PoolingND(2, 1, 1, mode="lp", p=3.0)], PICTURES)
    yield Case("PoolingND of p = 1.5", lambda: [PoolingND(2, 1, 1, mode="lp", p=1.5)], PICTURES)
    yield Case("PoolingND of dilated norms", lambda: [PoolingND(2, 1, 0, 2, "lp")], PICTURES, since=18)
    yield Case("PoolingND of dilated p = 1.5", lambda: [PoolingND(2, 1, 0, 2, "lp", p=1.5)], PICTURES, since=18)
    yield Case("GlobalAveragePooling", alone("GlobalAveragePooling"), PICTURES)
    for mode in ("max", "average", "lp"):
        yield Case(f"GlobalPooling {mode}", alone("GlobalPooling", mode), PICTURES)
        why = "it takes axis 1 for a spatial one" if mode == "max" else ""
        yield Case(f"GlobalPooling {mode}, flat", alone("GlobalPooling", mode, keep=False), (3, 7), reference=why)
    yield Case("GlobalPooling of p = 3", alone("GlobalPooling", "lp", 3.0), PICTURES)
    yield Case("GlobalPooling of p = 2.5", alone("GlobalPooling", "lp", 2.5), PICTURES)
    for size in (1, 2, 3, (3, None), (None, None), (5, 4), (4, 2)):
        yield Case(f"AdaptiveAveragePooling {size}", lambda size=size: [AdaptiveAveragePooling(size)], PICTURES)
    yield Case("AdaptiveAveragePooling to more", lambda: [AdaptiveAveragePooling(7)], (2, 3, 4))
    yield Case("AdaptiveAveragePooling of volumes", lambda: [AdaptiveAveragePooling((3, 2, 3))], (2, 5, 4, 4))
    yield Case("unpooling", lambda: _unpooled(2, 2), PICTURES, program=True)
    yield Case(
        "unpooling, column by column",
        lambda: _unpooled(2, 1, column_major=True),
        (2, 3, 3),
        program=True,
        reference="it counts column by column through the padded input",
    )


def _unpooled(size: int, stride: int, column_major: bool = False) -> list[Any]:
    places = layers.MaxPoolIndices(size, stride, column_major=column_major)
    sizes = (3, 3) if column_major else (6, 5)
    return [
        ("places", places, "input"),
        ("largest", PoolingND(size, stride), "input"),
        ("y", layers.MaxUnpool(size, stride, sizes=sizes), ("largest", "places")),
    ]


def normalisations() -> Iterator[Case]:
    for shape in ((5,), (3, 7), PICTURES):
        yield Case(f"batch_norm of {shape}", lambda: ["batch_norm"], shape)
    wrong = "it normalises as many channels as there are samples"
    yield Case("lrn", lambda: [layers.lrn(3, 0.1, 0.75, 1.5)], PICTURES, reference=wrong)
    yield Case("lrn of signals", lambda: [layers.lrn(3, 0.1)], (4, 5), reference=wrong)
    odd = "it knows odd sizes only"
    yield Case("lrn of an even size", lambda: [layers.lrn(4, 0.1)], PICTURES, reference=wrong, onnxruntime=odd)
    yield Case("instance_norm", lambda: [layers.InstanceNormalization(numbers(4), numbers(4), 1e-3)], PICTURES)
    for groups, shape in ((2, PICTURES), (1, PICTURES), (4, PICTURES), (2, (6,)), (3, (6, 5))):
        yield Case(
            f"GroupNormalization {groups} of {shape}",
            lambda groups=groups, shape=shape: [
                GroupNormalization(numbers(shape[0]), numbers(shape[0]) - 1.0, groups, 1e-3)
            ],
            shape,
            alike=21 if len(shape) > 1 else NEVER,
        )
    yield Case(
        "GroupNormalization twice",
        lambda: [GroupNormalization(numbers(4) + i, numbers(4) - i, 2) for i in range(2)],
        PICTURES,
        alike=21,
    )
    for axis, fit in ((1, PICTURES), (2, PICTURES[1:]), (-1, PICTURES[2:]), (-2, (6, 1)), (3, (4, 1, 1))):
        yield Case(
            f"LayerNormalization {axis} by {fit}",
            lambda axis=axis, fit=fit: [LayerNormalization(numbers(*fit), numbers(*fit) - 1.0, axis, 1e-3)],
            PICTURES,
            alike=17 if fit == PICTURES[axis - 1 if axis > 0 else axis :] else NEVER,
        )
        yield Case(
            f"RMSNormalization {axis} by {fit}",
            lambda axis=axis, fit=fit: [layers.RMSNormalization(numbers(*fit), axis, 1e-3)],
            PICTURES,
            alike=23 if fit == PICTURES[axis - 1 if axis > 0 else axis :] else NEVER,
        )
    yield Case("LayerNormalization, gamma alone", lambda: [LayerNormalization(numbers(5))], (5,), alike=17)
    yield Case("LayerNormalization, beta alone", lambda: [LayerNormalization(None, numbers(5))], (5,), alike=NEVER)
    yield Case("LayerNormalization, bare", lambda: [LayerNormalization(None, axis=-1)], (3, 5), alike=NEVER)
    yield Case("LpNormalization", alone("LpNormalization", -1), PICTURES)
    signs = "it adds up the numbers for p = 1, not their magnitudes"
    yield Case("LpNormalization of p = 1", alone("LpNormalization", 1, 1), PICTURES, reference=signs)
    yield Case("MeanVarianceNormalization", alone("MeanVarianceNormalization"), PICTURES)
    yield Case("MeanVarianceNormalization of channels", alone("MeanVarianceNormalization", (2, 3)), PICTURES)
    yield Case("MeanVarianceNormalization held up", alone("MeanVarianceNormalization", (1,), 0.1), PICTURES)
