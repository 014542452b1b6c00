"""Cases of layers that rearrange, cut, join, reduce and resize."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.onnx.exporters.case import PICTURES, POSITIVE, Case, alone
from xpcnn import layers
from xpcnn.layers import Pad, Reduce, Resize, ResizeWay


def shapes() -> Iterator[Case]:
    yield Case("Flatten", alone("Flatten"), PICTURES)
    yield Case("Reshape", lambda: [layers.reshape(2, 0, -1)], PICTURES)
    yield Case("Transpose", lambda: [layers.transpose(0, 3, -3, 2)], PICTURES)
    yield Case("Squeeze", alone("Squeeze", (1, -1)), (1, 3, 1))
    yield Case("Unsqueeze", alone("Unsqueeze", (1, -1)), (3,))
    yield Case("Slice", alone("Slice", (1, -1), (-1, -9), (2, -1), (2, -1)), PICTURES)
    yield Case("Take", alone("Take", [[0, -1], [2, 0]], 2), PICTURES)
    yield Case("Expand", alone("Expand", (4, 1, 5)), (4, 3, 1))
    yield Case("Tile", alone("Tile", (1, 2, 1, 3)), (2, 3, 1))
    yield Case("Concatenate", lambda: _joined(layers.Concatenate()), PICTURES)
    yield Case("Concatenate rows", lambda: _joined(layers.Concatenate(-1)), PICTURES)
    for mode in ("constant", "edge", "reflect", "wrap"):
        yield Case(f"Pad {mode}", lambda mode=mode: [Pad([(1, 2), (0, 3)], mode)], PICTURES)
        why = "it knows no negative pads" if mode == "constant" else ""
        yield Case(
            f"Pad {mode}, cutting off", lambda mode=mode: [Pad([(-1, 2), (2, -2)], mode)], PICTURES, reference=why
        )
        yield Case(f"Pad {mode}, far", lambda mode=mode: [Pad([(0, 7)], mode, axes=(1,))], (3, 2))
    yield Case("Pad with ones", lambda: [Pad([(1, 0)], value=1.0, axes=(1,))], (3, 2))
    yield Case("ChannelShuffle", alone("ChannelShuffle", 2), (6, 2, 3))
    yield Case("ChannelShuffle of vectors", alone("ChannelShuffle", 3), (6,))
    for mode in ("CRD", "DCR"):
        yield Case(f"PixelShuffle {mode}", alone("PixelShuffle", 2, mode), (8, 2, 3))
        yield Case(f"SpaceToDepth {mode}", alone("SpaceToDepth", 2, mode), (2, 4, 6))
    for kind in ("l1", "l2", "log_sum", "log_sum_exp", "max", "mean", "min", "prod", "sum", "sum_square"):
        yield Case(f"Reduce {kind}", lambda kind=kind: [Reduce(kind, (2, -1))], PICTURES, POSITIVE)
        yield Case(
            f"Reduce {kind}, shorter", lambda kind=kind: [Reduce(kind, (1,), keepdims=False)], PICTURES, POSITIVE
        )
        idle = kind in ("log_sum_exp", "max", "mean", "min", "prod", "sum")
        yield Case(
            f"Reduce {kind} over nothing", lambda kind=kind: [Reduce(kind, ()), "relu"], (5,), POSITIVE, idle=idle
        )


def _joined(layer: Any) -> list[Any]:
    return [("a", layers.Abs(), "input"), ("b", layers.Neg(), "input"), ("y", layer, ("a", "b", "input"))]


def resizes() -> Iterator[Case]:
    thirds = (1.5, 1.0 / 3.0)
    for way in (
        ResizeWay(),
        ResizeWay("nearest", "asymmetric", "floor"),
        ResizeWay("nearest", "align_corners", "round_prefer_ceil"),
        ResizeWay("nearest", "pytorch_half_pixel", "floor"),
        ResizeWay("nearest", "half_pixel_symmetric", "ceil"),
        ResizeWay("nearest", "tf_half_pixel_for_nn", "floor"),
        ResizeWay("linear"),
        ResizeWay("linear", "align_corners"),
        ResizeWay("linear", "pytorch_half_pixel"),
        ResizeWay("cubic", cubic_a=-0.5),
        ResizeWay("cubic", exclude_outside=True),
    ):
        told = f"{way.mode}, {way.coordinates}"
        why = "it rounds the length of a fraction first" if told == "linear, align_corners" else ""
        yield Case(f"Resize {told} by scales", lambda way=way: [Resize(thirds, way=way)], (2, 6, 10), onnxruntime=why)
        yield Case(f"Resize {told} to sizes", lambda way=way: [Resize(sizes=(4, 7), way=way)], PICTURES)
    crop = ResizeWay("linear", "tf_crop_and_resize", extrapolation=0.5)
    roi = ((0.2, 0.8), (-0.5, 1.2))
    yield Case("Resize of a region", lambda: [Resize(sizes=(4, 6), way=crop, roi=roi)], PICTURES)
    symmetric = ResizeWay("linear", "half_pixel_symmetric")
    yield Case("Resize symmetric", lambda: [Resize((1.3, 0.7), way=symmetric)], PICTURES, since=19)
    smooth = ResizeWay("linear", antialias=True)
    yield Case("Resize smoothly", lambda: [Resize((0.5, 0.6), way=smooth)], PICTURES, since=18)
    for policy in ("not_larger", "not_smaller"):
        yield Case(f"Resize {policy}", lambda policy=policy: [Resize(sizes=(9, 4), policy=policy)], (2, 6, 5), since=18)
    yield Case(
        "Resize of nothing",
        lambda: [Resize((1.0, 1.0), way=ResizeWay("nearest", "align_corners"))],
        PICTURES,
        idle=True,
    )
    yield Case("Resize of N, too", lambda: [Resize((1.0, 1.0, 2.0, 1.5), axes=(0, 1, 2, 3))], PICTURES)
    yield Case("Resize of channels", lambda: [Resize((2.0,), axes=(1,))], (2, 3))
    yield Case("upsample", lambda: [layers.upsample(2, "bilinear", align_corners=True), layers.upsample(2)], (2, 3, 4))
