"""Poolings of every kind, and unpooling."""

from __future__ import annotations

from typing import Any

from xpcnn.layers.base import Layer
from xpcnn.layers.pooling import GlobalPooling
from xpcnn.layers.pooling_nd import PoolingND, fitted_pooling
from xpcnn.layers.slicing import Pad
from xpcnn.layers.unpooling import MaxPoolIndices, MaxUnpool
from xpcnn.onnx.call import Applied, Call, Translated, operator
from xpcnn.ops.windows import auto_pads

__all__: list[str] = []


def _windows(call: Call) -> dict[str, Any]:
    """The attributes that all poolings share, as arguments of `PoolingND`."""
    window = call.attribute("kernel_shape")
    ones = [1] * len(window)
    stride, dilation = call.attribute("strides") or ones, call.attribute("dilations") or ones
    kind = call.attribute("auto_pad") or "NOTSET"
    pads = call.attribute("pads") or [0] * (2 * len(window))
    if kind == "VALID":
        pads = [0] * (2 * len(window))
    elif kind != "NOTSET":
        pads = auto_pads(kind, call.shape(0)[2:], window, stride, dilation)
    ceil = bool(call.attribute("ceil_mode", 0))
    return {"size": window, "stride": stride, "pad": pads, "dilation": dilation, "ceil": ceil}


def _pooling(call: Call, **how: Any) -> Layer:
    """In a Network the faster `Pooling` where it does the same; in a Program whole numbers are pooled too."""
    if call.batch is None:
        return PoolingND(**_windows(call), **how)
    return fitted_pooling(call.shape(0)[1:], **_windows(call), **how)


@operator("MaxPool", 1, 8, 10, 11, 12, 22)
def max_pool(call: Call) -> Translated:
    made: list[Any] = []
    if call.wants(0):
        made.append(call.apply(_pooling(call)))
    if call.wants(1):
        call.need_program("places in a batch are whole numbers")
        order = bool(call.attribute("storage_order", 0))
        made.append(call.apply(MaxPoolIndices(**_windows(call), column_major=order, whole=True), output=1))
    return made


@operator("AveragePool", 1, 7, 10, 11, 19, 22)
def average_pool(call: Call) -> Translated:
    return call.apply(_pooling(call, mode="average", count_pad=bool(call.attribute("count_include_pad", 0))))


@operator("LpPool", 2, 11, 18, 22)
def lp_pool(call: Call) -> Translated:
    return call.apply(_pooling(call, mode="lp", p=call.attribute("p", 2)))


@operator("GlobalAveragePool", 1, 22)
def global_average_pool(call: Call) -> Translated:
    return call.apply(GlobalPooling("average"))


@operator("GlobalMaxPool", 1, 22)
def global_max_pool(call: Call) -> Translated:
    return call.apply(GlobalPooling("max"))


@operator("GlobalLpPool", 2, 22)
def global_lp_pool(call: Call) -> Translated:
    return call.apply(GlobalPooling("lp", p=call.attribute("p", 2)))


@operator("MaxUnpool", 9, 11, 22)
def max_unpool(call: Call) -> Translated:
    call.need_program("places in a batch are whole numbers")
    window = call.attribute("kernel_shape")
    stride = call.attribute("strides") or [1] * len(window)
    layer = MaxUnpool(window, stride, call.attribute("pads") or 0, whole=True)
    wanted = call.constant(2)
    if wanted is None:
        return Applied(layer, call.inputs[:2], call.outputs[0])
    # Places are counted in the array that the windows make; what more is asked for are zeros at its end.
    pads = [(0, int(w) - s) for w, s in zip(wanted[2:], layer.unpooled(call.shape(0)[2:]), strict=True)]
    if any(more < 0 for _, more in pads):
        raise call.unsupported(f"an output_shape {wanted.tolist()} smaller than what its windows cover")
    part = f"{call.outputs[0]}/part"
    return [Applied(layer, call.inputs[:2], part), Applied(Pad(pads), (part,), call.outputs[0])]
