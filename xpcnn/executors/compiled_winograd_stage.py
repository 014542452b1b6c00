"""Convolution stages that go Winograd's way by compiled kernels; winograd_stage.py says when."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.compiled_stage import CompiledStage
from xpcnn.executors.stages import Job
from xpcnn.graph import Node
from xpcnn.ops.cpu.compiled.arrays import Bound
from xpcnn.ops.cpu.compiled.winograd import WinogradKernels

__all__ = ["CompiledWinogradStage"]


class CompiledWinogradStage(CompiledStage):
    """As a CompiledStage, for 3x3 filters, stride 1, and at least 4x4 outputs.

    always: in training too, not only where nothing is kept; then dx is had this way as well if `back`.
    """

    effort = 0.4

    def __init__(
        self, conv: Node, relu: Node | None, pool: Node | None, input_shape: tuple[int, ...], always: bool, back: bool
    ) -> None:
        super().__init__(conv, relu, pool, input_shape)
        self.always = always
        H, W = self.x_size
        self.winograd = WinogradKernels(self.C, self.FN, H + self.top + self.bottom, W + self.left + self.right)
        self.winograd_back = None
        if always and back and self.grad_x is not None and self.grad_x.g_size == (H + 2, W + 2):  # pads of 2 at most
            self.winograd_back = WinogradKernels(self.FN, self.C, H + 2, W + 2)
        self._packed: dict[str, Array] = {}

    def prepare(self, backward: bool) -> Any:
        W = self.layer.params["W"]
        if not backward:
            return self.winograd.pack(W), None
        forward, flipped = super().prepare(backward)
        if self.always:
            forward = self._same_memory("forward", self.winograd.pack(W))
        if self.winograd_back is not None:
            back = self.winograd_back.pack(W[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
            flipped = self._same_memory("back", back)
        return forward, flipped

    def _same_memory(self, name: str, packed: Array) -> Array:
        """`packed`, in the memory of the first that had this name: calls that read it are remembered."""
        if name not in self._packed:
            self._packed[name] = packed
        memory = self._packed[name]
        np.copyto(memory, packed)
        return memory

    def _convolve(self, job: Job, x: Array, w: Array, b: Array | None) -> tuple[Array, Array | None, Bound]:
        if job.keep and not self.always:
            return super()._convolve(job, x, w, b)
        y, room = self._y_inner(job, len(x)), self._room(job, self.winograd, len(x))
        if not self.pool:
            return y, None, self.winograd.forward(x, w, b, y, room, self.relu)
        index = job.kept(self, "index", y.shape, np.uint8)
        return y, index, self.winograd.forward_pool(x, w, b, y, index, room, self.relu)

    def _grad_x(self, job: Job, g: Array, flipped: Array, dx: Array, mask: Array | None) -> Bound:
        if self.winograd_back is None:
            return super()._grad_x(job, g, flipped, dx, mask)
        room = self._room(job, self.winograd_back, len(g))
        if mask is None:
            return self.winograd_back.forward(g, flipped, None, dx, room)
        return self.winograd_back.forward_masked(g, flipped, dx, mask, room)

    def _room(self, job: Job, kernels: WinogradKernels, n: int) -> Array:
        return job.scratch("winograd", (kernels.room(n),), np.float32)

    def describe(self) -> str:
        how = "winograd 4x4" if self.always else "compiled, for predictions winograd 4x4"
        return how + super().describe().removeprefix("compiled")
