"""Normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.layers.normalization import BatchNormalization, LocalResponseNormalization
from xpcnn.layers.normalization_groups import (
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    RMSNormalization,
)
from xpcnn.onnx.call import Applied, Call, Known, Translated, operator
from xpcnn.onnx.function import Function
from xpcnn.ops import reference


def _parameter(call: Call, i: int) -> Array:
    """Input i in the dtype of the first. ONNX lets the parameters be of another."""
    a = call.parameter(i)
    if a is None:
        raise call.unsupported(f"its input {i} is missing")
    return a.astype(call.dtype(0), copy=False)


# --------------------------------------------------------------------------------------------------- over the batch
@operator("BatchNormalization", 1, 6, 7, 9, 14, 15)
def batch_normalization(call: Call) -> Translated:
    if not call.attribute("spatial", 1):
        raise call.unsupported("spatial=0, statistics for each place, which ONNX has given up")
    gamma, beta, mean, var = (_parameter(call, i) for i in (1, 2, 3, 4))
    momentum, eps = call.attribute("momentum", 0.9), call.attribute("epsilon", 1e-5)
    if call.version >= 14 and call.attribute("training_mode", 0):
        call.need_program("it normalises by the batch's own statistics")
        layer = BatchNormalization(gamma, beta, momentum, mean, var, eps, running=False)
        return [call.apply(layer), *(_moved(call, momentum, i) for i in (1, 2) if call.wants(i))]
    if any(call.wants(i) for i in range(1, 5)):
        raise call.unsupported("training by this version's outputs; export the model for inference")
    return call.apply(BatchNormalization(gamma, beta, momentum, mean, var, eps))


def _moved(call: Call, momentum: float, output: int) -> Applied:
    """The running mean (1) or variance (2) after this batch."""

    def follow(xp: Any, x: Array, running: Array) -> Array:
        batch = reference.batch_statistics(x)[output - 1]
        return (running * momentum + batch * (1.0 - momentum)).astype(running.dtype)

    return call.apply(Function(follow, 2, "BatchNormalization in training"), 0, 2 + output, output=output)


# ------------------------------------------------------------------------------------------------ each sample alone
@operator("InstanceNormalization", 1, 6, 22)
def instance_normalization(call: Call) -> Translated:
    return call.apply(InstanceNormalization(_parameter(call, 1), _parameter(call, 2), call.attribute("epsilon", 1e-5)))


@operator("GroupNormalization", 18, 21)
def group_normalization(call: Call) -> Translated:
    gamma, beta, groups = _parameter(call, 1), _parameter(call, 2), call.attribute("num_groups")
    if call.version < 21:  # one for each group; later for each channel
        xp, many = get_array_module(gamma, beta), call.shape(0)[1] // groups
        gamma, beta = xp.repeat(gamma, many), xp.repeat(beta, many)
    return call.apply(GroupNormalization(gamma, beta, groups, call.attribute("epsilon", 1e-5)))


@operator("LayerNormalization", 17)
def layer_normalization(call: Call) -> Translated:
    axis, eps = _axis_of_samples(call), call.attribute("epsilon", 1e-5)
    beta = _of_samples(call, 2) if call.has(2) else None
    items: list[Applied | Known] = [call.apply(LayerNormalization(_of_samples(call, 1), beta, axis, eps))]
    for output, part in ((1, 2), (2, 1)):
        if call.wants(output):
            call.need_program("its statistics are asked for")
            items.append(call.apply(Function(_statistic(axis, eps, part), 1, "LayerNormalization"), output=output))
    return items


def _statistic(axis: int, eps: float, part: int) -> Any:
    def take(xp: Any, x: Array) -> Array:
        stashed = x.astype(np.float32) if x.dtype == np.float16 else x
        return reference.standardize(stashed, tuple(range(axis, x.ndim)), eps)[part]

    return take


@operator("RMSNormalization", 23)
def rms_normalization(call: Call) -> Translated:
    axis = _axis_of_samples(call)
    return call.apply(RMSNormalization(_of_samples(call, 1), axis, call.attribute("epsilon", 1e-5)))


def _axis_of_samples(call: Call) -> int:
    axis = call.axis(call.attribute("axis", -1))
    if axis == 0:
        call.need_program("it normalises over the samples")
    return axis


def _of_samples(call: Call, i: int) -> Array:
    """A scale or shift that broadcasts to a sample."""
    a = _parameter(call, i)
    if a.ndim == len(call.shape(0)):
        if a.shape[0] == 1:
            return a.reshape(a.shape[1:])
        call.need_program(f"its input {call.inputs[i]!r} differs from sample to sample")
    return a


@operator("LpNormalization", 1, 22)
def lp_normalization(call: Call) -> Translated:
    axis = _axis_of_samples(call)
    return call.apply(LpNormalization(axis, call.attribute("p", 2)))


@operator("MeanVarianceNormalization", 9, 13)
def mean_variance_normalization(call: Call) -> Translated:
    axes = [call.axis(axis) for axis in call.attribute("axes", [0, 2, 3])]
    if 0 in axes:
        call.need_program("it normalises over the samples")
    return call.apply(MeanVarianceNormalization(axes))


@operator("LRN", 1, 13)
def local_response_normalization(call: Call) -> Translated:
    size = call.attribute("size")
    alpha, beta, k = call.attribute("alpha", 1e-4), call.attribute("beta", 0.75), call.attribute("bias", 1.0)
    seen = min(size, max(2, 2 * call.shape(0)[1]))  # a window twice as wide as there are channels sees them all
    return call.apply(LocalResponseNormalization(seen, alpha / size, beta, k))  # ONNX takes the mean, not the sum
