"""Layers, as classes over arrays (`Convolution(W, b)`) and as specs for networks (`conv(32, 3, pad=1)`)."""

from xpcnn.layers.activation import Elu, LeakyRelu, LogSoftmax, Relu, Sigmoid, Softmax, Tanh
from xpcnn.layers.activation_pieces import Clip, HardSigmoid, HardSwish, PRelu, Shrink, ThresholdedRelu
from xpcnn.layers.activation_smooth import Celu, Gelu, Mish, Selu, Silu, Softplus, Softsign
from xpcnn.layers.affine import Affine
from xpcnn.layers.arithmetic import Divide, Multiply, Subtract, WithConstant
from xpcnn.layers.base import Context, Layer
from xpcnn.layers.broadcast import Average, Beside, Maximum, Minimum, Power
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.convolution_nd import Convolution1D, Convolution3D, ConvolutionND
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.elementwise import (
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Erf,
    Exp,
    Floor,
    Identity,
    Log,
    Neg,
    Reciprocal,
    Round,
    Sign,
    Sin,
    Sinh,
    Sqrt,
    Tan,
)
from xpcnn.layers.loss import Loss, NegativeLogLikelihood, SoftmaxWithLoss
from xpcnn.layers.loss_more import BinaryCrossEntropyWithLogits, MeanSquaredError
from xpcnn.layers.matmul import Gemm, MatMul, Projection
from xpcnn.layers.merge import Add, Concatenate
from xpcnn.layers.normalization import BatchNormalization, LocalResponseNormalization
from xpcnn.layers.normalization_groups import (
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    RMSNormalization,
)
from xpcnn.layers.pooling import GlobalAveragePooling, GlobalPooling, Pooling
from xpcnn.layers.pooling_nd import AdaptiveAveragePooling, PoolingND
from xpcnn.layers.rearrange import ChannelShuffle, PixelShuffle, SpaceToDepth
from xpcnn.layers.reduction import Reduce
from xpcnn.layers.resize import Resize, ResizeWay
from xpcnn.layers.shape import Flatten, Reshape, Squeeze, Transpose, Unsqueeze
from xpcnn.layers.slicing import Expand, Pad, Slice, Take, Tile
from xpcnn.layers.spec import Spec, affine, average_pool, batch_norm, conv, dropout, lrn, max_pool
from xpcnn.layers.spec_activation import prelu
from xpcnn.layers.spec_convolution import conv1d, conv3d, conv_transpose, depthwise_conv
from xpcnn.layers.spec_normalization import group_norm, instance_norm, layer_norm, rms_norm
from xpcnn.layers.spec_pooling import adaptive_average_pool, global_max_pool, lp_pool
from xpcnn.layers.spec_shape import channel_shuffle, pad, pixel_shuffle, reduce, reshape, transpose, upsample
from xpcnn.layers.transposed import TransposedConvolution
from xpcnn.layers.unpooling import MaxPoolIndices, MaxUnpool

__all__ = [
    "Abs",
    "Acos",
    "Acosh",
    "AdaptiveAveragePooling",
    "Add",
    "Affine",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Average",
    "BatchNormalization",
    "Beside",
    "BinaryCrossEntropyWithLogits",
    "Ceil",
    "Celu",
    "ChannelShuffle",
    "Clip",
    "Concatenate",
    "Context",
    "Convolution",
    "Convolution1D",
    "Convolution3D",
    "ConvolutionND",
    "Cos",
    "Cosh",
    "Divide",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gelu",
    "Gemm",
    "GlobalAveragePooling",
    "GlobalPooling",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "Layer",
    "LayerNormalization",
    "LeakyRelu",
    "LocalResponseNormalization",
    "Log",
    "LogSoftmax",
    "Loss",
    "LpNormalization",
    "MatMul",
    "MaxPoolIndices",
    "MaxUnpool",
    "Maximum",
    "MeanSquaredError",
    "MeanVarianceNormalization",
    "Minimum",
    "Mish",
    "Multiply",
    "Neg",
    "NegativeLogLikelihood",
    "PRelu",
    "Pad",
    "PixelShuffle",
    "Pooling",
    "PoolingND",
    "Power",
    "Projection",
    "RMSNormalization",
    "Reciprocal",
    "Reduce",
    "Relu",
    "Reshape",
    "Resize",
    "ResizeWay",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Silu",
    "Sin",
    "Sinh",
    "Slice",
    "Softmax",
    "SoftmaxWithLoss",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Spec",
    "Sqrt",
    "Squeeze",
    "Subtract",
    "Take",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Tile",
    "Transpose",
    "TransposedConvolution",
    "Unsqueeze",
    "WithConstant",
    "adaptive_average_pool",
    "affine",
    "average_pool",
    "batch_norm",
    "channel_shuffle",
    "conv",
    "conv1d",
    "conv3d",
    "conv_transpose",
    "depthwise_conv",
    "dropout",
    "global_max_pool",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "lp_pool",
    "lrn",
    "max_pool",
    "pad",
    "pixel_shuffle",
    "prelu",
    "reduce",
    "reshape",
    "rms_norm",
    "transpose",
    "upsample",
]
