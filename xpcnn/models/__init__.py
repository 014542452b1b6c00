"""Networks by name, each an ordinary Network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpcnn.errors import ConfigError
from xpcnn.formats.limits import one_line, shown
from xpcnn.models.alexnet import AlexNet
from xpcnn.models.deep_convnet import DeepConvNet
from xpcnn.models.lenet import LeNet5
from xpcnn.models.quick_convnet import QuickConvNet
from xpcnn.models.simple_convnet import SimpleConvNet
from xpcnn.network import Network

__all__ = ["MODELS", "AlexNet", "DeepConvNet", "LeNet5", "QuickConvNet", "SimpleConvNet", "make_model"]

MODELS: dict[str, type[Network]] = {
    "simple": SimpleConvNet,
    "deep": DeepConvNet,
    "lenet5": LeNet5,
    "alexnet": AlexNet,
    "quick": QuickConvNet,
}


def make_model(config: str | Mapping[str, Any], **more: Any) -> Network:
    """A model by name ("simple", "deep", "lenet5", "alexnet", or the class's name), or from a network's `config`.

    more: arguments of the model, over those of `config`. Raises ConfigError for a name or an argument it does not know.
    """
    arguments = {"model": config} if isinstance(config, str) else dict(config)
    name = str(arguments.pop("model", ""))
    by_name = {**MODELS, **{cls.__name__.lower(): cls for cls in MODELS.values()}}
    if name.lower() not in by_name:
        raise ConfigError(f"no model is called {shown(name)}; there are {', '.join(MODELS)}")
    try:
        return by_name[name.lower()](**{**arguments, **more})
    except TypeError as error:
        raise ConfigError(f"model {name!r}: {one_line(str(error))}") from error
