"""Networks by name, each an ordinary Network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from xpcnn.errors import ConfigError
from xpcnn.formats.limits import one_line, shown
from xpcnn.models.alexnet import AlexNet
from xpcnn.models.cifar_resnet import CifarResNet
from xpcnn.models.deep_convnet import DeepConvNet
from xpcnn.models.densenet import DenseNet
from xpcnn.models.googlenet import GoogLeNet
from xpcnn.models.lenet import LeNet5
from xpcnn.models.mobilenet import MobileNetV2
from xpcnn.models.quick_convnet import QuickConvNet
from xpcnn.models.resnet import ResNet
from xpcnn.models.shufflenet import ShuffleNetV2
from xpcnn.models.simple_convnet import SimpleConvNet
from xpcnn.models.squeezenet import SqueezeNet
from xpcnn.models.vgg import VGG
from xpcnn.network import Network

__all__ = [
    "MODELS",
    "VGG",
    "AlexNet",
    "CifarResNet",
    "DeepConvNet",
    "DenseNet",
    "GoogLeNet",
    "LeNet5",
    "MobileNetV2",
    "QuickConvNet",
    "ResNet",
    "ShuffleNetV2",
    "SimpleConvNet",
    "SqueezeNet",
    "make_model",
]

MODELS: dict[str, Callable[..., Network]] = {
    "simple": SimpleConvNet,
    "deep": DeepConvNet,
    "lenet5": LeNet5,
    "alexnet": AlexNet,
    "quick": QuickConvNet,
    **{f"vgg{depth}": partial(VGG, depth) for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_bn": partial(VGG, depth, True) for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": partial(ResNet, depth) for depth in (18, 34, 50, 101, 152)},
    **{f"resnet{depth}": partial(CifarResNet, depth) for depth in (20, 32, 44, 56, 110)},
    "googlenet": GoogLeNet,
    **{f"squeezenet{version}": partial(SqueezeNet, version) for version in ("1_0", "1_1")},
    **{f"densenet{depth}": partial(DenseNet, depth) for depth in (121, 169, 201)},
    **{f"shufflenet_v2_x{width}": partial(ShuffleNetV2, width) for width in ("0_5", "1_0", "1_5", "2_0")},
    "mobilenet_v2": MobileNetV2,
}


def make_model(config: str | Mapping[str, Any], **more: Any) -> Network:
    """A model by its name in MODELS ("simple", "resnet18", or the name of its class), or from a network's `config`.

    more: arguments of the model, over those of `config`. Raises ConfigError for a name or an argument it does not know.
    """
    arguments = {"model": config} if isinstance(config, str) else dict(config)
    name = str(arguments.pop("model", ""))
    by_name = dict(MODELS)
    by_name |= {make.__name__.lower(): make for make in MODELS.values() if isinstance(make, type)}
    if name.lower() not in by_name:
        raise ConfigError(f"no model is called {shown(name)}; there are {', '.join(MODELS)}")
    try:
        return by_name[name.lower()](**{**arguments, **more})
    except TypeError as error:
        raise ConfigError(f"model {name!r}: {one_line(str(error))}") from error
