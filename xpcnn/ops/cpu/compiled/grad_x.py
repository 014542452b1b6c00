"""The gradient of a convolution's input, by forward kernels on the output's gradient.

    dx[ih] = sum of g[oh] * w[fh] over all  oh * stride + fh = ih + pad

An input pixel meets only the weights fh that leave the same rest as ih + pad when divided by the stride. So along
each axis there are `stride` phases of pixels, `stride` apart, and each is a convolution of g (its stride 1) with its
part of the flipped weights. Every product is made once; with stride 1 there is one phase with all the weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpcnn.errors import ShapeError
from xpcnn.ops.cpu.compiled.arrays import NOTHING, NUMBERS_AT, Bound, Call, flat, place
from xpcnn.ops.cpu.compiled.blocking import Shape
from xpcnn.ops.cpu.compiled.host import Host, this_host
from xpcnn.ops.cpu.compiled.kernels import forward_kernel

__all__ = ["GradX"]

Float = NDArray[np.float32]


class _Phase(NamedTuple):
    """Along one axis: the input pixels first, first + stride, ... (`pixels` of them), and the weights that they meet.

    start: where in g the first pixel's window begins; below 0 in the margin before it.
    """

    first: int
    pixels: int
    start: int
    weights: range

    @property
    def stop(self) -> int:
        """Where in g the last pixel's window ends."""
        return self.start + self.pixels - 1 + len(self.weights)


def _phases(length: int, size: int, stride: int, pad: int) -> Iterator[_Phase]:
    for rest in range(stride):
        at = -(-(pad - rest) // stride)  # the first pixel is at stride * at + rest in the padded input
        first, weights = stride * at + rest - pad, range(rest, size, stride)
        if first < length:
            yield _Phase(first, -(-(length - first) // stride), at - len(weights) + 1, weights)


class GradX:
    """dx of one convolution of float32 NHWC arrays: C channels of `size` pixels (height, width), FN filters.

    window, stride: (height, width); pad: (above, before); out: the output's size. margin: how many zeros (above,
    before, below, behind) its gradient must stand in. As with ConvKernels, calls come back as `Bound`, threads may
    share an object, and equal calls give equal bits. Raises ShapeError and CompileError as those do.
    """

    def __init__(
        self,
        C: int,
        FN: int,
        window: tuple[int, int],
        stride: tuple[int, int],
        pad: tuple[int, int],
        size: tuple[int, int],
        out: tuple[int, int],
        *,
        host: Host | None = None,
    ) -> None:
        self.C, self.FN, self.window, self.stride, self.size = C, FN, window, stride, size
        self.host = this_host() if host is None else host
        self._no_bias = np.zeros(C, dtype=np.float32)
        axes = [list(_phases(*axis)) for axis in zip(size, window, stride, pad, strict=True)]
        before = [max(0, *(-phase.start for phase in axis)) for axis in axes]
        behind = [max(0, *(phase.stop - n for phase in axis)) for axis, n in zip(axes, out, strict=True)]
        self.margin = (*before, *behind)
        self.g_size = (before[0] + out[0] + behind[0], before[1] + out[1] + behind[1])
        self._phases = list(itertools.product(*axes))

    def flipped(self, W: Float, into: Float | None = None) -> Float:
        """The weights W (FN, C, FH, FW) as `__call__` takes them: flat, (FH, FW, FN, C) of each phase."""
        into = np.empty(W.size, np.float32) if into is None else into
        for (rows, columns), part in zip(self._phases, self._parts(into), strict=True):
            if part.size:
                step_h, step_w = self.stride
                mine = W[:, :, rows.weights.start :: step_h, columns.weights.start :: step_w]
                np.copyto(part, mine[:, :, ::-1, ::-1].transpose(2, 3, 0, 1))
        return into

    def _parts(self, flipped: Float) -> Iterator[Float]:
        """Of each phase, from the flat array."""
        end = 0
        for rows, columns in self._phases:
            shape = (len(rows.weights), len(columns.weights), self.FN, self.C)
            begin, end = end, end + shape[0] * shape[1] * self.FN * self.C
            yield flipped[begin:end].reshape(shape)

    def prepare(self) -> None:
        """Compiles the kernels ahead."""
        for phases in self._phases:
            if all(phase.weights for phase in phases):
                for store in ("relu", "mask"):
                    forward_kernel(self._shape(*phases), self.host, store)

    def _shape(self, rows: _Phase, columns: _Phase) -> Shape:
        FH, FW = len(rows.weights), len(columns.weights)
        return Shape(self.FN, self.C, FH, FW, 1, 1, self.g_size[1], self.stride[1], columns.pixels)

    def __call__(self, g: Float, flipped: Float, dx: Float, mask_y: Float | None = None) -> Bound:
        """dx (N, H, W, C), strided, from the output's gradient; 0 where mask_y (if given) is not above 0.

        g: (N, *g_size, FN), the gradient in its margin, rows one after another; flipped: from `flipped`; mask_y: of
        dx's shape, strided.
        """
        N = len(g)
        at = place("g", g, (N, *self.g_size, self.FN))
        if N and at.row != 4 * self.g_size[1] * self.FN and self.g_size[0] > 1:
            raise ShapeError(f"g's rows must lie one after another; they are {at.row} bytes apart")
        place("dx", dx, (N, *self.size, self.C), write=True)
        if mask_y is not None:
            place("mask_y", mask_y, dx.shape)
        flat("flipped", flipped, (self.C * self.FN * self.window[0] * self.window[1],))
        calls = [
            self._call(rows, columns, g, part, dx, mask_y)
            for (rows, columns), part in zip(self._phases, self._parts(flipped), strict=True)
            if N
        ]
        bound = Bound(calls, (g, flipped, dx, mask_y, self._no_bias))
        bound()
        return bound

    def _call(self, rows: _Phase, columns: _Phase, g: Float, w: Float, dx: Float, mask_y: Float | None) -> Call:
        mine = (slice(None), slice(rows.first, None, self.stride[0]), slice(columns.first, None, self.stride[1]))
        out = dx[mine]
        if not w.size:  # strides beyond the window: pixels that no window saw
            return out.fill, (0.0,)
        store = "relu" if mask_y is None else "mask"
        top, left = rows.start + self.margin[0], columns.start + self.margin[1]
        x_at = g[:, top:, left:].ctypes.data
        apart = self.stride[1]
        out_at = place("dx", out, out.shape, write=True, apart=apart)
        mask_at = NOTHING if mask_y is None else place("mask_y", mask_y[mine], out.shape, apart=apart)
        where: tuple[Any, ...] = (len(g), rows.pixels, x_at, g.strides[0], w.ctypes.data, self._no_bias.ctypes.data)
        kernel = forward_kernel(self._shape(rows, columns), self.host, store)
        return kernel, (*where, -np.inf, *out_at, *mask_at, NUMBERS_AT)
