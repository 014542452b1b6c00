"""LeNet-5 (LeCun et al. 1998; book, section 7.7.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.spec import affine, average_pool, conv, max_pool
from xpcnn.network import Sequential

__all__ = ["LeNet5"]


class LeNet5(Sequential):
    """Two convolutions of 5x5 with 2x2 pooling, then three affine layers of 120, 84 and `output_size` units.

    input_dim: (C, H, W); pictures of 28x28 are padded to the paper's 32x32. activation: "sigmoid" as the book tells
    it, "tanh" or "relu". pooling: "average", the paper's subsampling without its learned scale, or "max". As is
    usual today every filter of the second convolution sees every channel, and the scores are an affine layer's.
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        output_size: int = 10,
        activation: str = "sigmoid",
        pooling: str = "average",
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        if activation not in ("sigmoid", "tanh", "relu"):
            raise ConfigError(f'activation is "sigmoid", "tanh" or "relu", got {activation!r}')
        if pooling not in ("average", "max"):
            raise ConfigError(f'pooling is "average" or "max", got {pooling!r}')
        pool = average_pool(2) if pooling == "average" else max_pool(2)
        super().__init__(
            [
                ("C1", conv(6, 5, pad=2 if tuple(input_dim[1:]) == (28, 28) else 0)),
                ("act1", activation),
                ("S2", pool),
                ("C3", conv(16, 5)),
                ("act3", activation),
                ("S4", pool),
                ("C5", affine(120)),
                ("act5", activation),
                ("F6", affine(84)),
                ("act6", activation),
                ("output", affine(output_size)),
            ],
            input_dim,
            seed=seed,
            dtype=dtype,
            device=device,
            # With the small std of LeCun's or the book's Xavier a stack of sigmoids starts flat: Glorot's is livelier.
            init="he" if activation == "relu" else "glorot",
        )
        self.config = {
            "model": "lenet5",
            "input_dim": list(input_dim),
            "output_size": output_size,
            "activation": activation,
            "pooling": pooling,
        }
