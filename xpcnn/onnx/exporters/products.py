"""Convolutions of every kind, affine layers and matrix products."""

from __future__ import annotations

from xpcnn.layers.affine import Affine
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.convolution_nd import ConvolutionND
from xpcnn.layers.matmul import MatMul, Projection
from xpcnn.layers.transposed import TransposedConvolution
from xpcnn.onnx.writing import Writer, exports


@exports(Convolution)
@exports(ConvolutionND)
def convolution(layer: Convolution | ConvolutionND, writer: Writer, inputs: tuple[str, ...]) -> str:
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


@exports(TransposedConvolution)
def transposed_convolution(layer: TransposedConvolution, writer: Writer, inputs: tuple[str, ...]) -> str:
    names = [writer.parameter(name, a) for name, a in layer.params.items()]
    return writer.node(
        "ConvTranspose",
        *inputs,
        *names,
        kernel_shape=layer.params["W"].shape[2:],
        strides=layer.stride,
        pads=layer.pad,
        output_padding=layer.output_pad,
        dilations=layer.dilation,
        group=layer.groups,
    )


@exports(MatMul)
def matmul(layer: MatMul, writer: Writer, inputs: tuple[str, ...]) -> str:
    return writer.node("MatMul", *inputs)


@exports(Projection)
def projection(layer: Projection, writer: Writer, inputs: tuple[str, ...]) -> str:
    W = writer.parameter("W", layer.params["W"])
    return writer.node("MatMul", *((W, *inputs) if layer.left else (*inputs, W)))
