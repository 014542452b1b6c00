"""One small network for every public layer: what stands between a convolution and an affine layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn import layers
from xpcnn.layers import Layer, WithConstant, reshape

Make = Callable[..., Any]  # make(*shape): numbers of 0.5..1.5
Middle = Callable[[Make], list[Any]]  # entries after the layer "c", which gives SHAPE

SHAPE = (4, 4, 4)
NO_PART_OF_A_NETWORK = {layers.Gemm}  # it multiplies whole arrays


def _alone(build: Callable[[], Layer]) -> Middle:
    return lambda make: [build()]


def _squashed(build: Callable[[], Layer]) -> Middle:
    """Numbers of 0..1 arrive, for functions that want them so."""
    return lambda make: ["sigmoid", build()]


def _two(build: Callable[[], Layer]) -> Middle:
    """With a second branch, whose numbers lie within 0..1, and of which one channel is broadcast."""
    return lambda make: [
        ("s", "sigmoid"),
        ("one", layers.Slice([1], [2], [1])),
        ("b", build(), ("s", "one")),
    ]


def _above_one(make: Make) -> list[Any]:
    return ["sigmoid", WithConstant("add", make(4, 1, 1) + 1.0), layers.Acosh()]


def _unpooled(make: Make) -> list[Any]:
    return [
        ("p", layers.PoolingND(2, 2)),
        ("i", layers.MaxPoolIndices(2, 2), "c"),
        ("u", layers.MaxUnpool(2, 2), ("p", "i")),
    ]


# Each given layer belongs to one network, so each network gets its own.
LEARNING: dict[str, Middle] = {
    "prelu": lambda make: [layers.PRelu(make(4, 1, 1))],
    "with constant": lambda make: [
        WithConstant("multiply", make(1, 4)),
        "sigmoid",
        WithConstant("divide", make(4, 1, 1), left=True),
    ],
    "affine": lambda make: [layers.Affine(make(64, 5), make(5))],
    "projection": lambda make: [layers.Projection(make(4, 5)), layers.Projection(make(3, 4), left=True)],
    "convolution": lambda make: [layers.Convolution(make(4, 2, 3, 3), make(4), pad=1, groups=2)],
    "convolution, 1 axis": lambda make: [reshape(4, 16), layers.Convolution1D(make(4, 2, 3), make(4), 2, groups=2)],
    "convolution, 2 axes": lambda make: [layers.ConvolutionND(make(3, 4, 2, 3), None, pad=1)],
    "convolution, 3 axes": lambda make: [reshape(4, 2, 2, 4), layers.Convolution3D(make(3, 4, 1, 2, 2), make(3))],
    "transposed convolution": lambda make: [layers.TransposedConvolution(make(4, 2, 3, 2), make(2), 2, 1)],
    "batch normalization": lambda make: [layers.BatchNormalization(make(4), make(4))],
    "group normalization": lambda make: [layers.GroupNormalization(make(4), make(4), 2)],
    "instance normalization": lambda make: [layers.InstanceNormalization(make(4), make(4))],
    "layer normalization": lambda make: [layers.LayerNormalization(make(4, 4, 4), make(4, 1, 1))],
    "layer normalization, no beta": lambda make: [layers.LayerNormalization(make(4), axis=-1)],
    "rms normalization": lambda make: [layers.RMSNormalization(make(4, 4), axis=2)],
}
MIDDLES: dict[str, Middle] = {
    **LEARNING,
    # activations and mathematics of one element
    "relu": _alone(layers.Relu),
    "leaky relu": _alone(layers.LeakyRelu),
    "elu": _alone(layers.Elu),
    "sigmoid": _alone(layers.Sigmoid),
    "tanh": _alone(layers.Tanh),
    "softmax": _alone(lambda: layers.Softmax(1)),
    "log softmax": _alone(layers.LogSoftmax),
    "celu": _alone(layers.Celu),
    "gelu": _alone(layers.Gelu),
    "mish": _alone(layers.Mish),
    "selu": _alone(layers.Selu),
    "silu": _alone(layers.Silu),
    "softplus": _alone(layers.Softplus),
    "softsign": _alone(layers.Softsign),
    "clip": _alone(lambda: layers.Clip(-0.5, 0.5)),
    "hard sigmoid": _alone(layers.HardSigmoid),
    "hard swish": _alone(layers.HardSwish),
    "shrink": _alone(layers.Shrink),
    "thresholded relu": _alone(layers.ThresholdedRelu),
    "abs": _alone(layers.Abs),
    "acos": _squashed(layers.Acos),
    "acosh": _above_one,
    "asin": _squashed(layers.Asin),
    "asinh": _alone(layers.Asinh),
    "atan": _alone(layers.Atan),
    "atanh": _squashed(layers.Atanh),
    "ceil": _alone(layers.Ceil),
    "cos": _alone(layers.Cos),
    "cosh": _alone(layers.Cosh),
    "erf": _alone(layers.Erf),
    "exp": _squashed(layers.Exp),
    "floor": _alone(layers.Floor),
    "identity": _alone(layers.Identity),
    "log": _squashed(layers.Log),
    "neg": _alone(layers.Neg),
    "reciprocal": _squashed(layers.Reciprocal),
    "round": _alone(layers.Round),
    "sign": _alone(layers.Sign),
    "sin": _alone(layers.Sin),
    "sinh": _alone(layers.Sinh),
    "sqrt": _squashed(layers.Sqrt),
    "tan": _squashed(layers.Tan),
    # several inputs
    "add": lambda make: [("r", "relu"), ("a", layers.Add(), ("r", "c", "r"))],
    "add, views": lambda make: [  # of one value, which nobody may overwrite
        ("i", layers.Identity()),
        ("r", "relu"),
        ("k", layers.Slice([0], [4], [1]), "c"),
        ("d", layers.Dropout(0.5)),
        ("a", layers.Add(), ("r", "d", "c", "i")),
    ],
    "add, broadcast": _two(lambda: layers.Add(broadcast=True)),
    "average": _two(layers.Average),
    "concatenate": _two(layers.Concatenate),
    "divide": _two(layers.Divide),
    "maximum": _two(layers.Maximum),
    "minimum": _two(layers.Minimum),
    "multiply": _two(layers.Multiply),
    "power": _two(layers.Power),
    "subtract": _two(layers.Subtract),
    "matmul": lambda make: [("t", layers.Transpose((0, 1, 3, 2))), ("m", layers.MatMul(), ("c", "t"))],
    "beside": lambda make: ["sigmoid", layers.Beside(layers.Power(), {1: make(4, 1, 1)})],
    # poolings
    "pooling": _alone(lambda: layers.Pooling(3, 3, 2, 1)),
    "global average pooling": _alone(layers.GlobalAveragePooling),
    "global pooling": _alone(lambda: layers.GlobalPooling("lp", 3.0)),
    "adaptive average pooling": _alone(lambda: layers.AdaptiveAveragePooling(3)),
    "unpooling": _unpooled,
    # normalisations
    "lp normalization": _alone(lambda: layers.LpNormalization(1)),
    "mean variance normalization": _alone(lambda: layers.MeanVarianceNormalization((2, 3))),
    "local response normalization": _alone(lambda: layers.LocalResponseNormalization(3, 0.5)),
    "dropout": _alone(lambda: layers.Dropout(0.4)),
    # shapes
    "flatten": _alone(layers.Flatten),
    "reshape": _alone(lambda: layers.Reshape((2, -1, 4))),
    "transpose": _alone(lambda: layers.Transpose((0, 2, 3, 1))),
    "squeeze": lambda make: [layers.Unsqueeze((1, -1)), layers.Squeeze((1,))],
    "channel shuffle": _alone(lambda: layers.ChannelShuffle(2)),
    "pixel shuffle": _alone(lambda: layers.PixelShuffle(2)),
    "space to depth": _alone(lambda: layers.SpaceToDepth(2)),
    "slice": _alone(lambda: layers.Slice([-1, 0], [-5, 3], [2, 3], [-2, 1])),
    "take": _alone(lambda: layers.Take([[3, 0], [0, -2]], 1)),
    "pad": _alone(lambda: layers.Pad([(1, -1), (2, 0)], value=0.5)),
    "expand": lambda make: [layers.Unsqueeze((2,)), layers.Expand((4, 3, 4, 4))],
    "tile": _alone(lambda: layers.Tile((1, 2, 1, 1))),
    "reduce": _alone(lambda: layers.Reduce("log_sum_exp", (2,), keepdims=False)),
    "resize": _alone(lambda: layers.Resize((1.5, 2.0), way=layers.ResizeWay("linear"))),
}
