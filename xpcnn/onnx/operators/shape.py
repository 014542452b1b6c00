"""Operators that rearrange, cut, join, pad and repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn.errors import ShapeError
from xpcnn.layers.merge import Concatenate
from xpcnn.layers.rearrange import PixelShuffle, SpaceToDepth
from xpcnn.layers.shape import Flatten, Reshape, Squeeze, Transpose, Unsqueeze
from xpcnn.layers.slicing import Expand, Pad, Slice, Tile
from xpcnn.onnx.call import Applied, Call, Known, Translated, operator

_MOST = 2**16  # axes, sizes or parts


def ints(value: Any) -> list[int]:
    """The whole numbers of a 1-D (or single) array or list. Raises ShapeError for very many."""
    if np.size(value) > _MOST:
        raise ShapeError(f"{np.size(value):,} numbers, where axes or sizes are wanted")
    return [int(n) for n in np.asarray(value).reshape(-1)]


def axes_given(call: Call, inputs_from: int, i: int = 1) -> list[int] | None:
    """The axes of an operator that takes them as an attribute before opset `inputs_from`, then as input i."""
    given = call.attribute("axes") if call.version < inputs_from else call.constant(i)
    return None if given is None else ints(given)


# ----------------------------------------------------------------------------------------------------- rearranging
@operator("Reshape", 1, 5, 13, 14, 19, 21, 23, 24, 25)
def reshape(call: Call) -> Translated:
    given = call.attribute("shape") if call.version < 5 else call.constant(1)
    if given is None:
        raise call.unsupported("it says no shape")
    target, zero_copies = ints(given), not call.attribute("allowzero", 0)
    if call.batch is None:
        return call.apply(Reshape(target, whole=True, zero_copies=zero_copies))
    if not _keeps_samples(call.shape(0), target, call.batch, zero_copies):
        call.need_program(f"a reshape to {target} mixes samples")
    return call.apply(Reshape(target[1:], zero_copies=zero_copies))


def _keeps_samples(shape: Sequence[int], target: list[int], batch: int, zero_copies: bool) -> bool:
    """Whether a reshape leaves N where it is."""
    if not target:
        return False
    if target[0] == batch or (target[0] == 0 and zero_copies):
        return True
    rest = [shape[i] if n == 0 and zero_copies and i < len(shape) else n for i, n in enumerate(target)][1:]
    return target[0] == -1 and math.prod(rest) == math.prod(shape[1:])


@operator("Flatten", 1, 9, 11, 13, 21, 23, 24, 25)
def flatten(call: Call) -> Translated:
    return call.apply(Flatten(call.attribute("axis", 1)))


@operator("Transpose", 1, 13, 21, 23, 24, 25)
def transpose(call: Call) -> Translated:
    return call.apply(Transpose(call.attribute("perm")))


@operator("Squeeze", 1, 11, 13, 21, 23, 24, 25)
def squeeze(call: Call) -> Translated:
    axes = axes_given(call, 13)
    if axes is None:
        call.need_program("without axes it leaves out N, too, where N is 1")
        axes = [axis for axis, n in enumerate(call.shape(0)) if n == 1]
    return call.apply(Squeeze(axes))


@operator("Unsqueeze", 1, 11, 13, 21, 23, 24, 25)
def unsqueeze(call: Call) -> Translated:
    axes = axes_given(call, 13)
    if axes is None:
        raise call.unsupported("it says no axes")
    return call.apply(Unsqueeze(axes))


@operator("DepthToSpace", 1, 11, 13, 28)
def depth_to_space(call: Call) -> Translated:
    return call.apply(PixelShuffle(call.attribute("blocksize"), call.attribute("mode", "DCR")))


@operator("SpaceToDepth", 1, 13, 28)
def space_to_depth(call: Call) -> Translated:
    return call.apply(SpaceToDepth(call.attribute("blocksize"), call.attribute("mode", "DCR")))


# ------------------------------------------------------------------------------------------------ joining, cutting
@operator("Concat", 1, 4, 11, 13)
def concat(call: Call) -> Translated:
    return call.apply(Concatenate(call.attribute("axis", 1)), *range(len(call.inputs)))


@operator("Split", 1, 2, 11, 13, 18)
def split(call: Call) -> Translated:
    axis = call.axis(call.attribute("axis", 0))
    if axis == 0:
        call.need_program("it cuts the batch into parts")
    size, count = call.shape(0)[axis], call.attribute("num_outputs", len(call.outputs))
    given = call.constant(1) if call.version >= 13 or call.has(1) else call.attribute("split")
    if count != len(call.outputs):
        raise call.unsupported(f"num_outputs={count} for {len(call.outputs)} outputs")
    each = -(-size // count)
    widths = [min(each, max(0, size - k * each)) for k in range(count)] if given is None else ints(given)
    if sum(widths) != size or len(widths) != len(call.outputs) or min(widths) < 0:
        raise call.unsupported(f"parts of {widths} for {len(call.outputs)} outputs from an axis of {size}")
    ends = np.cumsum(widths)
    return [
        call.apply(Slice([int(end) - width], [int(end)], [axis]), output=k)
        for k, (end, width) in enumerate(zip(ends, widths, strict=True))
        if call.wants(k)
    ]


@operator("Slice", 1, 10, 11, 13)
def slice_(call: Call) -> Translated:
    if call.version < 10:
        starts, ends, axes, steps = (call.attribute(name) for name in ("starts", "ends", "axes", "steps"))
    else:
        starts, ends, axes, steps = (call.constant(i) for i in range(1, 5))
    starts, ends = ints(starts), ints(ends)
    axes = [call.axis(a) for a in (range(len(starts)) if axes is None else ints(axes))]
    steps = [1] * len(starts) if steps is None else ints(steps)
    # Where ONNX steps backwards from before the first element, it begins there; Python finds nothing.
    starts = [s if step > 0 else max(s, -call.shape(0)[a]) for s, a, step in zip(starts, axes, steps, strict=True)]
    cuts = list(zip(starts, ends, axes, steps, strict=True))
    if call.batch is not None:  # exporters write out the slice that takes all samples
        cuts = [c for c in cuts if not (c[2] == 0 and c[0] == 0 and c[1] >= call.batch and c[3] == 1)]
    return call.apply(Slice(*([cut[i] for cut in cuts] for i in range(4))))


# --------------------------------------------------------------------------------------------- padding, repeating
@operator("Pad", 1, 2, 11, 13, 18, 19, 21, 23, 24, 25)
def pad(call: Call) -> Translated:
    if call.version < 11:
        pads, value = call.attribute("paddings" if call.version < 2 else "pads"), call.attribute("value", 0.0)
    else:
        pads, value = call.constant(1), call.constant(2)
    axes = call.constant(3)
    axes = list(range(len(call.shape(0)))) if axes is None else [call.axis(a) for a in ints(axes)]
    pads = ints(pads)
    if len(pads) != 2 * len(axes):
        raise call.unsupported(f"{len(pads)} pads for {len(axes)} axes")
    pairs = list(zip(pads[: len(axes)], pads[len(axes) :], strict=True))
    number = 0.0 if value is None or np.size(value) == 0 else np.asarray(value).reshape(-1)[0].item()
    return call.apply(Pad(pairs, call.attribute("mode", "constant"), number, axes))


@operator("CenterCropPad", 18)
def center_crop_pad(call: Call) -> Translated:
    given, target = call.attribute("axes"), ints(call.constant(1))
    axes = [call.axis(a) for a in (range(len(target)) if given is None else given)]
    if call.batch is not None and 0 in axes:
        call.need_program("it crops or pads along the axis of samples")
    sizes = [call.shape(0)[axis] for axis in axes]
    starts = [max(0, size - new) // 2 for size, new in zip(sizes, target, strict=True)]
    ends = [start + min(size, new) for start, size, new in zip(starts, sizes, target, strict=True)]
    before = [max(0, new - size) // 2 for size, new in zip(sizes, target, strict=True)]
    after = [max(0, new - size) - first for size, new, first in zip(sizes, target, before, strict=True)]
    cropped = f"{call.outputs[0]}/cropped"
    return [
        Applied(Slice(starts, ends, axes), (call.inputs[0],), cropped),
        Applied(Pad(list(zip(before, after, strict=True)), axes=axes), (cropped,), call.outputs[0]),
    ]


@operator("Expand", 8, 13)
def expand(call: Call) -> Translated:
    target = ints(call.constant(1))
    if call.batch is not None and len(target) == len(call.shape(0)) and target[0] == call.batch:
        target[0] = 1
    return call.apply(Expand(target))


@operator("Tile", 1, 6, 13)
def tile(call: Call) -> Translated:
    if call.version >= 6:
        return call.apply(Tile(ints(call.constant(1))))
    repeats = [1] * len(call.shape(0))
    repeats[call.axis(ints(call.constant(2))[0])] = ints(call.constant(1))[0]
    return call.apply(Tile(repeats))


# ---------------------------------------------------------------------------------------------------------- telling
@operator("Shape", 1, 13, 15, 19, 21, 23, 24, 25)
def shape(call: Call) -> Translated:
    part = call.shape(0)[call.attribute("start", 0) : call.attribute("end")]
    return Known(np.array(part, dtype=np.int64), call.outputs[0])


@operator("Size", 1, 13, 19, 21, 23, 24, 25)
def size(call: Call) -> Translated:
    return Known(np.array(math.prod(call.shape(0)), dtype=np.int64), call.outputs[0])
