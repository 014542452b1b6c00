"""Convolution stages by kernels compiled for their shape (extra `fast`), each writing where the next one reads.

A stage's output lies in the middle of a buffer whose margin is the next convolution's pad, and a gradient in the
middle of one whose margin turns it into the next product's input; margins are zeroed once and never written to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.conv_stage import ConvStage
from xpcnn.executors.eager import Gradients
from xpcnn.executors.stages import Job, channels_last
from xpcnn.graph import Node
from xpcnn.ops.cpu.compiled import ConvKernels
from xpcnn.ops.cpu.compiled.arrays import Bound

__all__ = ["CompiledStage"]

_Margin = tuple[int, int, int, int]  # top, left, bottom, right


def _inner(a: Array, margin: _Margin) -> Array:
    """The middle of a (n, H, W, C), without the margin."""
    top, left, bottom, right = margin
    return a[:, top : a.shape[1] - bottom, left : a.shape[2] - right]


class CompiledStage(ConvStage):
    """As a ConvStage, for float32.

    source: the CompiledStage whose output is this one's input and nobody else's, if that is so; `link` sets it.
    """

    def __init__(self, conv: Node, relu: Node | None, pool: Node | None, input_shape: tuple[int, ...]) -> None:
        super().__init__(conv, relu, pool)
        _, H, W = input_shape
        self.x_size = (H, W)
        self.kernels = ConvKernels(self.C, self.FN, self.FH, self.FW, *self.layer.stride, IW=W + self.left + self.right)
        self.y_size = (self.out[0] // 2, self.out[1] // 2) if self.pool else tuple(self.out)
        self.margin: _Margin = (0, 0, 0, 0)
        self.source: CompiledStage | None = None
        stride_h, stride_w = self.layer.stride
        # What a gradient needs around and between its pixels so that a convolution of it gives dx.
        self.dilated = ((self.out[0] - 1) * stride_h + 1, (self.out[1] - 1) * stride_w + 1)
        above, before = self.FH - 1 - self.top, self.FW - 1 - self.left
        below = H + self.FH - 1 - above - self.dilated[0]
        behind = W + self.FW - 1 - before - self.dilated[1]
        self.g_margin: _Margin = (above, before, below, behind) if self.needs_dx else (0, 0, 0, 0)

    @property
    def possible(self) -> bool:
        """Whether dx can be had this way: not where pads are as large as the filters."""
        return min(self.g_margin) >= 0

    def link(self, source: CompiledStage) -> None:
        """Takes its input from the middle of `source`'s output buffer, and hands its dx to it in the same way."""
        self.source = source
        source.margin = self.layer.pad

    def touched(self, taken: int, given: int) -> int:
        return taken + given  # its columns and what is pooled exist in registers only

    def prepare(self, backward: bool) -> Any:
        W = self.layer.params["W"]
        forward = np.ascontiguousarray(W.transpose(2, 3, 1, 0))
        if not (backward and self.needs_dx):
            return forward, None
        return forward, np.ascontiguousarray(W[:, :, ::-1, ::-1].transpose(2, 3, 0, 1))

    # -- buffers -----------------------------------------------------------------------------------------------

    def _around(self, job: Job, name: str, n: int, size: tuple[int, ...], margin: _Margin, channels: int) -> Array:
        """Kept memory for (n, *size, channels) with its margin."""
        top, left, bottom, right = margin
        shape = (n, size[0] + top + bottom, size[1] + left + right, channels)
        return job.kept(self, name, shape, np.float32)

    def _y(self, job: Job, n: int) -> Array:
        return self._around(job, "y", n, self.y_size, self.margin, self.FN)

    def _g(self, job: Job, n: int) -> Array:
        """Room for the gradient of the convolution's own output; with its margin where pixels lie side by side."""
        margin = self.g_margin if self.layer.stride == (1, 1) else (0, 0, 0, 0)
        return self._around(job, "g", n, tuple(self.out), margin, self.FN)

    def _g_inner(self, g: Array) -> Array:
        return _inner(g, self.g_margin) if self.layer.stride == (1, 1) else g

    def _padded_input(self, job: Job, x: Array) -> Array:
        if self.source is not None:
            return self.source._y(job, len(x))
        if not any(self.layer.pad):
            return self._keep_input(job, x)
        buffer = self._around(job, "x", len(x), self.x_size, self.layer.pad, self.C)
        np.copyto(_inner(buffer, self.layer.pad), x.transpose(0, 2, 3, 1))
        return buffer

    # -- forward and backward ----------------------------------------------------------------------------------

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        w, b = job.prepared[self][0], self.layer.params.get("b")
        if not job.keep:
            return self._predict(job, xs[0], w, b), None
        x = self._padded_input(job, xs[0])
        y, index, _ = self._convolve(job, x, w, b)
        return y.transpose(0, 3, 1, 2), (x, y, index)

    def _convolve(self, job: Job, x: Array, w: Array, b: Array | None) -> tuple[Array, Array | None, Bound]:
        """The output, the pooling's index, and the call that would do it again."""
        y = _inner(self._y(job, len(x)), self.margin)
        if not self.pool:
            return y, None, self.kernels.forward(x, w, b, y, self.relu)
        index = job.kept(self, "index", y.shape, np.uint8)
        return y, index, self.kernels.forward_pool(x, w, b, y, index, self.relu)

    def _predict(self, job: Job, x: Array, w: Array, b: Array | None) -> Array:
        """The output alone. One picture takes less time than checking what it is called with: that is remembered."""
        key = (id(self), len(x))
        known = job.room.calls.get(key)
        if known is not None and known[0] is w and known[1] is b:
            _, _, taken, call, y = known
            if taken is not None:
                np.copyto(taken, x.transpose(0, 2, 3, 1))
            call()
            return y
        if self.source is not None:
            taken, whole = None, self.source._y(job, len(x))
        else:
            whole = self._around(job, "x", len(x), self.x_size, self.layer.pad, self.C)
            taken = _inner(whole, self.layer.pad)
            np.copyto(taken, x.transpose(0, 2, 3, 1))
        y, _, call = self._convolve(job, whole, w, b)
        y = y.transpose(0, 3, 1, 2)
        job.room.calls[key] = (w, b, taken, call, y)
        return y

    def backward(self, job: Job, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        x, y, index = saved
        n = len(x)
        g_whole = self._g(job, n)
        g = self._g_inner(g_whole)
        if self.pool:
            self.kernels.unpool_relu(channels_last(job, dout, "dout"), index, y if self.relu else None, g)
        else:
            given = dout.transpose(0, 2, 3, 1)
            if given.ctypes.data != g.ctypes.data:  # else the next stage has written it here, masked already
                np.copyto(g, given)
                if self.relu:
                    np.multiply(g, y > 0.0, out=g)
        sums = job.sums.setdefault(self, {})
        if not sums:
            sums["W"] = np.zeros((self.FH, self.FW, self.C, self.FN), dtype=np.float32)
            if "b" in self.layer.params:
                sums["b"] = np.zeros(self.FN, dtype=np.float32)
        self.kernels.grad_w(x, g, sums["W"])
        if "b" in sums:
            self.kernels.bias_grad(g, sums["b"])
        return (self._dx(job, n, g_whole),) if self.needs_dx else (None,)

    def _dx(self, job: Job, n: int, g: Array) -> Array:
        if self.layer.stride != (1, 1):
            spread = self._around(job, "g spread", n, self.dilated, self.g_margin, self.FN)
            inner = _inner(spread, self.g_margin)
            inner[:, :: self.layer.stride[0], :: self.layer.stride[1]] = g
            g = spread
        flipped = job.prepared[self][1]
        source = self.source
        if source is not None and not source.pool:
            dx = source._g_inner(source._g(job, n))
            mask = _inner(source._y(job, n), source.margin) if source.relu else None
            self.kernels.grad_x(g, flipped, dx, mask)
        else:
            dx = job.kept(self, "dx", (n, *self.x_size, self.C), np.float32)
            self.kernels.grad_x(g, flipped, dx)
        return dx.transpose(0, 3, 1, 2)

    def gradients(self, sums: dict[str, Array]) -> Gradients:
        grads = {"W": np.ascontiguousarray(sums["W"].transpose(3, 2, 0, 1))}
        if "b" in sums:
            grads["b"] = sums["b"]
        return {self.nodes[0].name: grads}

    def describe(self) -> str:
        return "compiled" + (" + relu" if self.relu else "") + (" + 2x2 max pool" if self.pool else "")
