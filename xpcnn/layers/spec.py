"""Layers described before their input's shape is known: `conv(32, 3, pad=1)`, "relu".

A Spec becomes a Layer when a network tells it the shape that arrives and hands it a Maker of initial parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol

from xpcnn.device import Array
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.activation import Elu, LeakyRelu, LogSoftmax, Relu, Sigmoid, Softmax, Tanh
from xpcnn.layers.affine import Affine
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.merge import Add, Concatenate
from xpcnn.layers.normalization import BatchNormalization, LocalResponseNormalization
from xpcnn.layers.pooling import GlobalAveragePooling
from xpcnn.layers.pooling_nd import Ints, PoolingND, fitted_pooling
from xpcnn.layers.shape import Flatten
from xpcnn.ops.geometry import IntPair, PadLike, pair, whole

__all__ = [
    "WORDS",
    "How",
    "Maker",
    "Spec",
    "affine",
    "average_pool",
    "batch_norm",
    "conv",
    "dropout",
    "lrn",
    "max_pool",
    "remembered",
    "spec_of",
]

How = float | str  # how weights are drawn: see xpcnn.initializers; "auto" leaves it to the network


class Maker(Protocol):
    """What a network hands to a Spec: makes initial parameters of the network's dtype."""

    def weight(self, shape: Shape, fan_in: int, fan_out: int, how: How) -> Array: ...
    def constant(self, shape: Shape, value: float) -> Array: ...


@dataclass(frozen=True, repr=False)
class Spec:
    """A layer to be: `kind` is the stem of its automatic name, `build` makes it from its inputs' shapes."""

    kind: str
    build: Callable[[tuple[Shape, ...], Maker], Layer]
    call: partial[Spec] | None = field(default=None, compare=False)  # what made it, where a `remembered` function did

    def __reduce__(self) -> Any:
        """For pickle and copy.deepcopy: the call that made it, for `build` is a closure."""
        return super().__reduce__() if self.call is None else (self.call, ())

    def __repr__(self) -> str:
        if self.call is None:
            return f"Spec({self.kind!r})"
        words = [*map(repr, self.call.args), *(f"{name}={value!r}" for name, value in self.call.keywords.items())]
        return f"{self.call.func.__name__}({', '.join(words)})"


P = ParamSpec("P")


def remembered(function: Callable[P, Spec]) -> Callable[P, Spec]:
    """Lets the Specs that a function of a module makes know their call: so they are shown and pickled."""

    @wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> Spec:
        return replace(function(*args, **kwargs), call=partial(make, *args, **kwargs))

    return make


def check_groups(groups: int, C: int, filters: int) -> None:
    """Raises ShapeError, or ConfigError for what is no whole number, where groups do not share out both."""
    if whole(groups, "groups", least=0) < 1 or C % groups or filters % groups:
        raise ShapeError(f"groups={groups} must divide the {C} channels that arrive and the {filters} filters")


@remembered
def conv(
    filters: int,
    size: IntPair,
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    bias: bool = True,
    init: How = "auto",
) -> Spec:
    """A Convolution of `filters` filters of `size` (int or (h, w)); the number of channels is inferred."""
    FH, FW = pair(size, "the filter size")
    filters = whole(filters, "the number of filters")

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        if len(shapes[0]) != 3:
            raise ShapeError(f"wanted pictures (C, H, W), got {shapes[0]}")
        C = shapes[0][0]
        check_groups(groups, C, filters)
        W = make.weight((filters, C // groups, FH, FW), C // groups * FH * FW, filters // groups * FH * FW, init)
        b = make.constant((filters,), 0.0) if bias else None
        return Convolution(W, b, stride, pad, dilation, groups)

    return Spec("conv", build)


@remembered
def affine(units: int, bias: bool = True, init: How = "auto") -> Spec:
    """An Affine layer of `units` outputs; the number of inputs is inferred, pictures are flattened."""
    units = whole(units, "the number of units")

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        D = math.prod(shapes[0])
        return Affine(make.weight((D, units), D, units, init), make.constant((units,), 0.0) if bias else None)

    return Spec("affine", build)


@remembered
def max_pool(size: Ints, stride: Ints | None = None, pad: Ints = 0, ceil: bool = False) -> Spec:
    """A max pooling of `size` (int or one for each axis); stride None: windows side by side.

    ceil: a last window may hang over the end, so that nothing is left out.
    """
    return _pool("max", size, stride, pad, True, ceil)


@remembered
def average_pool(
    size: Ints, stride: Ints | None = None, pad: Ints = 0, count_pad: bool = True, ceil: bool = False
) -> Spec:
    """An average pooling of `size` (int or one for each axis); stride None: windows side by side.

    count_pad: whether the pad's zeros count. ceil: a last window may hang over the end; what lies there never counts.
    """
    return _pool("average", size, stride, pad, count_pad, ceil)


def _pool(mode: str, size: Ints, stride: Ints | None, pad: Ints, count_pad: bool, ceil: bool) -> Spec:
    step = size if stride is None else stride
    PoolingND(size, step, pad, 1, mode)  # numbers that make no sense are told where they are written
    return Spec("pool", lambda shapes, make: fitted_pooling(shapes[0], size, step, pad, 1, mode, count_pad, ceil))


@remembered
def batch_norm(momentum: float = 0.9, eps: float = 1e-5) -> Spec:
    """A BatchNormalization of as many channels as arrive."""

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        C = shapes[0][:1]
        return BatchNormalization(make.constant(C, 1.0), make.constant(C, 0.0), momentum, eps=eps)

    return Spec("norm", build)


@remembered
def lrn(size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> Spec:
    """A LocalResponseNormalization."""
    return Spec("lrn", lambda shapes, make: LocalResponseNormalization(size, alpha, beta, k))


@remembered
def dropout(ratio: float = 0.5, inverted: bool = True) -> Spec:
    """A Dropout layer; its random numbers come from the network's seed."""
    return Spec("dropout", lambda shapes, make: Dropout(ratio, inverted, seed=0))


def _plain(kind: str, layer: type[Layer]) -> Callable[[], Spec]:
    return lambda: Spec(kind, lambda shapes, make: layer())


WORDS: dict[str, Callable[[], Spec]] = {
    "relu": _plain("relu", Relu),
    "leaky_relu": _plain("leaky_relu", LeakyRelu),
    "elu": _plain("elu", Elu),
    "sigmoid": _plain("sigmoid", Sigmoid),
    "tanh": _plain("tanh", Tanh),
    "softmax": _plain("softmax", Softmax),
    "log_softmax": _plain("log_softmax", LogSoftmax),
    "flatten": _plain("flatten", Flatten),
    "global_average_pool": _plain("pool", GlobalAveragePooling),
    "add": _plain("add", Add),
    "concatenate": _plain("concatenate", Concatenate),
    "batch_norm": batch_norm,
    "lrn": lrn,
    "dropout": dropout,
}


def spec_of(item: object) -> Spec | Layer:
    """A Spec or Layer as it is, a word such as "relu" as its Spec. Raises ConfigError for anything else."""
    if isinstance(item, Spec | Layer):
        return item
    if isinstance(item, str):
        if item.lower() in WORDS:
            return WORDS[item.lower()]()
        raise ConfigError(f"no layer is called {item!r}; the words are {', '.join(sorted(WORDS))}")
    hint = '; call it: relu() or "relu"' if callable(item) else ""
    what = f"a {type(item).__name__}" if not isinstance(item, Sequence) else repr(item)
    raise ConfigError(f'a layer is a Layer, a spec such as conv(32, 3) or a word such as "relu", got {what}{hint}')
