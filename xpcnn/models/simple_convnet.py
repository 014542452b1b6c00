"""SimpleConvNet, the network of the book's section 7.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.layers.spec import How, affine, conv, max_pool
from xpcnn.models.parameters import conv_arguments
from xpcnn.network import Sequential

__all__ = ["SimpleConvNet"]

_CONV = {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}


class SimpleConvNet(Sequential):
    """conv - relu - pool 2x2 - affine - relu - affine, with softmax and cross-entropy as its loss.

    input_dim: (C, H, W). conv_param: the book's words filter_num, filter_size, pad, stride; those left out are the
    book's. hidden_size: units of the first affine layer. weight_init_std: a float (normal with that standard
    deviation), or "relu" / "he", or "sigmoid" / "xavier". Parameters are called W1, b1, W2, b2, W3, b3.
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        conv_param: Mapping[str, Any] | None = None,
        hidden_size: int = 100,
        output_size: int = 10,
        weight_init_std: How = 0.01,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
    ) -> None:
        param = conv_arguments(conv_param, _CONV, "conv_param")
        super().__init__(
            [
                ("Conv1", conv(**param)),
                ("Relu1", "relu"),
                ("Pool1", max_pool(2)),
                ("Affine1", affine(hidden_size)),
                ("Relu2", "relu"),
                ("Affine2", affine(output_size)),
            ],
            input_dim,
            seed=seed,
            dtype=dtype,
            device=device,
            init=weight_init_std,
            param_names="book",
        )
        self.config = {
            "model": "simple",
            "input_dim": list(input_dim),
            "conv_param": {**_CONV, **(conv_param or {})},
            "hidden_size": hidden_size,
            "output_size": output_size,
            "weight_init_std": weight_init_std,
        }
