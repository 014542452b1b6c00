"""ResNet (He, Zhang, Ren & Sun 2016; book, section 8.2.4): blocks that learn what to add to their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.spec import affine, conv, max_pool
from xpcnn.models.published import PublishedNetwork, variant_for

__all__ = ["ResNet"]

# Blocks in each of the four stages, and whether they are bottlenecks: the paper's table 1.
_STAGES: dict[int, tuple[tuple[int, ...], bool]] = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


def _branch(name: str, before: str, width: int, stride: int, bottleneck: bool) -> list[object]:
    """A block's convolutions: 3x3, 3x3, or 1x1, 3x3, 1x1; the first 3x3 has the stride. Ends without a ReLU."""
    shapes = (
        [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)] if bottleneck else [(width, 3, stride), (width, 3, 1)]
    )
    layers: list[object] = []
    for i, (filters, size, step) in enumerate(shapes, start=1):
        layers += [
            (f"{name}.conv{i}", conv(filters, size, stride=step, pad=size // 2, bias=False), before),
            (f"{name}.bn{i}", "batch_norm"),
            (f"{name}.relu{i}", "relu"),
        ]
        before = f"{name}.relu{i}"
    return layers[:-1]


def _block(name: str, before: str, channels: int, width: int, stride: int, bottleneck: bool) -> list[object]:
    """relu(branch + shortcut), where the shortcut is a 1x1 convolution if the shapes differ (option B)."""
    layers = _branch(name, before, width, stride, bottleneck)
    branch = f"{name}.bn{3 if bottleneck else 2}"
    out = 4 * width if bottleneck else width
    if stride != 1 or channels != out:
        layers += [
            (f"{name}.downsample.0", conv(out, 1, stride=stride, bias=False), before),
            (f"{name}.downsample.1", "batch_norm"),
        ]
        before = f"{name}.downsample.1"
    return [*layers, (f"{name}.add", "add", (branch, before)), (name, "relu")]


class ResNet(PublishedNetwork):
    """A stem, four stages of residual blocks, the mean of each channel, an affine layer.

    depth: 18 or 34 (blocks of two 3x3 convolutions), 50, 101 or 152 (bottlenecks, whose stride is in the 3x3
    convolution, as torchvision has it). input_dim: (C, H, W). output_size: classes. variant: "full" (7x7 of
    stride 2, then 3x3 max pooling of stride 2), or "small" (under 64 pixels: a 3x3 stem of stride 1 without
    pooling); None chooses by the pictures' size.
    """

    def __init__(
        self,
        depth: int = 18,
        input_dim: Sequence[int] = (3, 224, 224),
        output_size: int = 1000,
        variant: str | None = None,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if depth not in _STAGES:
            raise ConfigError(f"ResNet has {', '.join(map(str, _STAGES))} layers, got depth={depth!r}")
        variant = variant_for(variant, input_dim)
        small = variant == "small"
        blocks, bottleneck = _STAGES[depth]
        layers: list[object] = [
            ("conv1", conv(64, 3, pad=1, bias=False) if small else conv(64, 7, stride=2, pad=3, bias=False)),
            ("bn1", "batch_norm"),
            ("relu", "relu"),
            *([] if small else [("maxpool", max_pool(3, stride=2, pad=1))]),
        ]
        last, channels = "relu" if small else "maxpool", 64
        for stage, count in enumerate(blocks, start=1):
            width = 32 << stage
            for i in range(count):
                name = f"layer{stage}.{i}"
                layers += _block(name, last, channels, width, 2 if stage > 1 and i == 0 else 1, bottleneck)
                last, channels = name, 4 * width if bottleneck else width
        layers += [("avgpool", "global_average_pool"), ("fc", affine(output_size))]
        super().__init__(
            f"resnet{depth}", layers, input_dim, output_size, seed=seed, dtype=dtype, device=device, variant=variant
        )
