"""ShuffleNet V2 (Ma et al. 2018): half of the channels go straight through, then the halves are mixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.rearrange import ChannelShuffle
from xpcnn.layers.slicing import Slice
from xpcnn.layers.spec import affine, conv, max_pool
from xpcnn.models.published import PublishedNetwork, variant_for

__all__ = ["ShuffleNetV2"]

_STEM = 24
# Channels of the three stages and of the last convolution: the paper's table 5.
_WIDTHS = {
    "0_5": (48, 96, 192, 1024),
    "1_0": (116, 232, 464, 1024),
    "1_5": (176, 352, 704, 1024),
    "2_0": (244, 488, 976, 2048),
}
_UNITS = (4, 8, 4)


def _conv(name: str, first: int, filters: int, size: int = 1, stride: int = 1, groups: int = 1) -> list[Any]:
    """A convolution and its normalisation, numbered from `first`; 1x1 ones (and the stem) end with a ReLU."""
    layers: list[Any] = [
        (f"{name}.{first}", conv(filters, size, stride=stride, pad=size // 2, groups=groups, bias=False)),
        (f"{name}.{first + 1}", "batch_norm"),
    ]
    return layers if groups > 1 else [*layers, (f"{name}.{first + 2}", "relu")]


def _after(before: str, layers: list[Any]) -> list[Any]:
    """The same entries, the first of them taking what `before` gives."""
    return [(*layers[0], before), *layers[1:]]


def _branch(name: str, before: str, half: int, stride: int) -> list[Any]:
    """1x1, then 3x3 on each channel by itself, then 1x1."""
    return [
        *_after(before, _conv(name, 0, half)),
        *_conv(name, 3, half, 3, stride, groups=half),
        *_conv(name, 5, half),
    ]


def _unit(name: str, before: str, C: int, channels: int) -> list[Any]:
    """A unit that keeps its input's size (C == channels) or one that halves the sides."""
    half = channels // 2
    if channels == C:
        kept, changed = f"{name}.kept", f"{name}.changed"
        layers = [
            (kept, Slice((0,), (half,), axes=(1,)), before),
            (changed, Slice((half,), (channels,), axes=(1,)), before),
            *_branch(f"{name}.branch2", changed, half, 1),
        ]
    else:
        kept = f"{name}.branch1.4"
        layers = [
            *_after(before, _conv(f"{name}.branch1", 0, C, 3, 2, groups=C)),
            *_conv(f"{name}.branch1", 2, half),
            *_branch(f"{name}.branch2", before, half, 2),
        ]
    return [*layers, (f"{name}.both", "concatenate", (kept, f"{name}.branch2.7")), (name, ChannelShuffle(2))]


class ShuffleNetV2(PublishedNetwork):
    """A convolution, three stages of units, a 1x1 convolution, the mean of each channel, an affine layer.

    width: "0_5", "1_0", "1_5" or "2_0" times the paper's channels. input_dim: (C, H, W). output_size: classes.
    variant: "full", or "small" (under 64 pixels: a stem of stride 1 without pooling); None chooses by the
    pictures' size.
    """

    def __init__(
        self,
        width: str = "1_0",
        input_dim: Sequence[int] = (3, 224, 224),
        output_size: int = 1000,
        variant: str | None = None,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if width not in _WIDTHS:
            raise ConfigError(f"ShuffleNet's widths are {', '.join(_WIDTHS)}; got {width!r}")
        variant = variant_for(variant, input_dim)
        small = variant == "small"
        layers = _conv("conv1", 0, _STEM, 3, 1 if small else 2)
        layers += [] if small else [("maxpool", max_pool(3, stride=2, pad=1))]
        C = _STEM
        for stage, (units, channels) in enumerate(zip(_UNITS, _WIDTHS[width], strict=False), start=2):
            for i in range(units):
                layers += _unit(f"stage{stage}.{i}", layers[-1][0], C, channels)
                C = channels
        layers += [
            *_conv("conv5", 0, _WIDTHS[width][-1]),
            ("pool", "global_average_pool"),
            ("fc", affine(output_size)),
        ]
        super().__init__(
            f"shufflenet_v2_x{width}",
            layers,
            input_dim,
            output_size,
            seed=seed,
            dtype=dtype,
            device=device,
            variant=variant,
        )
