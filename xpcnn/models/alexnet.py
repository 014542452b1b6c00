"""AlexNet (Krizhevsky, Sutskever & Hinton 2012; book, section 7.7.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.spec import affine, conv, dropout, lrn, max_pool
from xpcnn.network import Sequential

__all__ = ["AlexNet"]


def _full(units: int) -> list[object]:
    """The paper's layers for 227x227 pictures; groups=2 is how it spread them over two GPUs."""
    return [
        conv(96, 11, stride=4), "relu", lrn(), max_pool(3, stride=2),
        conv(256, 5, pad=2, groups=2), "relu", lrn(), max_pool(3, stride=2),
        conv(384, 3, pad=1), "relu",
        conv(384, 3, pad=1, groups=2), "relu",
        conv(256, 3, pad=1, groups=2), "relu", max_pool(3, stride=2),
        affine(4096), "relu", dropout(0.5),
        affine(4096), "relu", dropout(0.5),
        affine(units),
    ]  # fmt: skip


def _small(units: int) -> list[object]:
    """The same five convolutions and three affine layers at a size that suits pictures of about 28 to 64 pixels."""
    return [
        conv(48, 5, pad=2), "relu", lrn(), max_pool(3, stride=2),
        conv(128, 5, pad=2, groups=2), "relu", lrn(), max_pool(3, stride=2),
        conv(192, 3, pad=1), "relu",
        conv(192, 3, pad=1, groups=2), "relu",
        conv(128, 3, pad=1, groups=2), "relu", max_pool(3, stride=2),
        affine(512), "relu", dropout(0.5),
        affine(512), "relu", dropout(0.5),
        affine(units),
    ]  # fmt: skip


class AlexNet(Sequential):
    """Five convolutions with local response normalisation and overlapping max pooling, three affine with dropout.

    input_dim: (C, H, W). variant: "full" (the paper's 227x227, 60,965,224 parameters for 3 channels and 1,000
    classes) or "small" (28 to 64 pixels); None takes "small" for pictures under 128 pixels. output_size: classes.
    Initial weights are He's; the paper's std of 0.01 with biases of 1 needs its 90 epochs to get going.
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (3, 227, 227),
        output_size: int = 1000,
        variant: str | None = None,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if variant is None:
            variant = "small" if min(input_dim[1:]) < 128 else "full"
        if variant not in ("full", "small"):
            raise ConfigError(f'variant is "full", "small" or None, got {variant!r}')
        layers = _full(output_size) if variant == "full" else _small(output_size)
        super().__init__(layers, input_dim, seed=seed, dtype=dtype, device=device, init="he")
        self.config = {
            "model": "alexnet",
            "input_dim": list(input_dim),
            "output_size": output_size,
            "variant": variant,
        }
