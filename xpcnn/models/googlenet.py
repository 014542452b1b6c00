"""GoogLeNet, or Inception v1 (Szegedy et al. 2015; book, section 8.2.3), with batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.layers.spec import affine, batch_norm, conv, dropout, max_pool
from xpcnn.models.published import PublishedNetwork, variant_for

__all__ = ["GoogLeNet"]

# Filters: 1x1; 1x1 then 3x3; 1x1 then 3x3 (the paper's 5x5); 1x1 behind the pooling. The paper's table 1.
_MODULES: dict[str, tuple[int, int, int, int, int, int]] = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


def _conv(name: str, filters: int, size: int, before: str | None = None, stride: int = 1) -> list[object]:
    first = (f"{name}.conv", conv(filters, size, stride=stride, pad=size // 2, bias=False))
    return [
        first if before is None else (*first, before),
        (f"{name}.bn", batch_norm(eps=1e-3)),
        (f"{name}.relu", "relu"),
    ]


def _inception(name: str, before: str, filters: tuple[int, int, int, int, int, int]) -> list[object]:
    """Four branches side by side on one input."""
    one, squeeze3, three, squeeze5, five, pooled = filters
    return [
        *_conv(f"{name}.branch1", one, 1, before),
        *_conv(f"{name}.branch2.0", squeeze3, 1, before),
        *_conv(f"{name}.branch2.1", three, 3),
        *_conv(f"{name}.branch3.0", squeeze5, 1, before),
        *_conv(f"{name}.branch3.1", five, 3),
        (f"{name}.branch4.0", max_pool(3, stride=1, pad=1), before),
        *_conv(f"{name}.branch4.1", pooled, 1),
        (
            name,
            "concatenate",
            tuple(f"{name}.{last}.relu" for last in ("branch1", "branch2.1", "branch3.1", "branch4.1")),
        ),
    ]


class GoogLeNet(PublishedNetwork):
    """Three convolutions, nine inception modules, the mean of each channel, dropout and an affine layer.

    As torchvision has it: batch normalisation instead of local response normalisation, 3x3 filters where the paper
    has 5x5. It is without the paper's auxiliary scores. input_dim: (C, H, W). output_size: classes. variant:
    "full", or "small" (under 64 pixels: a 3x3 first convolution of stride 1, and no pooling before the modules);
    None chooses by the pictures' size.
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
        half = max_pool(3, stride=2, ceil=True)
        layers: list[object] = [
            *(_conv("conv1", 64, 3) if small else [*_conv("conv1", 64, 7, stride=2), ("maxpool1", half)]),
            *_conv("conv2", 64, 1),
            *_conv("conv3", 192, 3),
            *([] if small else [("maxpool2", half)]),
        ]
        last = "conv3.relu" if small else "maxpool2"
        pools = {"inception4a": ("maxpool3", half), "inception5a": ("maxpool4", max_pool(2, ceil=True))}
        for name, filters in _MODULES.items():
            if name in pools:
                layers.append(pools[name])
                last = pools[name][0]
            layers += _inception(name, last, filters)
            last = name
        layers += [("avgpool", "global_average_pool"), ("dropout", dropout(dropout_ratio)), ("fc", affine(output_size))]
        super().__init__(
            "googlenet",
            layers,
            input_dim,
            output_size,
            seed=seed,
            dtype=dtype,
            device=device,
            variant=variant,
            dropout_ratio=dropout_ratio,
        )
