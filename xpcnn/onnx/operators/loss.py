"""Losses as operators: the labels are an input of the model."""

from __future__ import annotations

from xpcnn.layers.activation import LogSoftmax
from xpcnn.layers.class_loss import ClassLosses
from xpcnn.onnx.call import Applied, Call, Known, Translated, operator


def _losses(call: Call, source: str) -> Applied:
    """The loss of log-probabilities by the name of `source`."""
    layer = ClassLosses(call.attribute("reduction", "mean"), call.attribute("ignore_index"))
    return Applied(layer, (source, *call.inputs[1 : 3 if call.has(2) else 2]), call.outputs[0])


@operator("NegativeLogLikelihoodLoss", 12, 13, 22)
def negative_log_likelihood_loss(call: Call) -> Translated:
    call.need_program("its labels are an input of the model")
    return _losses(call, call.inputs[0])


@operator("SoftmaxCrossEntropyLoss", 12, 13)
def softmax_cross_entropy_loss(call: Call) -> Translated:
    call.need_program("its labels are an input of the model")
    log_p = call.outputs[1] if call.wants(1) else f"{call.outputs[0]}/log_p"
    items: list[Applied | Known] = [Applied(LogSoftmax(axis=1), call.inputs[:1], log_p)]
    return [*items, _losses(call, log_p)]
