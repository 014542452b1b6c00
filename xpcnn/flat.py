"""All parameters of a network side by side in one array, and all gradients in another: one launch updates them all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType

import numpy as np

from xpcnn.device import Array
from xpcnn.layers.base import Layer
from xpcnn.ops.cuda.gradients import ClipRoom, LossScale

__all__ = ["FlatArrays"]

_ALIGN = 64  # numbers: every array begins at a multiple of 256 bytes, as fresh GPU memory does


class FlatArrays:
    """Takes over the parameters of `layers`: `layer.params` become views of `params`, `layer.grads` views of `grads`.

    Both are (size,), of `dtype` and `grad_dtype` (None: the same); between the arrays lie up to 63 zeros, which every
    optimizer leaves zero. scaling: what the gradients were multiplied by, and whether they overflowed.
    """

    def __init__(
        self, layers: Iterable[Layer], xp: ModuleType, dtype: np.dtype, grad_dtype: np.dtype | None = None
    ) -> None:
        self.scaling: LossScale | None = None
        self.clip_room: ClipRoom | None = None  # where an optimizer finds the norm of all gradients
        self.layers = list({id(layer): layer for layer in layers}.values())  # each once, wherever it stands
        self._places: dict[tuple[int, str], slice] = {}
        size = 0
        for layer in self.layers:
            for name, a in layer.params.items():
                self._places[id(layer), name] = slice(size, size + a.size)
                size += -(-a.size // _ALIGN) * _ALIGN
        self.size = size
        self.params = xp.zeros(size, dtype=dtype)
        self.grads = xp.zeros(size, dtype=grad_dtype or dtype)
        for layer in self.layers:
            for name, a in layer.params.items():
                view = self.view(self.params, layer, name)
                view[...] = a
                layer.params[name] = view
        self.show_grads()

    def start(self, layer: Layer) -> int:
        """Where the first of a layer's parameters begins; the layers lie in the order of `layers`."""
        place = self._places[id(layer), next(iter(layer.params))]
        return int(place.start)

    def view(self, flat: Array, layer: Layer, name: str) -> Array:
        """The part of an array like `params` that belongs to a layer's parameter, in the parameter's shape."""
        return flat[self._places[id(layer), name]].reshape(layer.params[name].shape)

    def show_grads(self) -> None:
        """Lets every layer's `grads` be the views again, whoever put other arrays there."""
        for layer in self.layers:
            layer.grads = {name: self.view(self.grads, layer, name) for name in layer.params}

    def views_of(self, flat: Array, named: Mapping[str, Array]) -> dict[str, Array]:
        """The parts of `flat` that belong to parameters given by their public names."""
        owners = {id(a): (layer, name) for layer in self.layers for name, a in layer.params.items()}
        return {name: self.view(flat, *owners[id(a)]) for name, a in named.items()}

    def extra(self) -> dict[str, Array]:
        """By name, what a resumed run needs beside parameters and the optimizer's state: that of the loss's scale."""
        return {} if self.scaling is None else dict(self.scaling._asdict())
