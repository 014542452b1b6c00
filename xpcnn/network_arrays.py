"""What a network consists of: layers at their places and their arrays, copied, pickled, saved and loaded."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any, Self

import numpy as np

from xpcnn.device import Array, Device, asnumpy, get_device
from xpcnn.errors import ConfigError, DeviceError
from xpcnn.formats import load_arrays, save_arrays
from xpcnn.graph import Node
from xpcnn.layers.base import Layer, Shape
from xpcnn.network_words import warn
from xpcnn.params import ArrayView, match_arrays
from xpcnn.torch_names import in_torch_names, torch_arrays, without_extras

__all__ = ["NetworkArrays", "as_dtype"]

_DTYPES = ("float32", "float64", "float16")
_FILE_NAMES = ("xpcnn", "torch")
_MADE_ANEW = ("executor", "params", "grads", "state")  # by _use_device, from the rest


class NetworkArrays:
    """The part of a Network that has nothing to do with how a batch goes through it."""

    nodes: dict[str, Node]
    device: Device
    dtype: np.dtype
    config: dict[str, Any]
    params: ArrayView
    state: ArrayView

    def _use_device(self, device: Device) -> None:
        """Moves all arrays to `device`, and makes anew what depends on where they are."""
        raise NotImplementedError

    # -- parts ---------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> dict[str, Layer]:
        """The layers by name, in the order in which they run."""
        return {name: node.layer for name, node in self.nodes.items()}

    @property
    def output_shape(self) -> Shape:
        """Shape of one sample's scores."""
        return next(reversed(self.nodes.values())).shape

    @property
    def param_dtype(self) -> np.dtype:
        """That of the parameters: the network's own, but float32 where pictures and products are float16."""
        return np.dtype(np.float32) if self.dtype == np.float16 else self.dtype

    # -- copies --------------------------------------------------------------------------------------------------

    def copy(self, dtype: Any = None) -> Self:
        """A second network with its own arrays, of the same values, of another `dtype` if one is given."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.dtype = self.dtype if dtype is None else as_dtype(dtype)
        twin.nodes = self._nodes_with(lambda a: a.astype(twin.param_dtype))
        twin._use_device(self.device)
        return twin

    def _nodes_with(self, convert: Callable[[Array], Array]) -> dict[str, Node]:
        """The same graph of layers of their own, their arrays put through `convert`; a layer at two nodes stays one."""
        layers: dict[int, Layer] = {}
        for layer in self.layers.values():
            if id(layer) not in layers:
                own = layers[id(layer)] = copy.copy(layer)
                own.params = {name: convert(a) for name, a in layer.params.items()}
                own.state = {name: convert(a) for name, a in layer.state.items()}
                own.grads = {}
                own._context = None
        return {name: replace(node, layer=layers[id(node.layer)]) for name, node in self.nodes.items()}

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy.deepcopy: the layers with NumPy arrays, without gradients; no threads, no buffers."""
        state = {name: value for name, value in self.__dict__.items() if name not in _MADE_ANEW}
        state["nodes"] = self._nodes_with(lambda a: np.array(asnumpy(a)))
        state["device"] = self.device.name
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Goes to the device that it was on, or to the CPU with a warning where that cannot be used here."""
        self.__dict__.update(state)
        try:
            device = get_device(state["device"])
        except DeviceError as error:
            warn(f"this network was on {state['device']} and comes to the CPU: {error}")
            device = get_device("cpu")
        self._use_device(device)

    def __copy__(self) -> Self:
        return self.copy()

    # -- files ---------------------------------------------------------------------------------------------------

    def arrays(self, names: str = "xpcnn") -> dict[str, Array]:
        """What a parameter file holds: the parameters and the running statistics, on the network's device.

        names: "xpcnn", or "torch" for views by the names and in the shapes of a PyTorch module's state_dict.
        """
        if names not in _FILE_NAMES:
            raise ConfigError(f"names is one of {', '.join(_FILE_NAMES)}, got {names!r}")
        return torch_arrays(self.nodes) if names == "torch" else {**self.params, **self.state}

    def save_params(self, path: str | PathLike[str] = "params.safetensors", names: str = "xpcnn") -> None:
        """Writes parameters and running statistics: .safetensors, .npz or .pkl (the book's), by the suffix.

        names: "torch" for those of a PyTorch module with the same structure, which can load them.
        """
        metadata = {"model": json.dumps(self.config)} if self.config else None
        save_arrays(path, {name: asnumpy(a) for name, a in self.arrays(names).items()}, metadata)

    def load_params(self, path: str | PathLike[str] = "params.safetensors", partial: bool = False) -> None:
        """Reads what `save_params`, the book's own code or PyTorch wrote; nothing changes where anything does not fit.

        PyTorch's is a module's state_dict in a .safetensors file; it is known by its names, ending in ".weight".
        partial: names may be missing or extra. Raises CheckpointError for a damaged file, and with the names and
        both shapes where it does not fit.
        """
        self.load_arrays(load_arrays(path), source=path, partial=partial)

    def load_arrays(
        self, found: Mapping[str, np.ndarray], source: object = "these arrays", partial: bool = False
    ) -> None:
        """The same from arrays in memory."""
        mine = self.arrays()
        if in_torch_names(found, self.params):
            mine = self.arrays("torch")
            found = without_extras(found, mine)
        for name, a in match_arrays(mine, found, source, partial).items():
            mine[name][...] = self.device.asarray(a, self.param_dtype)  # in place: it is the layer's own


def as_dtype(dtype: Any) -> np.dtype:
    """The dtype of a network. Raises ConfigError for one that it cannot have."""
    try:
        known: np.dtype = np.dtype(dtype)
    except TypeError as error:
        raise ConfigError(f"a network's dtype is one of {', '.join(_DTYPES)}, got {dtype!r}") from error
    if known.name not in _DTYPES:
        raise ConfigError(f"a network's dtype is one of {', '.join(_DTYPES)}, got {known.name}")
    return known
