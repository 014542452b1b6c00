"""Resize, and Upsample that was before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.layers.resize import Resize, ResizeWay
from xpcnn.onnx.call import Call, Translated, operator
from xpcnn.onnx.operators.shape import ints

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}


_MOST = 200  # scales, sizes or regions: NumPy's arrays have 64 axes


def _given(call: Call, i: int) -> np.ndarray | None:
    """Input i as a 1-D array; None where it is left out or, as ONNX also allows, empty."""
    array = call.constant(i)
    if np.size(array) > _MOST:
        raise call.unsupported(f"its input {i} has {np.size(array):,} numbers")
    return None if array is None or np.size(array) == 0 else np.asarray(array).reshape(-1)


def _scales(call: Call) -> list[float]:
    given = _given(call, 1)
    return [] if given is None else given.tolist()


def _mode(call: Call) -> str:
    word = call.attribute("mode", "nearest")
    if word not in _MODES:
        raise call.unsupported(f"its mode is {word!r}")
    return _MODES[word]


def _decimal(scale: Any) -> float:
    """A scale as it was meant: 2.6 rather than the float32 nearest to it, by which 5 elements would become 12."""
    return float(str(np.float32(scale)))


def _by_scales(call: Call, scales: list[float]) -> Translated:
    """The meaning before opset 11: the first old element at the first new one, and nearest means the one before."""
    return call.apply(Resize([_decimal(s) for s in scales], way=ResizeWay(_mode(call), "asymmetric", "floor")))


@operator("Upsample", 1, 7, 9)
def upsample(call: Call) -> Translated:
    if call.version == 1:
        return _by_scales(call, [1.0, 1.0, call.attribute("height_scale"), call.attribute("width_scale")])
    return _by_scales(call, call.attribute("scales") if call.version < 9 else _scales(call))


@operator("Resize", 10, 11, 13, 18, 19)
def resize(call: Call) -> Translated:
    if call.version == 10:
        return _by_scales(call, _scales(call))
    way = ResizeWay(
        _mode(call),
        call.attribute("coordinate_transformation_mode", "half_pixel"),
        call.attribute("nearest_mode", "round_prefer_floor"),
        call.attribute("cubic_coeff_a", -0.75),
        bool(call.attribute("exclude_outside", 0)),
        call.attribute("extrapolation_value", 0.0),
        bool(call.attribute("antialias", 0)),
    )
    policy = call.attribute("keep_aspect_ratio_policy", "stretch")
    roi, scales, sizes = (_given(call, i) for i in (1, 2, 3))
    rank = len(call.shape(0))
    axes = [call.axis(a) for a in call.attribute("axes", range(rank))]
    regions = None
    if roi is not None and way.coordinates == "tf_crop_and_resize":
        regions = [(float(a), float(b)) for a, b in zip(roi[: len(axes)], roi[len(axes) :], strict=True)]
    if sizes is None:
        if scales is None:
            raise call.unsupported("it has neither scales nor sizes")
        return call.apply(Resize([_decimal(s) for s in scales], way=way, axes=axes, roi=regions))
    new = ints(sizes)
    if call.batch is not None and axes[0] == 0 and new[0] == call.batch:
        if policy != "stretch":
            call.need_program("N counts for the aspect ratio that it keeps")
        axes, new, regions = axes[1:], new[1:], None if regions is None else regions[1:]
    return call.apply(Resize(sizes=new, way=way, axes=axes, policy=policy, roi=regions))
