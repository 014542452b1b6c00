"""The transposed convolution: the gradient of a convolution with respect to its input, used as a layer.

A convolution with filters W takes windows of its input together; its gradient spreads each element of the output over
the window that it came from. Forward here is that gradient, and backward is the convolution itself (Dumoulin and
Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.reference.convolution_nd import conv_nd_input_gradient, unfold_nd

__all__ = ["conv_transpose_backward", "conv_transpose_forward", "conv_transpose_sizes"]

Ints = Sequence[int]


def conv_transpose_sizes(
    sizes: Ints, window: Ints, stride: Ints, pads: Ints, output_pad: Ints, dilation: Ints
) -> tuple[int, ...]:
    """Spatial sizes of the output: what all windows reach, less the pads (cut off it), and output_pad at the end.

    Raises ShapeError where the pads leave nothing.
    """
    n = len(sizes)
    if not len(window) == len(stride) == len(output_pad) == len(dilation) == n or len(pads) != 2 * n:
        raise ShapeError(f"filters over {len(window)} spatial axes do not fit an input of {n} (sizes {tuple(sizes)})")
    out = tuple(
        stride[i] * (sizes[i] - 1) + dilation[i] * (window[i] - 1) + 1 + output_pad[i] - pads[i] - pads[n + i]
        for i in range(n)
    )
    if any(size < 1 for size in out):
        raise ShapeError(f"an output of sizes {out} is left of an input of sizes {tuple(sizes)}; use less pad")
    return out


def conv_transpose_forward(
    x: Array, W: Array, b: Array | None, stride: Ints, pads: Ints, output_pad: Ints, dilation: Ints, groups: int = 1
) -> Array:
    """x (N, C, *sizes) to y (N, FN, *out), larger by about the stride.

    W: (C, FN/groups, *window), the shape that the filters of the convolution from y to x have; b: (FN,) or None.
    Raises ShapeError where the shapes do not fit.
    """
    get_array_module(x, W, b)
    C, filters, *window = W.shape
    if x.ndim != W.ndim or x.shape[1] != C or C % groups:
        raise ShapeError(
            f"W of shape {W.shape} with groups={groups} needs an input (N, {C}, ...) of {len(window)} spatial axes and "
            f"a number of channels that {groups} divides; got an input of shape {x.shape}"
        )
    out = conv_transpose_sizes(x.shape[2:], window, stride, pads, output_pad, dilation)
    y = conv_nd_input_gradient(x, W, out, stride, pads, dilation, groups)
    if b is not None:
        y += b.reshape(filters * groups, *(1,) * len(window))
    return y


def conv_transpose_backward(
    dout: Array, x: Array, W: Array, stride: Ints, pads: Ints, dilation: Ints, groups: int = 1, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """Gradients of `conv_transpose_forward`: dx (None where not needed), dW, db (FN,). dout: (N, FN, *out)."""
    xp = get_array_module(dout, x, W)
    C, filters, *window = W.shape
    N, _, *sizes = x.shape
    # As many windows as x has elements: output_pad may leave room for more.
    windows = unfold_nd(dout, window, stride, pads, dilation, out=tuple(sizes))
    col = windows.reshape(N, groups, filters * math.prod(window), math.prod(sizes))
    rows = x.reshape(N, groups, C // groups, math.prod(sizes))
    dW = xp.matmul(rows, col.swapaxes(-1, -2)).sum(axis=0).reshape(W.shape)
    db = dout.sum(axis=(0, *range(2, dout.ndim)))
    dx = xp.matmul(W.reshape(groups, C // groups, -1), col).reshape(x.shape) if need_dx else None
    return dx, dW, db
