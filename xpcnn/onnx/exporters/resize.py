"""Resizing."""

from __future__ import annotations

import math

import numpy as np

from xpcnn.errors import ConfigError
from xpcnn.layers.resize import Resize
from xpcnn.layers.shape import axes_of
from xpcnn.onnx.writing import Writer, exports


@exports(Resize)
def resize(layer: Resize, writer: Writer, inputs: tuple[str, ...]) -> str:
    layer, way = _of_samples(layer, len(writer.arriving[0]) + 1), layer.way
    axes = layer.axes
    if not axes:
        return inputs[0]
    if _hangs_by_a_hair(layer, (1, *writer.arriving[0]), axes):
        return _taken(layer, writer, inputs[0], axes)
    if way.coordinates == "tf_half_pixel_for_nn":
        raise ConfigError(f"layer {writer.layer!r}: ONNX gave up the coordinates {way.coordinates!r} with opset 13")
    if way.coordinates == "half_pixel_symmetric":
        writer.need(19, f"the coordinates {way.coordinates!r}")
    if way.antialias:
        writer.need(18, "antialiasing")
    if layer.policy != "stretch":
        writer.need(18, f"a resize that keeps the aspect ratio, {layer.policy!r},")
    by_axes = writer.opset >= 18  # before, every axis has its region, scale or size, N too
    cropped = way.coordinates == "tf_crop_and_resize"
    sizes = _exact_sizes(layer, (1, *writer.arriving[0]), axes)
    return writer.node(
        "Resize",
        *inputs,
        _regions(layer, writer, axes) if cropped else "",
        *(("", _sizes(writer, inputs[0], axes, sizes)) if sizes else (_scales(layer, writer, axes),)),
        axes=axes if by_axes else None,
        mode=way.mode,
        coordinate_transformation_mode=way.coordinates,
        nearest_mode=way.rounding if way.mode == "nearest" else None,
        cubic_coeff_a=way.cubic_a if way.mode == "cubic" else None,
        exclude_outside=int(way.exclude_outside) or None,
        extrapolation_value=way.extrapolation if cropped else None,
        antialias=int(way.antialias) or None,
        keep_aspect_ratio_policy=layer.policy if layer.policy != "stretch" else None,
    )


def _of_samples(layer: Resize, rank: int) -> Resize:
    """The same with its axes counted from 0 and without N, which stays."""
    axes = axes_of(layer.axes, rank)
    kept = [i for i, axis in enumerate(axes) if axis]
    scales = None if layer.scales is None else [layer.scales[i] for i in kept]
    sizes = None if layer.sizes is None else [layer.sizes[i] for i in kept]
    return Resize(scales, sizes, layer.way, [axes[i] for i in kept], layer.policy, [layer.roi[i] for i in kept])


def _hangs_by_a_hair(layer: Resize, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether the nearest element may be another one where places are calculated in float32, as runtimes do."""
    way = layer.way
    if way.mode != "nearest" or way.coordinates == "tf_crop_and_resize" or layer.policy != "stretch":
        return False
    scales = layer.scales
    if scales is None:
        assert layer.sizes is not None
        scales = tuple(new / shape[axis] for new, axis in zip(layer.sizes, axes, strict=True))
    usual = way.coordinates in ("asymmetric", "half_pixel", "pytorch_half_pixel")
    return not usual or any(float(np.float32(scale)) != scale for scale in scales)


def _taken(layer: Resize, writer: Writer, x: str, axes: tuple[int, ...]) -> str:
    """The nearest elements by their places, which are known beforehand."""
    for i, axis in enumerate(axes):
        scales = None if layer.scales is None else layer.scales[i : i + 1]
        sizes = None if layer.sizes is None else layer.sizes[i : i + 1]
        row = np.arange(writer.arriving[0][axis - 1], dtype=np.float64)[None]
        places = Resize(scales, sizes, layer.way, [1]).forward(row)[0]
        if not np.array_equal(places, row[0]):
            x = writer.node("Gather", x, writer.whole(places, "places"), axis=axis)
    return x


def _regions(layer: Resize, writer: Writer, axes: tuple[int, ...]) -> str:
    regions = dict(zip(axes, layer.roi, strict=True))
    if writer.opset < 18:
        regions = {axis: regions.get(axis, (0.0, 1.0)) for axis in range(len(writer.arriving[0]) + 1)}
    starts, ends = zip(*regions.values(), strict=True)
    return writer.floats((*starts, *ends), "roi")


def _scales(layer: Resize, writer: Writer, axes: tuple[int, ...]) -> str:
    assert layer.scales is not None
    whole = (1, *writer.arriving[0])
    scales = {axis: _single(scale, whole[axis]) for axis, scale in zip(axes, layer.scales, strict=True)}
    if writer.opset < 18:
        scales = {axis: scales.get(axis, np.float32(1.0)) for axis in range(len(whole))}
    return writer.single(list(scales.values()), "scales")


def _single(scale: float, size: int) -> np.float32:
    """A scale as float32, which still makes as many elements of `size` as it does: 0.7 of 10 are 7."""
    near = np.float32(scale)
    return near if math.floor(size * float(near)) == math.floor(size * scale) else np.nextafter(near, np.float32(9e9))


def _exact_sizes(layer: Resize, shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The new sizes, where they say more exactly what is meant than float32 scales do, such as 0.7; else none."""
    if layer.scales is None:
        return layer.sizes or ()
    lengths = [shape[axis] * scale for axis, scale in zip(axes, layer.scales, strict=True)]
    if all(float(np.float32(scale)) == scale for scale in layer.scales):
        return ()
    return tuple(int(n) for n in lengths) if all(n == int(n) for n in lengths) else ()


def _sizes(writer: Writer, x: str, axes: tuple[int, ...], new: tuple[int, ...]) -> str:
    """The new sizes, with the N of whatever comes where every axis needs one."""
    if writer.opset >= 18:
        return writer.whole(new)
    sizes = list(writer.arriving[0])
    for axis, size in zip(axes, new, strict=True):
        sizes[axis - 1] = size
    N = writer.node("Gather", writer.node("Shape", x), writer.whole([0], "first"), axis=0)
    return writer.node("Concat", N, writer.whole(sizes), axis=0)
