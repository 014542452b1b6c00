"""VGG (Simonyan & Zisserman 2015; book, section 8.2.2): 3x3 convolutions and 2x2 pooling, all the way down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.spec import affine, conv, dropout, max_pool
from xpcnn.layers.spec_pooling import adaptive_average_pool
from xpcnn.models.published import PublishedNetwork, variant_for

__all__ = ["VGG"]

_WIDTHS = (64, 128, 256, 512, 512)
# Convolutions in each of the five groups: the paper's configurations A, B, D and E.
_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(PublishedNetwork):
    """Five groups of 3x3 convolutions with 2x2 max pooling behind each, then three affine layers with dropout.

    depth: 11, 13, 16 or 19 layers with weights. norm: batch normalisation behind every convolution (which keeps its
    bias, as in torchvision). input_dim: (C, H, W). output_size: classes. variant: "full" (the paper's affine layers
    of 4,096 on 7x7, to which other sizes are averaged), or "small" (for about 28 to 63 pixels: two affine layers,
    the first of 512, on what the pooling, which rounds sizes up here, leaves); None chooses by the pictures' size.
    """

    def __init__(
        self,
        depth: int = 16,
        norm: bool = False,
        input_dim: Sequence[int] = (3, 224, 224),
        output_size: int = 1000,
        variant: str | None = None,
        dropout_ratio: float = 0.5,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if depth not in _DEPTHS:
            raise ConfigError(f"VGG has {', '.join(map(str, _DEPTHS))} layers, got depth={depth!r}")
        variant = variant_for(variant, input_dim)
        small = variant == "small"
        features: list[object] = []
        for convolutions, width in zip(_DEPTHS[depth], _WIDTHS, strict=True):
            for _ in range(convolutions):
                features += [conv(width, 3, pad=1), *(["batch_norm"] if norm else []), "relu"]
            features.append(max_pool(2, ceil=small))
        classifier: list[object] = [affine(512 if small else 4096), "relu", dropout(dropout_ratio)]
        classifier += [] if small else [affine(4096), "relu", dropout(dropout_ratio)]
        classifier.append(affine(output_size))
        super().__init__(
            f"vgg{depth}{'_bn' if norm else ''}",
            [
                *((f"features.{i}", layer) for i, layer in enumerate(features)),
                *([] if small else [("avgpool", adaptive_average_pool(7))]),
                *((f"classifier.{i}", layer) for i, layer in enumerate(classifier)),
            ],
            input_dim,
            output_size,
            seed=seed,
            dtype=dtype,
            device=device,
            variant=variant,
            dropout_ratio=dropout_ratio,
        )
