"""Cases of `test_base.py`'s catalogue: layers that rearrange, cut, repeat and resize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn import layers
from xpcnn.layers import Layer, ResizeWay

Make = Callable[..., Any]


def _pictures(build: Callable[[], Layer], *shape: int) -> Callable[[Make], tuple[Layer, tuple[Any, ...]]]:
    return lambda make: (build(), (make(*(shape or (3, 2, 5, 3))),))


CASES: dict[str, Callable[[Make], tuple[Layer, tuple[Any, ...]]]] = {
    "concatenate-last": lambda make: (layers.Concatenate(-1), (make(3, 2, 5), make(3, 2, 1), make(3, 2, 3))),
    "reshape": _pictures(lambda: layers.Reshape((0, -1, 5))),
    "transpose": _pictures(lambda: layers.Transpose((0, 3, 1, 2))),
    "squeeze": _pictures(lambda: layers.Squeeze((1, -1)), 3, 1, 5, 1),
    "unsqueeze": _pictures(lambda: layers.Unsqueeze((1, -1)), 3, 7),
    "channel-shuffle": _pictures(lambda: layers.ChannelShuffle(2), 3, 6, 3),
    "pixel-shuffle": _pictures(lambda: layers.PixelShuffle(2), 2, 8, 3, 1),
    "space-to-depth": _pictures(lambda: layers.SpaceToDepth(3), 2, 2, 3, 6),
    "slice": _pictures(lambda: layers.Slice((-1, 0), (-6, 1), (2, 3), (-2, 1))),
    "take": _pictures(lambda: layers.Take([[1, 4], [1, -5]], 2)),
    "pad": _pictures(lambda: layers.Pad(((1, 2), (2, -1)), value=0.5)),
    "pad-reflect": _pictures(lambda: layers.Pad(((1, 2), (2, 1)), "reflect")),
    "expand": _pictures(lambda: layers.Expand((2, 3, 5)), 3, 2, 1, 5),
    "tile": _pictures(lambda: layers.Tile((1, 2, 1, 3))),
    "resize-nearest": _pictures(lambda: layers.Resize(scales=(1.5, 2.0))),
    "resize-linear": _pictures(lambda: layers.Resize(sizes=(3, 7), way=ResizeWay("linear", "align_corners"))),
}
