"""Where a max pooling found what it kept, and the way back.

Indices of ours count through a channel, ONNX's through the whole batch.
"""

from __future__ import annotations

import math

from xpcnn.layers.unpooling import MaxPoolIndices, MaxUnpool
from xpcnn.onnx.exporters.parts import reshaped
from xpcnn.onnx.writing import Writer, exports


@exports(MaxPoolIndices)
def max_pool_indices(layer: MaxPoolIndices, writer: Writer, inputs: tuple[str, ...]) -> str:
    sizes = writer.arriving[0][1:]
    windows = layer.windows(len(sizes))
    places = writer.node(
        "MaxPool",
        *inputs,
        output=1,
        kernel_shape=windows.window,
        strides=windows.stride,
        pads=windows.grown(sizes),
        dilations=windows.dilation,
        storage_order=int(layer.column_major),
    )
    return writer.node("Mod", places, writer.whole(math.prod(sizes)))


@exports(MaxUnpool)
def max_unpool(layer: MaxUnpool, writer: Writer, inputs: tuple[str, ...]) -> str:
    C, *pooled = writer.arriving[0]
    sizes = layer.unpooled(pooled)
    x, places = (reshaped(writer, name, (C, -1)) for name in inputs)
    N = writer.node("Gather", writer.node("Shape", x), writer.whole([0], "first"), axis=0)
    shape = writer.node("Concat", N, writer.whole((C, math.prod(sizes))), axis=0)
    zeros = writer.node("Expand", writer.number(0.0, "zero"), shape)
    return reshaped(writer, writer.node("ScatterElements", zeros, places, x, axis=2), (C, *sizes))
