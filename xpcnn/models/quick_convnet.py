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
    """Groups of 3x3 convolutions with ReLU and a 2x2 max pooling behind each group, then two affine layers.

    One batch normalisation stands before the affine layers, where it is cheap and lets the learning rate be high.
    input_dim: (C, H, W). widths: filters of each group. depth: convolutions in a group, one number for all groups or
    one for each. pad: of the convolutions. norm: batch normalisation behind each group's pooling instead, where there
    is a quarter of the numbers that there would be behind a convolution.
    hidden_size: units of the first affine layer. dropout_ratio: before the scores.
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        output_size: int = 10,
        widths: Sequence[int] = (16, 24),
        depth: int | Sequence[int] = 1,
        pad: int = 0,
        norm: bool = False,
        hidden_size: int = 100,
        dropout_ratio: float = 0.0,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        depths = [depth] * len(widths) if isinstance(depth, int) else list(depth)
        if not widths or len(depths) != len(widths) or min(depths) < 1:
            raise ConfigError(
                "widths are at least one number of filters and depth is at least 1, one number or one for each of the "
                f"widths; got {widths}, {depth}"
            )
        layers: list[object] = []
        for width, convolutions in zip(widths, depths, strict=True):
            for _ in range(convolutions):
                layers += [conv(width, 3, pad=pad), "relu"]
            layers += [max_pool(2), "batch_norm"] if norm else [max_pool(2)]
        layers += ["flatten"] if norm else ["flatten", "batch_norm"]
        layers += [affine(hidden_size), "relu"]
        layers += [dropout(dropout_ratio)] if dropout_ratio else []
        layers.append(affine(output_size))
        super().__init__(layers, input_dim, seed=seed, dtype=dtype, device=device, init="he")
        self.config = {
            "model": "quick",
            "input_dim": list(input_dim),
            "output_size": output_size,
            "widths": list(widths),
            "depth": depth if isinstance(depth, int) else depths,
            "pad": pad,
            "norm": norm,
            "hidden_size": hidden_size,
            "dropout_ratio": dropout_ratio,
        }
