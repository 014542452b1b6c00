"""Convolutions and affine layers."""

from __future__ import annotations

from xpcnn.layers.affine import Affine
from xpcnn.layers.convolution import Convolution
from xpcnn.onnx.writing import Writer, exports


@exports(Convolution)
def convolution(layer: Convolution, writer: Writer, inputs: tuple[str, ...]) -> str:
    names = [writer.parameter(name, a) for name, a in layer.params.items()]
    return writer.node(
        "Conv",
        *inputs,
        *names,
        kernel_shape=layer.params["W"].shape[2:],
        strides=layer.stride,
        pads=layer.pad,
        dilations=layer.dilation,
        group=layer.groups,
    )


@exports(Affine)
def affine(layer: Affine, writer: Writer, inputs: tuple[str, ...]) -> str:
    (x,) = inputs
    if len(writer.arriving[0]) > 1:
        x = writer.node("Flatten", x, axis=1)
    return writer.node("Gemm", x, *(writer.parameter(name, a) for name, a in layer.params.items()))
