"""DeepConvNet, the network of the book's section 8.1, which it reports at 99.38 % on MNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.spec import affine, conv, dropout, max_pool
from xpcnn.models.parameters import conv_arguments
from xpcnn.network import Sequential

__all__ = ["DeepConvNet"]

# Filters and pads of the six convolutions; the fourth's pad of 2 keeps the pooled sizes 14, 8 (not 7) and 4.
_CONVS = [
    {"filter_num": filters, "filter_size": 3, "pad": pad, "stride": 1}
    for filters, pad in ((16, 1), (16, 1), (32, 1), (32, 2), (64, 1), (64, 1))
]


class DeepConvNet(Sequential):
    """Three times (conv - relu - conv - relu - pool 2x2), then affine - relu - dropout - affine - dropout.

    input_dim: (C, H, W). conv_param_1 .. conv_param_6: the book's words, those left out are the book's.
    dropout: "inverted" (test time changes nothing) or "book" (test time multiplies by 1 - ratio, after the hidden
    ReLU and after the scores). Initial weights are He's. Parameters are called W1, b1, ..., W8, b8.
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        conv_param_1: Mapping[str, Any] | None = None,
        conv_param_2: Mapping[str, Any] | None = None,
        conv_param_3: Mapping[str, Any] | None = None,
        conv_param_4: Mapping[str, Any] | None = None,
        conv_param_5: Mapping[str, Any] | None = None,
        conv_param_6: Mapping[str, Any] | None = None,
        hidden_size: int = 50,
        output_size: int = 10,
        *,
        dropout_ratio: float = 0.5,
        dropout: str = "inverted",
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if dropout not in ("inverted", "book"):
            raise ConfigError(f'dropout is "inverted" or "book", got {dropout!r}')
        given = (conv_param_1, conv_param_2, conv_param_3, conv_param_4, conv_param_5, conv_param_6)
        layers: list[object] = []
        for i, (param, usual) in enumerate(zip(given, _CONVS, strict=True), start=1):
            layers += [(f"Conv{i}", conv(**conv_arguments(param, usual, f"conv_param_{i}"))), (f"Relu{i}", "relu")]
            if i % 2 == 0:
                layers.append((f"Pool{i // 2}", max_pool(2)))
        drop = _dropout(dropout_ratio, dropout)
        layers += [
            ("Affine1", affine(hidden_size)),
            ("Relu7", "relu"),
            ("Dropout1", drop),
            ("Affine2", affine(output_size)),
            ("Dropout2", drop),
        ]
        super().__init__(layers, input_dim, seed=seed, dtype=dtype, device=device, init="he", param_names="book")
        self.config = {
            "model": "deep",
            "input_dim": list(input_dim),
            **{
                f"conv_param_{i}": {**usual, **(param or {})}
                for i, (param, usual) in enumerate(zip(given, _CONVS, strict=True), start=1)
            },
            "hidden_size": hidden_size,
            "output_size": output_size,
            "dropout_ratio": dropout_ratio,
            "dropout": dropout,
        }


def _dropout(ratio: float, rule: str) -> object:
    return dropout(ratio, inverted=rule == "inverted")
