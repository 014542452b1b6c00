"""Pooling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from xpcnn.layers.pooling import GlobalAveragePooling, GlobalPooling, Pooling
from xpcnn.layers.pooling_nd import AdaptiveAveragePooling, PoolingND
from xpcnn.onnx.exporters.parts import reduced, whole_power
from xpcnn.onnx.writing import Writer, exports


@exports(Pooling)
def pooling(layer: Pooling, writer: Writer, inputs: tuple[str, ...]) -> str:
    average = layer.mode == "average"
    return writer.node(
        "AveragePool" if average else "MaxPool",
        *inputs,
        kernel_shape=(layer.pool_h, layer.pool_w),
        strides=layer.stride,
        pads=layer.pad,
        count_include_pad=int(layer.count_pad) if average else None,
    )


@exports(PoolingND)
def pooling_nd(layer: PoolingND, writer: Writer, inputs: tuple[str, ...]) -> str:
    """Windows that hang over the end are written as more pad there, on whose meaning all runtimes agree."""
    (x,), sizes = inputs, writer.arriving[0][1:]
    windows = layer.windows(len(sizes))
    pads, dilated = windows.grown(sizes), any(d > 1 for d in windows.dilation)
    attributes: dict[str, Any] = {"kernel_shape": windows.window, "strides": windows.stride}
    if dilated:
        attributes["dilations"] = windows.dilation
    if layer.mode == "average":
        if dilated:
            writer.need(19, "an average pooling with dilation")
        counts = layer.count_pad
        if counts and pads != windows.pads:  # the pads count, what hangs over the end does not
            x = _padded(writer, x, windows.pads)
            pads = tuple(grown - pad for grown, pad in zip(pads, windows.pads, strict=True))
            counts = False
        x, pads = _fitting(writer, x, pads, windows.window, 0.0) if counts else (x, pads)
        return writer.node("AveragePool", x, **attributes, pads=pads, count_include_pad=int(counts))
    x, pads = _fitting(writer, x, pads, windows.window, -math.inf if layer.mode == "max" else 0.0)
    if layer.mode == "max":
        return writer.node("MaxPool", x, **attributes, pads=pads)
    if dilated:
        writer.need(18, "a pooling by norms with dilation")
    p = whole_power(layer.p)
    if p is not None:
        return writer.node("LpPool", x, **attributes, pads=pads, p=p)
    return _norm(writer, x, layer.p, lambda powers: writer.node("LpPool", powers, **attributes, pads=pads, p=1))


def _fitting(
    writer: Writer, x: str, pads: tuple[int, ...], window: tuple[int, ...], value: float
) -> tuple[str, tuple[int, ...]]:
    """x and its pads, put around it where dilation allows more of them than onnxruntime does: as many as the window."""
    if all(pad < size for pad, size in zip(pads, window * 2, strict=True)):
        return x, pads
    return _padded(writer, x, pads, value), (0,) * len(pads)


@exports(GlobalAveragePooling)
def global_average(layer: GlobalAveragePooling, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Flatten", writer.node("GlobalAveragePool", *inputs), axis=1)


@exports(GlobalPooling)
def global_pooling(layer: GlobalPooling, writer: Writer, inputs: tuple[str, ...]) -> str:
    (x,) = inputs
    if layer.mode != "lp":
        y = writer.node("GlobalMaxPool" if layer.mode == "max" else "GlobalAveragePool", x)
        return y if layer.keep else writer.node("Flatten", y, axis=1)
    # Runtimes know reductions better than GlobalLpPool, which onnxruntime 1.32 lacks from opset 22 on.
    axes = range(2, len(writer.arriving[0]) + 1)
    if layer.p in (1.0, 2.0):
        return reduced(writer, f"ReduceL{layer.p:.0f}", x, axes, layer.keep)
    return _norm(writer, x, layer.p, lambda powers: reduced(writer, "ReduceSum", powers, axes, layer.keep))


@exports(AdaptiveAveragePooling)
def adaptive_average(layer: AdaptiveAveragePooling, writer: Writer, inputs: tuple[str, ...]) -> str:
    """A pooling along the axes whose bins are alike; along each of the others one mean beside the other."""
    (x,), sizes = inputs, writer.arriving[0][1:]
    counts = layer.sizes(sizes)
    if all(count == 1 for count in counts):
        return writer.node("GlobalAveragePool", x)
    bins = [_bins(size, count) for size, count in zip(sizes, counts, strict=True)]
    windows = [_window(along) or (1, 1) for along in bins]
    if any(window != (1, 1) for window in windows):
        kernel, stride = zip(*windows, strict=True)
        x = writer.node("AveragePool", x, kernel_shape=kernel, strides=stride)
    for i, along in enumerate(bins):
        if _window(along) is None:
            x = writer.node("Concat", *(_mean(writer, x, 2 + i, *ends) for ends in along), axis=2 + i)
    return x if x != inputs[0] else writer.node("Identity", x)


def _bins(size: int, count: int) -> list[tuple[int, int]]:
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _window(bins: list[tuple[int, int]]) -> tuple[int, int] | None:
    """(length, distance) of bins that are alike, so that a pooling does it."""
    lengths, steps = {end - first for first, end in bins}, {b[0] - a[0] for a, b in itertools.pairwise(bins)}
    return (lengths.pop(), (steps or {1}).pop()) if len(lengths) == 1 and len(steps) < 2 else None


def _mean(writer: Writer, x: str, axis: int, first: int, end: int) -> str:
    ends = {"starts": first, "ends": end, "axes": axis}
    part = writer.node("Slice", x, *(writer.whole([value], name) for name, value in ends.items()))
    return reduced(writer, "ReduceMean", part, [axis])


def _padded(writer: Writer, x: str, pads: tuple[int, ...], value: float = 0.0) -> str:
    if not any(pads):
        return x
    n = len(pads) // 2
    both = writer.whole((0, 0, *pads[:n], 0, 0, *pads[n:]), "pads")
    return writer.node("Pad", x, both, writer.number(value, "value"))


def _norm(writer: Writer, x: str, p: float, total: Callable[[str], str]) -> str:
    """The norm p of what `total` adds up."""
    powers = writer.node("Pow", writer.node("Abs", x), writer.number(p, "p"))
    return writer.node("Pow", total(powers), writer.number(1.0 / p, "root"))
