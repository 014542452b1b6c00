"""The networks of benchmarks/gpu.py, in xpcnn's layers and in PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import xpcnn
from xpcnn.layers import affine, conv
from xpcnn.models import DeepConvNet, ResNet, SimpleConvNet

__all__ = ["NETS", "GpuNet", "ours", "resnet18", "torch_module"]


@dataclass(frozen=True)
class GpuNet:
    """shape: of a picture; classes: 0 where it is a single layer and its output a picture."""

    title: str
    shape: tuple[int, int, int]
    batches: tuple[int, ...]
    make: Callable[..., xpcnn.Network]


def resnet18(shape: tuple[int, int, int] = (3, 32, 32), **how: Any) -> xpcnn.Network:
    """ResNet-18 for 32x32 pictures and ten classes."""
    return ResNet(18, shape, 10, **how)


def _layer(width: int) -> Callable[..., xpcnn.Network]:
    """A 3x3 convolution between two cheap ones: it computes all of its gradients, as in the middle of a network."""

    def make(**how: Any) -> xpcnn.Network:
        layers = [conv(width, 1), conv(width, 3, pad=1), "relu", "global_average_pool", affine(10)]
        return xpcnn.Sequential(layers, (3, 32, 32), **how)

    return make


NETS = {
    "simple": GpuNet("SimpleConvNet", (1, 28, 28), (100, 1000), SimpleConvNet),
    "deep": GpuNet("DeepConvNet", (1, 28, 28), (100,), DeepConvNet),
    "resnet18": GpuNet("ResNet-18, 32x32", (3, 32, 32), (128,), resnet18),
    **{f"conv{n}": GpuNet(f"3x3x{n}, 32x32", (3, 32, 32), (64,), _layer(n)) for n in (64, 128, 256)},
}


def ours(name: str, device: str, dtype: str = "float32") -> xpcnn.Network:
    return NETS[name].make(seed=0, device=device, dtype=dtype)


def torch_module(net: xpcnn.Network) -> Any:
    """A PyTorch module of the same graph with the same parameters."""
    import torch
    from torch import nn

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = [(name, node.inputs) for name, node in net.nodes.items()]
            self.parts = nn.ModuleDict({name.replace(".", "_"): _part(node.layer) for name, node in net.nodes.items()})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            values = {"input": x}
            for name, inputs in self.steps:
                part, taken = self.parts[name.replace(".", "_")], [values[i] for i in inputs]
                x = values[name] = taken[0] + taken[1] if isinstance(part, nn.Identity) else part(*taken)
            return x

    return Graph()


def _part(layer: Any) -> Any:
    import torch
    from torch import nn

    from xpcnn import layers

    def filled(module: Any, turned: bool = False) -> Any:
        with torch.no_grad():
            W = xpcnn.asnumpy(layer.params["W"])
            module.weight.copy_(torch.from_numpy(np.ascontiguousarray(W.T if turned else W)))
            if "b" in layer.params:
                module.bias.copy_(torch.from_numpy(xpcnn.asnumpy(layer.params["b"]).copy()))
        return module

    if isinstance(layer, layers.Convolution):
        FN, C, *size = layer.params["W"].shape
        return filled(nn.Conv2d(C, FN, size, layer.stride, layer.pad[:2], bias="b" in layer.params))
    if isinstance(layer, layers.Affine):
        return nn.Sequential(nn.Flatten(), filled(nn.Linear(*layer.params["W"].shape), turned=True))
    if isinstance(layer, layers.BatchNormalization):
        return nn.BatchNorm2d(len(layer.params["gamma"]))
    if isinstance(layer, layers.Pooling):
        return nn.MaxPool2d((layer.pool_h, layer.pool_w), layer.stride)
    plain = {
        layers.Relu: nn.ReLU,
        layers.GlobalAveragePooling: lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        layers.Dropout: lambda: nn.Dropout(layer.ratio),
        layers.Add: nn.Identity,  # the graph adds
    }
    return plain[type(layer)]()
