"""MobileNetV2 (Sandler et al. 2018): inverted residuals, wide and depthwise inside, narrow and linear at their ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.layers.spec import affine, conv, dropout
from xpcnn.models.published import PublishedNetwork, variant_for

__all__ = ["MobileNetV2"]

# Expansion, channels, blocks, stride of the first block: the paper's table 2.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv_relu6(name: str, filters: int, size: int, stride: int = 1, groups: int = 1) -> list[tuple[str, object]]:
    return [
        (f"{name}.0", conv(filters, size, stride=stride, pad=size // 2, groups=groups, bias=False)),
        (f"{name}.1", "batch_norm"),
        (f"{name}.2", "relu6"),
    ]


def _block(name: str, before: str, C: int, channels: int, expansion: int, stride: int) -> list[object]:
    """1x1 to more channels, 3x3 on each by itself, 1x1 to few, without an activation; plus the input where it fits."""
    wide = expansion * C
    layers: list[tuple[str, object]] = _conv_relu6(f"{name}.conv.0", wide, 1) if expansion > 1 else []
    depthwise = 1 if expansion > 1 else 0
    layers += [
        *_conv_relu6(f"{name}.conv.{depthwise}", wide, 3, stride, groups=wide),
        (f"{name}.conv.{depthwise + 1}", conv(channels, 1, bias=False)),
        (f"{name}.conv.{depthwise + 2}", "batch_norm"),
    ]
    entries: list[object] = [(*layers[0], before), *layers[1:]]
    return [*entries, (f"{name}.add", "add", (before, layers[-1][0]))] if stride == 1 and channels == C else entries


class MobileNetV2(PublishedNetwork):
    """A convolution, seventeen inverted residuals, a 1x1 convolution, the mean of each channel, an affine layer.

    input_dim: (C, H, W). output_size: classes. variant: "full", or "small" (under 64 pixels: the first two
    strides of 2, of the stem and of the 24 channels, are 1); None chooses by the pictures' size.
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (3, 224, 224),
        output_size: int = 1000,
        variant: str | None = None,
        dropout_ratio: float = 0.2,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        variant = variant_for(variant, input_dim)
        small = variant == "small"
        C = 32
        layers: list[Any] = [*_conv_relu6("features.0", C, 3, 1 if small else 2)]
        number = 1
        for expansion, channels, blocks, step in _STAGES:
            for i in range(blocks):
                stride = 1 if i > 0 or (small and channels == 24) else step
                layers += _block(f"features.{number}", layers[-1][0], C, channels, expansion, stride)
                C, number = channels, number + 1
        layers += [
            *_conv_relu6(f"features.{number}", 1280, 1),
            ("pool", "global_average_pool"),
            ("classifier.0", dropout(dropout_ratio)),
            ("classifier.1", affine(output_size)),
        ]
        super().__init__(
            "mobilenet_v2",
            layers,
            input_dim,
            output_size,
            seed=seed,
            dtype=dtype,
            device=device,
            variant=variant,
            dropout_ratio=dropout_ratio,
        )
