"""Layers that rearrange, cut, join, pad and repeat."""

from __future__ import annotations

from xpcnn.errors import ConfigError
from xpcnn.layers.merge import Concatenate
from xpcnn.layers.rearrange import ChannelShuffle, PixelShuffle, SpaceToDepth
from xpcnn.layers.shape import Flatten, Reshape, Squeeze, Transpose, Unsqueeze, axes_of
from xpcnn.layers.slicing import Expand, Pad, Slice, Take, Tile
from xpcnn.onnx.exporters.parts import reshaped
from xpcnn.onnx.writing import Writer, exports
from xpcnn.ops import reference


@exports(Flatten)
def flatten(layer: Flatten, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Flatten", *inputs, axis=1)


@exports(Reshape)
def reshape(layer: Reshape, writer: Writer, inputs: tuple[str, ...]) -> str:
    shape = layer.output_shape(*writer.arriving)
    if 0 in shape:
        raise ConfigError(f"layer {writer.layer!r}: samples without elements, of shape {shape}, are not written")
    return reshaped(writer, inputs[0], shape)


@exports(Transpose)
def transpose(layer: Transpose, writer: Writer, inputs: tuple[str, ...]) -> str:
    rank = len(writer.arriving[0]) + 1
    order = range(rank)[::-1] if layer.perm is None else axes_of(layer.perm, rank)
    return writer.node("Transpose", *inputs, perm=tuple(order))


@exports(Squeeze)
def squeeze(layer: Squeeze, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Squeeze", *inputs, writer.whole(layer.axes, "axes")) if layer.axes else inputs[0]


@exports(Unsqueeze)
def unsqueeze(layer: Unsqueeze, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Unsqueeze", *inputs, writer.whole(layer.axes, "axes")) if layer.axes else inputs[0]


@exports(Concatenate)
def concatenate(layer: Concatenate, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Concat", *inputs, axis=layer.axis)


@exports(Slice)
def slice_(layer: Slice, writer: Writer, inputs: tuple[str, ...]) -> str:
    if not layer.axes:
        return inputs[0]
    parts = {"starts": layer.starts, "ends": layer.ends, "axes": layer.axes, "steps": layer.steps}
    return writer.node("Slice", *inputs, *(writer.whole(values, name) for name, values in parts.items()))


@exports(Take)
def take(layer: Take, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Gather", *inputs, writer.whole(layer.indices, "indices"), axis=layer.axis)


@exports(Pad)
def pad(layer: Pad, writer: Writer, inputs: tuple[str, ...]) -> str:
    (x,), shape = inputs, (1, *writer.arriving[0])
    pads = [(0, 0)] * len(shape)
    for axis, both in zip(axes_of(layer.axes, len(shape)), layer.pads, strict=True):
        pads[axis] = both
    if layer.mode == "constant" or _as_operator(layer.mode, writer.opset, shape, pads):
        before, after = zip(*pads, strict=True)
        value = [writer.number(layer.value, "value")] if layer.mode == "constant" else []
        return writer.node("Pad", x, writer.whole((*before, *after), "pads"), *value, mode=layer.mode)
    for axis, (first, last) in enumerate(pads):
        if first or last:
            places = reference.padded_places(shape[axis], first, last, layer.mode)
            x = writer.node("Gather", x, writer.whole(places, "places"), axis=axis)
    return x


def _as_operator(mode: str, opset: int, shape: tuple[int, ...], pads: list[tuple[int, int]]) -> bool:
    """Whether Pad does it in this mode: "wrap" is new, and not every runtime cuts off or goes round more than once."""
    usual = all(0 <= n < size for size, both in zip(shape[1:], pads[1:], strict=True) for n in both)
    return usual and (mode != "wrap" or opset >= 19)


@exports(Expand)
def expand(layer: Expand, writer: Writer, inputs: tuple[str, ...]) -> str:
    shape = layer.output_shape(*writer.arriving)
    return writer.node("Expand", *inputs, writer.whole((1, *shape), "shape"))


@exports(Tile)
def tile(layer: Tile, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("Tile", *inputs, writer.whole(layer.repeats, "repeats"))


# -------------------------------------------------------------------------------------------- channels and pixels
@exports(ChannelShuffle)
def channel_shuffle(layer: ChannelShuffle, writer: Writer, inputs: tuple[str, ...]) -> str:
    C, *places = writer.arriving[0]
    groups = reshaped(writer, inputs[0], (layer.groups, C // layer.groups, *places))
    dealt = writer.node("Transpose", groups, perm=(0, 2, 1, *range(3, 3 + len(places))))
    return reshaped(writer, dealt, (C, *places))


@exports(PixelShuffle)
def pixel_shuffle(layer: PixelShuffle, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("DepthToSpace", *inputs, blocksize=layer.r, mode=layer.mode)


@exports(SpaceToDepth)
def space_to_depth(layer: SpaceToDepth, writer: Writer, inputs: tuple[str, ...]) -> str:
    if layer.mode == "DCR":
        return writer.node("SpaceToDepth", *inputs, blocksize=layer.r)
    (C, H, W), r = writer.arriving[0], layer.r
    blocks = reshaped(writer, inputs[0], (C, H // r, r, W // r, r))
    return reshaped(writer, writer.node("Transpose", blocks, perm=(0, 1, 3, 5, 2, 4)), (C * r * r, H // r, W // r))
