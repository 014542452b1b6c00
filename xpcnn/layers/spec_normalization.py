"""Normalisations of each sample by itself, before their input's shape is known."""

from __future__ import annotations

from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.normalization_groups import (
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    RMSNormalization,
    own_axis,
)
from xpcnn.layers.spec import WORDS, Maker, Spec, remembered
from xpcnn.ops.geometry import whole

__all__ = ["group_norm", "instance_norm", "layer_norm", "rms_norm"]


def _normalized(shape: Shape, axis: int) -> Shape:
    """The shape of the axes from `axis` of the whole array on."""
    return shape[own_axis(axis, shape) - 1 :]


@remembered
def layer_norm(axis: int = 1, eps: float = 1e-5) -> Spec:
    """A LayerNormalization over the axes from `axis` of the whole array on; 1 takes all of a sample, -1 its last."""

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        shape = _normalized(shapes[0], axis)
        return LayerNormalization(make.constant(shape, 1.0), make.constant(shape, 0.0), axis, eps)

    return Spec("norm", build)


@remembered
def rms_norm(axis: int = 1, eps: float = 1e-5) -> Spec:
    """An RMSNormalization over the axes from `axis` of the whole array on; 1 takes all of a sample, -1 its last."""

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        return RMSNormalization(make.constant(_normalized(shapes[0], axis), 1.0), axis, eps)

    return Spec("norm", build)


@remembered
def group_norm(groups: int, eps: float = 1e-5) -> Spec:
    """A GroupNormalization of as many channels as arrive, in `groups` groups."""
    groups = whole(groups, "the number of groups")

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        C = shapes[0][:1]
        return GroupNormalization(make.constant(C, 1.0), make.constant(C, 0.0), groups, eps)

    return Spec("norm", build)


@remembered
def instance_norm(eps: float = 1e-5) -> Spec:
    """An InstanceNormalization of as many channels as arrive."""

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        C = shapes[0][:1]
        return InstanceNormalization(make.constant(C, 1.0), make.constant(C, 0.0), eps)

    return Spec("norm", build)


WORDS.update({"instance_norm": instance_norm, "layer_norm": layer_norm, "rms_norm": rms_norm})
