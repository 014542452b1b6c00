"""From an estimator's `model` to a network that fits the data."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers import affine, conv, max_pool
from xpcnn.layers.base import Shape
from xpcnn.models import MODELS, make_model
from xpcnn.network import Network, Sequential

__all__ = ["Model", "make_network", "usual_layers"]

Model = str | Sequence[object] | Callable[..., Network]

_HIDDEN = 100  # units between features and outputs
_FILTERS = (32, 64)
_POOLED = 4  # the shortest side that a 2x2 pooling still halves


def usual_layers(input_shape: Shape, outputs: int) -> list[object]:
    """What "auto" stands for.

    Pictures (C, H, W): two convolutions of 3x3 (32 and 64 filters) with ReLU, each with a 2x2 max pooling where the
    sides have at least 4 pixels, then 100 hidden units. Features (D,): 100 hidden units alone.
    """
    layers: list[object] = []
    if len(input_shape) == 3:
        side = min(input_shape[1:])
        for filters in _FILTERS:
            layers += [conv(filters, 3, pad=1), "relu"]
            if side >= _POOLED:
                layers.append(max_pool(2))
                side //= 2
    return [*layers, affine(_HIDDEN), "relu", affine(outputs)]


def make_network(model: Model, input_shape: Shape, outputs: int, *, seed: int, device: str | Device) -> Network:
    """A new network for samples of `input_shape` with `outputs` scores each.

    model: "auto", a name of xpcnn.models, the layers of a Sequential (they are copied), or a function
    model(input_shape, outputs), which is given `seed=` as well where it has a parameter of that name.
    Raises ConfigError for anything else, and where the network takes or gives another shape.
    """
    if isinstance(model, str):
        network = _by_name(model, input_shape, outputs, seed, device)
    elif callable(model):
        made = model(input_shape, outputs, **({"seed": seed} if _takes_seed(model) else {}))
        if not isinstance(made, Network):
            raise ConfigError(f"model(image_shape, outputs) gives a Network, got a {type(made).__name__}")
        network = made.to(device)
    elif isinstance(model, Sequence):
        network = Sequential(copy.deepcopy(list(model)), input_shape, seed=seed, device=device)
    else:
        raise ConfigError(f"model is a name, a list of layers or a function that makes a Network, got {model!r}")
    if network.input_shape != input_shape:
        raise ConfigError(f"the data has samples of {input_shape}, but the model takes {network.input_shape}")
    if network.output_shape != (outputs,):
        raise ConfigError(
            f"the data needs {outputs} output(s) a sample, but the model gives {network.output_shape}; "
            f"end it with affine({outputs})"
        )
    network.use_seed(seed)
    return network


def _by_name(name: str, input_shape: Shape, outputs: int, seed: int, device: str | Device) -> Network:
    if name.lower() == "auto":
        return Sequential(usual_layers(input_shape, outputs), input_shape, seed=seed, device=device)
    if name.lower() in MODELS and len(input_shape) != 3:
        raise ConfigError(
            f"model {name!r} takes pictures, but the data has {input_shape[0]} features a sample; "
            "give image_shape=(C, H, W) or X of shape (N, C, H, W)"
        )
    return make_model(name, input_dim=input_shape, output_size=outputs, seed=seed, device=device)


def _takes_seed(model: Callable[..., Any]) -> bool:
    return "seed" in inspect.signature(model).parameters
