"""Normalisation over batches and channels, as it is at test time."""

from __future__ import annotations

import math
from typing import Any

from xpcnn.layers.normalization import BatchNormalization, LocalResponseNormalization
from xpcnn.onnx.exporters.parts import reshaped
from xpcnn.onnx.writing import Writer, exports


@exports(BatchNormalization)
def batch_norm(layer: BatchNormalization, writer: Writer, inputs: tuple[str, ...]) -> str:
    arrays = {**layer.params, **layer.state}
    names = [writer.parameter(name, arrays[name]) for name in ("gamma", "beta", "running_mean", "running_var")]
    return writer.node("BatchNormalization", *inputs, *names, epsilon=layer.eps, momentum=layer.momentum)


@exports(LocalResponseNormalization)
def local_response(layer: LocalResponseNormalization, writer: Writer, inputs: tuple[str, ...]) -> str:
    (x,), shape = inputs, writer.arriving[0]
    # ONNX divides alpha by the number of channels looked at; the paper, and this layer, do not.
    how: dict[str, Any] = {"size": layer.size, "alpha": layer.alpha * layer.size, "beta": layer.beta, "bias": layer.k}
    if len(shape) == 3:
        return writer.node("LRN", x, **how)
    # onnxruntime knows it for pictures only.
    picture = reshaped(writer, x, (shape[0], math.prod(shape[1:]), 1))
    return reshaped(writer, writer.node("LRN", picture, **how), shape)
