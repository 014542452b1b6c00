"""Layers, as classes over arrays (`Convolution(W, b)`) and as specs for networks (`conv(32, 3, pad=1)`)."""

from xpcnn.layers.activation import Elu, LeakyRelu, LogSoftmax, Relu, Sigmoid, Softmax, Tanh
from xpcnn.layers.affine import Affine
from xpcnn.layers.base import Context, Layer
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.layers.merge import Add, Concatenate
from xpcnn.layers.normalization import BatchNormalization, LocalResponseNormalization
from xpcnn.layers.pooling import GlobalAveragePooling, Pooling
from xpcnn.layers.shape import Flatten
from xpcnn.layers.spec import Spec, affine, average_pool, batch_norm, conv, dropout, lrn, max_pool

__all__ = [
    "Add",
    "Affine",
    "BatchNormalization",
    "Concatenate",
    "Context",
    "Convolution",
    "Dropout",
    "Elu",
    "Flatten",
    "GlobalAveragePooling",
    "Layer",
    "LeakyRelu",
    "LocalResponseNormalization",
    "LogSoftmax",
    "Pooling",
    "Relu",
    "Sigmoid",
    "Softmax",
    "SoftmaxWithLoss",
    "Spec",
    "Tanh",
    "affine",
    "average_pool",
    "batch_norm",
    "conv",
    "dropout",
    "lrn",
    "max_pool",
]
