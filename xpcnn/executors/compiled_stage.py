"""Convolution stages by kernels compiled for their shape (extra `fast`), each writing where the next one reads.

A stage's output lies in the middle of a buffer whose margin is the next convolution's pad, and a gradient in the
middle of one whose margin turns it into the next product's input; margins are zeroed once and never written to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.conv_stage import ConvStage
from xpcnn.executors.eager import Gradients
from xpcnn.executors.stages import Calls, Job, channels_last
from xpcnn.graph import INPUT, Node
from xpcnn.ops.cpu.compiled import ConvKernels
from xpcnn.ops.cpu.compiled.arrays import Bound
from xpcnn.ops.cpu.compiled.grad_x import GradX
from xpcnn.ops.cpu.compiled.program import joined

__all__ = ["CompiledStage"]

_Margin = tuple[int, ...]  # top, left, bottom, right


def _inner(a: Array, margin: _Margin) -> Array:
    """The middle of a (n, H, W, C), without the margin."""
    top, left, bottom, right = margin
    return a[:, top : a.shape[1] - bottom, left : a.shape[2] - right]


def _at(a: Array) -> int:
    return int(a.ctypes.data)


class CompiledStage(ConvStage):
    """As a ConvStage, for float32.

    source: the CompiledStage whose output is this one's input and nobody else's, if that is so; `link` sets it.
    """

    effort = 1.0

    def __init__(self, conv: Node, relu: Node | None, pool: Node | None, input_shape: tuple[int, ...]) -> None:
        super().__init__(conv, relu, pool)
        _, H, W = input_shape
        self.x_size = (H, W)
        self.kernels = ConvKernels(self.C, self.FN, self.FH, self.FW, *self.layer.stride, IW=W + self.left + self.right)
        self.y_size = (self.out[0] // 2, self.out[1] // 2) if self.pool else tuple(self.out)
        self.margin: _Margin = (0, 0, 0, 0)
        self.source: CompiledStage | None = None
        self.grad_x = None
        if self.needs_dx:
            window, pad = (self.FH, self.FW), (self.top, self.left)
            self.grad_x = GradX(self.C, self.FN, window, self.layer.stride, pad, self.x_size, self.out)
        self.g_margin: _Margin = self.grad_x.margin if self.grad_x else (0, 0, 0, 0)
        self._for_training: tuple[Array, Array | None] | None = None

    def link(self, source: CompiledStage) -> None:
        """Takes its input from the middle of `source`'s output buffer, and hands its dx to it in the same way."""
        self.source = source
        source.margin = self.layer.pad

    def touched(self, taken: int, given: int) -> int:
        return 2 * (taken + given)  # with their gradients; its columns and what is pooled exist in registers only

    def touched_ahead(self, taken: int, given: int) -> int:
        return taken + given

    def prepare(self, backward: bool) -> Any:
        """The weights for forward and, where wanted, for dx; for training always in the same memory."""
        W = self.layer.params["W"]
        if not backward:
            return np.ascontiguousarray(W.transpose(2, 3, 1, 0)), None
        if self._for_training is None:
            flipped = np.empty(W.size, np.float32) if self.grad_x else None
            self._for_training = np.empty((self.FH, self.FW, self.C, self.FN), np.float32), flipped
        forward, flipped = self._for_training
        np.copyto(forward, W.transpose(2, 3, 1, 0))
        if self.grad_x:
            self.grad_x.flipped(W, flipped)
        return forward, flipped

    # -- buffers -----------------------------------------------------------------------------------------------

    def _around(self, job: Job, name: str, n: int, size: tuple[int, ...], margin: _Margin, channels: int) -> Array:
        """Kept memory for (n, *size, channels) with its margin."""
        top, left, bottom, right = margin
        shape = (n, size[0] + top + bottom, size[1] + left + right, channels)
        return job.kept(self, name, shape, np.float32)

    def _y(self, job: Job, n: int) -> Array:
        return self._around(job, "y", n, self.y_size, self.margin, self.FN)

    def _y_inner(self, job: Job, n: int) -> Array:
        return _inner(self._y(job, n), self.margin)

    def _g(self, job: Job, n: int) -> Array:
        """Room for the gradient of the convolution's own output, in its margin."""
        return self._around(job, "g", n, self.out, self.g_margin, self.FN)

    def _g_inner(self, job: Job, n: int) -> Array:
        return _inner(self._g(job, n), self.g_margin)

    def _padded_input(self, job: Job, x: Array) -> Array:
        if self.source is not None:
            return self.source._y(job, len(x))
        if not any(self.layer.pad) and self.inputs[0] != INPUT:  # a batch lies elsewhere every time: it is copied
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
        y, index = self._again(job, "forward", (len(x), _at(x), id(w), id(b)), partial(self._convolve, job, x, w, b))
        return y.transpose(0, 3, 1, 2), (x, y, index)

    def _again(self, job: Job, what: str, given: tuple[int, ...], make: Callable[[], tuple[Any, ...]]) -> list[Any]:
        """What `make` returns, its last a call, without that. Where the same was given before, the call does the work.

        given: the number of samples and where whatever `make` reads lies, if not in this stage's kept memory.
        """
        key = (id(self), job.piece, what, given[0])
        seen, made, call = job.room.calls.get(key, (None, [], None))
        if call is not None and seen == given:
            call()
        else:
            *made, call = make()
            job.room.calls[key] = given, made, call
        return list(made)

    def _convolve(self, job: Job, x: Array, w: Array, b: Array | None) -> tuple[Array, Array | None, Bound]:
        """The output, the pooling's index, and the call that would do it again."""
        y = self._y_inner(job, len(x))
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
            if _at(x) == _at(taken):  # it lies there already: see `place_for`
                taken = None
            else:
                np.copyto(taken, x.transpose(0, 2, 3, 1))
        y, _, call = self._convolve(job, whole, w, b)
        y = y.transpose(0, 3, 1, 2)
        job.room.calls[key] = (w, b, taken, call, y)
        return y

    def place_for(self, job: Job, n: int) -> Array | None:
        whole = self._around(job, "x", n, self.x_size, self.layer.pad, self.C)
        return _inner(whole, self.layer.pad).transpose(0, 3, 1, 2)

    def bind(self, job: Job, *xs: Array) -> tuple[Array, Calls]:
        (x,) = xs
        y = self._predict(job, x, job.prepared[self][0], self.layer.params.get("b"))
        _, _, taken, call, _ = job.room.calls[id(self), len(x)]
        return y, [call] if taken is None else [partial(np.copyto, taken, x.transpose(0, 2, 3, 1)), call]

    def backward(self, job: Job, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        x, y, index = saved
        n, w = len(x), job.prepared[self][1]
        g = self._g_inner(job, n)
        if self.pool:
            given = channels_last(job, dout, "dout")
        else:
            given = dout.transpose(0, 2, 3, 1)
            if _at(given) != _at(g):  # else the next stage has written it here, masked already
                if self.relu:
                    np.multiply(given, y > 0.0, out=g)
                else:
                    np.copyto(g, given)
                given = g
        sums = job.sums.get(self)
        if sums is None:
            sums = job.sums[self] = self._sums(job)
        make = partial(self._back, job, x, y, index, given, w, sums)
        (dx,) = self._again(job, "backward", (n, _at(x), _at(given), id(w)), make)
        return (None if dx is None else dx.transpose(0, 3, 1, 2),)

    def _sums(self, job: Job) -> dict[str, Array]:
        """Zeros to add the gradients of the parameters to."""
        shapes = {"W": (self.FH, self.FW, self.C, self.FN), "b": (self.FN,)}
        sums = {name: job.room.get((id(self), "sum", name), shapes[name], np.float32) for name in self.layer.params}
        for total in sums.values():
            total.fill(0.0)
        return sums

    def _back(
        self, job: Job, x: Array, y: Array, index: Array | None, dout: Array, w: Array, sums: dict[str, Array]
    ) -> tuple[Array | None, Bound]:
        """dx, and the call that would do it all again."""
        n = len(x)
        g, (dx, mask) = self._g_inner(job, n), self._dx(job, n)
        calls: list[Bound] = []
        if index is not None:
            calls.append(self.kernels.unpool_relu(dout, index, y if self.relu else None, g))
        calls.append(self.kernels.grad_w(x, g, sums["W"]))
        if "b" in sums:
            calls.append(self.kernels.bias_grad(g, sums["b"]))
        if dx is not None:
            calls.append(self._grad_x(job, self._g(job, n), w, dx, mask))
        return dx, joined(calls)

    def _dx(self, job: Job, n: int) -> tuple[Array | None, Array | None]:
        """Room for dx, and what masks it."""
        if self.grad_x is None:
            return None, None
        source = self.source
        if source is None or source.pool:
            return job.kept(self, "dx", (n, *self.x_size, self.C), np.float32), None
        return source._g_inner(job, n), source._y_inner(job, n) if source.relu else None

    def _grad_x(self, job: Job, g: Array, flipped: Array, dx: Array, mask: Array | None) -> Bound:
        assert self.grad_x is not None
        return self.grad_x(g, flipped, dx, mask)

    def gradients(self, sums: dict[str, Array]) -> Gradients:
        """In memory of their own: that of the sums is used again."""
        grads = {"W": sums["W"].transpose(3, 2, 0, 1).copy("C")}
        if "b" in sums:
            grads["b"] = sums["b"].copy()
        return {self.nodes[0].name: grads}

    def describe(self) -> str:
        return "compiled" + (" + relu" if self.relu else "") + (" + 2x2 max pool" if self.pool else "")
