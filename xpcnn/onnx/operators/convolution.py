"""Conv and ConvTranspose, over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.device import Array
from xpcnn.errors import ConfigError
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.convolution_nd import ConvolutionND
from xpcnn.layers.transposed import TransposedConvolution
from xpcnn.onnx.call import Call, Translated, operator
from xpcnn.ops.windows import auto_pads

__all__: list[str] = []


def _filters(call: Call) -> tuple[Array, int]:
    """W, and its number of spatial axes."""
    W = call.parameter(1)
    if W is None:
        raise ConfigError(f"{call}: the filters W, its second input, are missing")
    n = W.ndim - 2
    if n < 1:
        raise ConfigError(f"{call}: filters have shape (FN, C/groups, F1, ..., Fn), W has {W.shape}")
    kernel = tuple(call.attribute("kernel_shape") or W.shape[2:])
    if kernel != W.shape[2:]:
        raise ConfigError(f"{call}: kernel_shape is {kernel}, but the filters W have shape {W.shape}")
    return W, n


def _each(call: Call, name: str, n: int, default: int) -> tuple[int, ...]:
    """An attribute of one number for each of n axes."""
    values = tuple(call.attribute(name) or (default,) * n)
    if len(values) != n:
        raise ConfigError(f"{call}: {name} has {len(values)} numbers for {n} axes")
    return values


def _pads(call: Call, n: int) -> tuple[int, ...]:
    pads = _each(call, "pads", 2 * n, 0)
    if min(pads) < 0:
        raise call.unsupported(f"pads that cut the input, {pads}")
    return pads


@operator("Conv", 1, 11, 22)
def conv(call: Call) -> Translated:
    W, n = _filters(call)
    stride, dilation = _each(call, "strides", n, 1), _each(call, "dilations", n, 1)
    kind = call.attribute("auto_pad") or "NOTSET"
    pads = _pads(call, n) if kind == "NOTSET" else auto_pads(kind, call.shape(0)[2:], W.shape[2:], stride, dilation)
    make = Convolution if n == 2 else ConvolutionND
    return call.apply(make(W, call.parameter(2), stride, pads, dilation, call.attribute("group", 1)))


def _halves(total: Sequence[int], larger_first: bool) -> tuple[int, ...]:
    """Each total shared out between begin and end; an odd one gives one more to either."""
    less = [t // 2 for t in total]
    more = [t - t // 2 for t in total]
    return (*more, *less) if larger_first else (*less, *more)


@operator("ConvTranspose", 1, 11, 22)
def conv_transpose(call: Call) -> Translated:
    W, n = _filters(call)
    stride, dilation = _each(call, "strides", n, 1), _each(call, "dilations", n, 1)
    output_pad = _each(call, "output_padding", n, 0)
    kind = call.attribute("auto_pad") or "NOTSET"
    wanted = tuple(call.attribute("output_shape") or ())[-n:]  # some models name N and channels as well
    if wanted or kind in ("SAME_UPPER", "SAME_LOWER"):
        sizes = call.shape(0)[2:]
        wanted = wanted or tuple(size * step for size, step in zip(sizes, stride, strict=True))
        spread = [d * (w - 1) + 1 for w, d in zip(W.shape[2:], dilation, strict=True)]
        surplus = [stride[i] * (sizes[i] - 1) + output_pad[i] + spread[i] - wanted[i] for i in range(n)]
        # Where windows do not reach far enough there is nothing to cut off: the output grows at its end.
        output_pad = tuple(more + max(-s, 0) for more, s in zip(output_pad, surplus, strict=True))
        pads = _halves([max(s, 0) for s in surplus], larger_first=kind != "SAME_UPPER")
    elif kind in ("NOTSET", "VALID"):
        pads = _pads(call, n) if kind == "NOTSET" else (0,) * (2 * n)
    else:
        raise ConfigError(f"{call}: auto_pad is one of NOTSET, SAME_UPPER, SAME_LOWER and VALID, got {kind!r}")
    groups = call.attribute("group", 1)
    return call.apply(TransposedConvolution(W, call.parameter(2), stride, pads, output_pad, dilation, groups))
