"""SqueezeNet (Iandola et al. 2016): fire modules, and as few parameters as AlexNet's accuracy can do with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.spec import conv, dropout, max_pool
from xpcnn.models.published import PublishedNetwork, variant_for

__all__ = ["SqueezeNet"]

# Filters of the fire modules' squeeze, half of what each expands to on one side; "pool" between them.
_FIRES: dict[str, tuple[int | str, ...]] = {
    "1_0": (16, 16, 32, "pool", 32, 48, 48, 64, "pool", 64),
    "1_1": (16, 16, "pool", 32, 32, "pool", 48, 48, 64, 64),
}


def _stem(version: str, small: bool) -> list[object]:
    if small:
        return [conv(64 if version == "1_1" else 96, 3, pad=1), "relu"]
    first = conv(96, 7, stride=2) if version == "1_0" else conv(64, 3, stride=2)
    return [first, "relu", max_pool(3, stride=2, ceil=True)]


def _fire(name: str, before: str, squeeze: int) -> list[object]:
    """1x1 filters squeeze, 1x1 and 3x3 filters side by side expand to 8 times as many channels."""
    return [
        (f"{name}.squeeze", conv(squeeze, 1), before),
        (f"{name}.squeeze_activation", "relu"),
        (f"{name}.expand1x1", conv(4 * squeeze, 1)),
        (f"{name}.expand1x1_activation", "relu"),
        (f"{name}.expand3x3", conv(4 * squeeze, 3, pad=1), f"{name}.squeeze_activation"),
        (f"{name}.expand3x3_activation", "relu"),
        (name, "concatenate", (f"{name}.expand1x1_activation", f"{name}.expand3x3_activation")),
    ]


class SqueezeNet(PublishedNetwork):
    """A convolution, eight fire modules with max pooling between them, a 1x1 convolution and the mean of each channel.

    version: "1_0" (the paper's) or "1_1" (its authors' cheaper one). input_dim: (C, H, W). output_size: classes.
    variant: "full", or "small" (under 64 pixels: a 3x3 stem of stride 1 without pooling); None chooses by the
    pictures' size.
    """

    def __init__(
        self,
        version: str = "1_0",
        input_dim: Sequence[int] = (3, 224, 224),
        output_size: int = 1000,
        variant: str | None = None,
        dropout_ratio: float = 0.5,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if version not in _FIRES:
            raise ConfigError(f"SqueezeNet's versions are {', '.join(_FIRES)}; got {version!r}")
        variant = variant_for(variant, input_dim)
        full = _stem(version, small=False)
        layers: list[object] = [(f"features.{i}", layer) for i, layer in enumerate(_stem(version, variant == "small"))]
        last = f"features.{len(layers) - 1}"
        for i, squeeze in enumerate(_FIRES[version], start=len(full)):  # the same numbers in both variants
            name = f"features.{i}"
            if isinstance(squeeze, int):
                layers += _fire(name, last, squeeze)
            else:
                layers.append((name, max_pool(3, stride=2, ceil=True)))
            last = name
        layers += [
            ("classifier.0", dropout(dropout_ratio)),
            ("classifier.1", conv(output_size, 1, init=0.01)),
            ("classifier.2", "relu"),
            ("classifier.3", "global_average_pool"),
        ]
        super().__init__(
            f"squeezenet{version}",
            layers,
            input_dim,
            output_size,
            seed=seed,
            dtype=dtype,
            device=device,
            variant=variant,
            dropout_ratio=dropout_ratio,
        )
