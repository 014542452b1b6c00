"""DenseNet (Huang et al. 2017): every layer of a block sees what all before it gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.spec import affine, average_pool, conv, max_pool
from xpcnn.models.published import PublishedNetwork, variant_for

__all__ = ["DenseNet"]

_BLOCKS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}  # dense layers in each block
_GROWTH, _BOTTLENECK = 32, 4 * 32  # channels that a dense layer adds, and of its 1x1 convolution


def _dense_layer(name: str, so_far: str) -> list[object]:
    """BN - ReLU - 1x1, BN - ReLU - 3x3, and the new channels behind the old ones."""
    return [
        (f"{name}.norm1", "batch_norm", so_far),
        (f"{name}.relu1", "relu"),
        (f"{name}.conv1", conv(_BOTTLENECK, 1, bias=False)),
        (f"{name}.norm2", "batch_norm"),
        (f"{name}.relu2", "relu"),
        (f"{name}.conv2", conv(_GROWTH, 3, pad=1, bias=False)),
        (name, "concatenate", (so_far, f"{name}.conv2")),
    ]


def _transition(name: str, channels: int) -> list[object]:
    return [
        (f"{name}.norm", "batch_norm"),
        (f"{name}.relu", "relu"),
        (f"{name}.conv", conv(channels, 1, bias=False)),
        (f"{name}.pool", average_pool(2)),
    ]


class DenseNet(PublishedNetwork):
    """Four dense blocks with a halving of channels and sides between them, the mean of each channel, an affine layer.

    depth: 121, 169 or 201 layers with weights, growth rate 32. input_dim: (C, H, W). output_size: classes.
    variant: "full", or "small" (under 64 pixels: a 3x3 stem of stride 1 without pooling); None chooses by the
    pictures' size.
    """

    def __init__(
        self,
        depth: int = 121,
        input_dim: Sequence[int] = (3, 224, 224),
        output_size: int = 1000,
        variant: str | None = None,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if depth not in _BLOCKS:
            raise ConfigError(f"DenseNet has {', '.join(map(str, _BLOCKS))} layers, got depth={depth!r}")
        variant = variant_for(variant, input_dim)
        small = variant == "small"
        channels = 2 * _GROWTH
        layers: list[object] = [
            ("features.conv0", conv(channels, 3, pad=1, bias=False) if small else conv(channels, 7, 2, 3, bias=False)),
            ("features.norm0", "batch_norm"),
            ("features.relu0", "relu"),
            *([] if small else [("features.pool0", max_pool(3, stride=2, pad=1))]),
        ]
        last = "features.relu0" if small else "features.pool0"
        for block, count in enumerate(_BLOCKS[depth], start=1):
            for i in range(1, count + 1):
                name = f"features.denseblock{block}.denselayer{i}"
                layers += _dense_layer(name, last)
                last = name
            channels += count * _GROWTH
            if block < len(_BLOCKS[depth]):
                channels //= 2
                layers += _transition(f"features.transition{block}", channels)
                last = f"features.transition{block}.pool"
        layers += [
            ("features.norm5", "batch_norm"),
            ("relu", "relu"),
            ("pool", "global_average_pool"),
            ("classifier", affine(output_size)),
        ]
        super().__init__(
            f"densenet{depth}", layers, input_dim, output_size, seed=seed, dtype=dtype, device=device, variant=variant
        )
