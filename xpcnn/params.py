"""A network's arrays by their public names: a live view, and matching a file's arrays against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

import numpy as np

from xpcnn.device import Array
from xpcnn.errors import CheckpointError, ShapeError
from xpcnn.flat import FlatArrays
from xpcnn.formats.limits import one_line
from xpcnn.graph import Node
from xpcnn.layers.base import Layer

__all__ = ["ArrayView", "book_names", "each_layer", "layer_names", "match_arrays", "state_names"]

Place = tuple[Layer, str]

_MOST_EXTRA = 1000  # names of a file that a message lists


def each_layer(nodes: Mapping[str, Node]) -> dict[str, Layer]:
    """Every layer once, by its first node's name: a layer at two nodes has one set of parameters."""
    first: dict[int, str] = {}
    for name, node in nodes.items():
        first.setdefault(id(node.layer), name)
    return {name: nodes[name].layer for name in first.values()}


def layer_names(nodes: Mapping[str, Node]) -> dict[str, Place]:
    """Parameters called "layer.parameter", such as "conv1.W"."""
    return {f"{name}.{p}": (layer, p) for name, layer in each_layer(nodes).items() for p in layer.params}


def state_names(nodes: Mapping[str, Node]) -> dict[str, Place]:
    """Running statistics called "layer.statistic", such as "norm1.running_mean"."""
    return {f"{name}.{s}": (layer, s) for name, layer in each_layer(nodes).items() for s in layer.state}


def book_names(nodes: Mapping[str, Node]) -> dict[str, Place]:
    """Parameters called as in the book: W1, b1, W2, b2, ... in the order of the layers."""
    places: dict[str, Place] = {}
    counts: dict[str, int] = {}
    for layer in each_layer(nodes).values():
        for p in layer.params:
            counts[p] = counts.get(p, 0) + 1
            places[f"{p}{counts[p]}"] = (layer, p)
    return places


class ArrayView(MutableMapping[str, Array]):
    """A network's parameters, or their gradients or running statistics, as one live dictionary.

    Reading gives the array that the layer itself uses; writing puts another of the same shape in its place, cast to
    its dtype. Names can be neither added nor removed. `attribute`: "params", "grads" or "state".
    flat: the one array that all of them are views of, where an executor has put them there.
    """

    def __init__(self, places: Mapping[str, Place], attribute: str, flat: FlatArrays | None = None) -> None:
        self._places = places
        self._attribute = attribute
        self.flat = flat

    def _arrays(self, layer: Layer) -> dict[str, Array]:
        arrays: dict[str, Array] = getattr(layer, self._attribute)
        return arrays

    def __getitem__(self, name: str) -> Array:
        layer, local = self._places[name]
        arrays = self._arrays(layer)
        if local not in arrays:
            raise KeyError(f"{name!r} has no gradient yet; call gradient first")
        return arrays[local]

    def __setitem__(self, name: str, value: Array) -> None:
        if name not in self._places:
            raise KeyError(f"{name!r} is not one of {', '.join(self._places)}")
        mine = self[name]
        if np.shape(value) != mine.shape:
            raise ShapeError(f"{name!r} has shape {mine.shape}, got an array of shape {np.shape(value)}")
        mine[...] = value  # in place: optimizers and layers hold the same array

    def __delitem__(self, name: str) -> None:
        raise TypeError("a network's parameters cannot be removed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        words = {name: "not yet" if (a := self.get(name)) is None else f"{a.dtype}{a.shape}" for name in self}
        return "{" + ", ".join(f"{name!r}: {word}" for name, word in words.items()) + "}"


def _overflows(a: np.ndarray, dtype: np.dtype) -> bool:
    """Whether finite numbers of `a` would become infinite in `dtype`."""
    if a.dtype.kind not in "fiu" or np.can_cast(a.dtype, dtype) or not a.size:
        return False
    most = float(np.finfo(dtype).max)
    # NaN and infinity are what they are in any dtype.
    return bool((np.isfinite(a) & ((a > most) | (a < -most))).any())


def match_arrays(
    wanted: Mapping[str, Array], found: Mapping[str, np.ndarray], source: object, partial: bool = False
) -> dict[str, np.ndarray]:
    """Those of `found` that fit `wanted` by name and shape.

    Raises CheckpointError listing every name that is missing, extra or misshapen; partial lets names be missing or
    extra, but never misshapen.
    """
    faults = [
        f"{name}: the network has {wanted[name].shape}, the file {found[name].shape}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    faults += [
        f"{name}: the file holds {found[name].dtype}, not numbers"
        for name in wanted
        if name in found and found[name].dtype.kind not in "fiu"
    ]
    faults += [
        f"{name}: the file holds numbers beyond those of {wanted[name].dtype}"
        for name in wanted
        if name in found and _overflows(found[name], wanted[name].dtype)
    ]
    if not partial:
        faults += [f"{name}: missing in the file" for name in wanted if name not in found]
        extra = [name for name in found if name not in wanted]
        faults += [f"{one_line(name)}: not in the network" for name in extra[:_MOST_EXTRA]]
        faults += [f"and {len(extra) - _MOST_EXTRA:,} more"] if len(extra) > _MOST_EXTRA else []
    if faults:
        raise CheckpointError(f"{source} does not fit this network:\n  " + "\n  ".join(faults))
    return {name: found[name] for name in wanted if name in found}
