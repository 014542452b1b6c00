"""The ResNets for pictures of 32x32 (He, Zhang, Ren & Sun 2016, section 4.2)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.slicing import Pad, Slice
from xpcnn.layers.spec import affine, conv
from xpcnn.models.published import PublishedNetwork

__all__ = ["CifarResNet"]

_DEPTHS = (20, 32, 44, 56, 110)


def _block(name: str, before: str, C: int, width: int) -> list[object]:
    """relu(two 3x3 convolutions + the input); where the width grows, the first has a stride of 2."""
    stride = 1 if width == C else 2
    layers: list[object] = [
        (f"{name}.conv1", conv(width, 3, stride=stride, pad=1, bias=False), before),
        (f"{name}.bn1", "batch_norm"),
        (f"{name}.relu1", "relu"),
        (f"{name}.conv2", conv(width, 3, pad=1, bias=False)),
        (f"{name}.bn2", "batch_norm"),
    ]
    if width != C:
        # Option A: every second pixel, and channels of zeros around, so that a shortcut has no parameters.
        around = (width - C) // 2
        layers += [
            (f"{name}.every_second", Slice((0, 0), (sys.maxsize,) * 2, axes=(2, 3), steps=(2, 2)), before),
            (f"{name}.shortcut", Pad([(around, width - C - around)], axes=(1,))),
        ]
        before = f"{name}.shortcut"
    return [*layers, (f"{name}.add", "add", (f"{name}.bn2", before)), (name, "relu")]


class CifarResNet(PublishedNetwork):
    """A 3x3 convolution, three stages of 16, 32 and 64 channels, the mean of each channel, an affine layer.

    depth: 20, 32, 44, 56 or 110 layers with weights: 6n + 2 for n blocks in each stage. The shortcuts are the
    identity, with zeros where channels are added (option A, the paper's choice for CIFAR-10). input_dim: (C, H, W),
    about 24 to 64 pixels. output_size: classes.
    """

    def __init__(
        self,
        depth: int = 20,
        input_dim: Sequence[int] = (3, 32, 32),
        output_size: int = 10,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if depth not in _DEPTHS:
            raise ConfigError(f"a ResNet for CIFAR has {', '.join(map(str, _DEPTHS))} layers, got depth={depth!r}")
        layers: list[object] = [("conv1", conv(16, 3, pad=1, bias=False)), ("bn1", "batch_norm"), ("relu", "relu")]
        last, C = "relu", 16
        for stage, width in enumerate((16, 32, 64), start=1):
            for i in range((depth - 2) // 6):
                name = f"layer{stage}.{i}"
                layers += _block(name, last, C, width)
                last, C = name, width
        layers += [("avgpool", "global_average_pool"), ("fc", affine(output_size))]
        super().__init__(f"resnet{depth}", layers, input_dim, output_size, seed=seed, dtype=dtype, device=device)
