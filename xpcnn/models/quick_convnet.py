"""QuickConvNet: few layers in the order that runs fastest here, for the most accuracy a second of training can buy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.spec import affine, conv, dropout, max_pool
from xpcnn.network import Sequential

__all__ = ["QuickConvNet"]


class QuickConvNet(Sequential):
    """A 5x5 convolution, then two groups of 3x3 convolutions with a 2x2 pooling behind each, all with ReLU.

    One batch normalisation stands before the scores, where it is cheap and lets the learning rate be high.
    input_dim: (C, H, W). widths: filters of the first convolution and of the two groups. depth: convolutions in a
    group. stride: of the first convolution (2 leaves a quarter of the pixels to the rest). dropout_ratio: before the
    scores.
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        output_size: int = 10,
        widths: Sequence[int] = (16, 32, 32),
        depth: int = 1,
        stride: int = 2,
        dropout_ratio: float = 0.0,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if len(widths) != 3 or depth < 1:
            raise ConfigError(f"widths are three numbers of filters and depth is at least 1, got {widths} and {depth}")
        layers: list[object] = [conv(widths[0], 5, stride=stride, pad=2), "relu"]
        for width in widths[1:]:
            for _ in range(depth):
                layers += [conv(width, 3, pad=1), "relu"]
            layers.append(max_pool(2))
        layers += ["flatten", "batch_norm"]
        layers += [dropout(dropout_ratio)] if dropout_ratio else []
        layers.append(affine(output_size))
        super().__init__(layers, input_dim, seed=seed, dtype=dtype, device=device, init="he")
        self.config = {
            "model": "quick",
            "input_dim": list(input_dim),
            "output_size": output_size,
            "widths": list(widths),
            "depth": depth,
            "stride": stride,
            "dropout_ratio": dropout_ratio,
        }
