"""A network's arrays by the names that PyTorch gives to those of a module whose parts are called as our layers are.

A layer "layer1.0.bn1" with gamma, beta and running statistics is a module `layer1.0.bn1` with weight, bias and the
same statistics. Networks of xpcnn.models call their layers as torchvision does, so its files fit them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from xpcnn.device import Array
from xpcnn.graph import Node
from xpcnn.layers.activation_pieces import PRelu
from xpcnn.layers.affine import Affine
from xpcnn.layers.base import Layer
from xpcnn.layers.matmul import Projection
from xpcnn.params import each_layer

__all__ = ["in_torch_names", "torch_arrays", "without_extras"]

_WORDS = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias", "slope": "weight"}
_TRAINING_HEADS = ("aux1.", "aux2.")  # of torchvision's GoogLeNet; scores do not depend on them
_COUNTER = ".num_batches_tracked"  # of a batch normalisation; used where it has no momentum


def in_torch_names(found: Iterable[str], params: Iterable[str]) -> bool:
    """Whether a file's names are PyTorch's: some end in ".weight", and none is one of our own `params`."""
    names = set(found)
    return any(name.endswith(".weight") for name in names) and names.isdisjoint(params)


def torch_arrays(nodes: Mapping[str, Node]) -> dict[str, Array]:
    """The parameters and running statistics by PyTorch's names, in the order of its state_dict.

    They are views: what is written into one is written into the layer. Weights of affine layers, (D, K), are seen
    as PyTorch's (K, D), and slopes of PRelu, (C, 1, 1), as its (C,).
    """
    arrays: dict[str, Array] = {}
    for name, layer in each_layer(nodes).items():
        for local, a in {**layer.params, **layer.state}.items():
            if local == "W" and _is_linear(layer):
                a = a.T
            elif isinstance(layer, PRelu):
                a = a.reshape(a.size)
            arrays[f"{name}.{_WORDS.get(local, local)}"] = a
    return arrays


def _is_linear(layer: Layer) -> bool:
    """Whether it is what PyTorch calls Linear."""
    return isinstance(layer, Affine) or (isinstance(layer, Projection) and layer.W.ndim == 2 and not layer.left)


def without_extras(found: Mapping[str, np.ndarray], wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """A PyTorch file's arrays by the names in `wanted`, less what only PyTorch's training reads."""
    names = set(wanted)
    older = {old: name for name in names if (old := _older(name))}
    return {
        older.get(name, name): a
        for name, a in found.items()
        if name in names or not (name.endswith(_COUNTER) or name.startswith(_TRAINING_HEADS))
    }


def _older(name: str) -> str | None:
    """How torchvision's published DenseNet files spell a name within a dense layer: "norm.1" for "norm1"."""
    module, _, word = name.rpartition(".")
    if ".denselayer" not in module or not module[-1].isdigit() or module.rpartition(".")[2].startswith("denselayer"):
        return None
    return f"{module[:-1]}.{module[-1]}.{word}"
