"""The GPU's way through a network: fixed buffers, few launches, and nothing that waits for the device.

A step allocates nothing after the first one of its size, moves nothing between host and device and reads nothing
back: losses and right answers are added up where they arise. What is between two calls of cuBLAS could be captured as
a CUDA graph, as every array keeps its address; capturing waits for a card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpcnn.device import Array, CudaDevice
from xpcnn.executors.cuda_plan import plan_cuda
from xpcnn.executors.cuda_stage import CudaPass, LayerStage
from xpcnn.executors.device_memory import DeviceRoom, Numbers, out_of_memory
from xpcnn.executors.eager import EagerExecutor, Visit
from xpcnn.executors.passage import pieces_of
from xpcnn.executors.tally import Tally
from xpcnn.flat import FlatArrays
from xpcnn.graph import INPUT, Node
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.ops.cuda import loss as loss_ops
from xpcnn.ops.cuda.gradients import LossScale, loss_scale
from xpcnn.ops.cuda.module import sum_dtype

__all__ = ["CudaExecutor"]

Values = dict[str, Array]


class CudaExecutor(EagerExecutor):
    """Takes whole batches, or pieces where the memory does not hold one; adding up gives the same step.

    The parameters become views of one array (`flat`). With dtype float16 these stay float32, each pass rounds a copy
    of them, and the loss is scaled so that small gradients do not vanish (`scaling`).
    Arrays that it returns lie in fixed memory and are good until the next pass; `predict` returns copies.
    """

    flat: FlatArrays

    def __init__(
        self, nodes: Mapping[str, Node], loss: SoftmaxWithLoss, seed: int, device: CudaDevice, dtype: np.dtype
    ) -> None:
        super().__init__(nodes, loss, seed)
        self.device, self.xp, self.dtype = device, device.xp, dtype
        self.flat = FlatArrays((node.layer for node in self.nodes), self.xp, sum_dtype(dtype), dtype)
        self.scaling: LossScale | None = None
        self._weights = {id(layer): layer.params for layer in self.flat.layers}
        self._rounded: Array | None = None
        if dtype == np.float16:
            self.scaling = self.flat.scaling = loss_scale(self.flat.params)
            self._rounded = self.xp.empty(self.flat.size, dtype=dtype)
            self._weights = {
                id(layer): {name: self.flat.view(self._rounded, layer, name) for name in layer.params}
                for layer in self.flat.layers
            }
        self.stages = plan_cuda(self.nodes)
        self.couples = any(stage.couples for stage in self.stages)
        self.most: int | None = None  # samples that went in at once when memory last ran out
        self._room = DeviceRoom(self.xp)
        self._losses, self._rights = Numbers(self.xp, np.float64), Numbers(self.xp, np.int64)
        self._done = self.xp.zeros(1, dtype=np.uint32)  # the loss kernel counts its blocks here

    def describe(self) -> str:
        lines = [f"{self.device.name}: whole batches, {self.dtype} pictures, {self.flat.params.dtype} parameters"]
        lines += [f"  {' + '.join(n.name for n in stage.nodes)}: {stage.describe()}" for stage in self.stages]
        return "\n".join(lines)

    # -- prediction ------------------------------------------------------------------------------------------------

    def predict(
        self, x: Array, train: bool = False, step: int = 0, visit: Visit | None = None, first: int = 0
    ) -> Array:
        if visit is not None or len(x) == 0:
            return super().predict(x, train, step, visit, first)
        result = sum_dtype(self.dtype)

        def whole(piece: slice) -> list[Array]:
            p = self._pass(train, False, step, first + piece.start)
            return [self._forward_stages(p, x[piece])[0][self.stages[-1].name].astype(result)]

        scores = self._fitting(len(x), whole, train and self.couples)
        return scores[0] if len(scores) == 1 else self.xp.concatenate(scores)

    # -- training --------------------------------------------------------------------------------------------------

    def gradient(
        self, x: Array, t: Array, train: bool = True, step: int = 0, tally: Tally | None = None
    ) -> tuple[Array, Array]:
        """As the base; the arrays of `flat.grads` are the gradients times `scaling.scale`, where there is one."""
        if len(x) == 0 or not train or t.ndim != 1:
            return self._plainly(x, t, train, step, tally)
        t = t if t.dtype in (np.int32, np.int64) else t.astype(np.int64)
        N = len(x)

        def there_and_back(piece: slice) -> list[Array]:
            p = self._pass(True, True, step, piece.start)
            values, saved = self._forward_stages(p, x[piece])
            y = values[self.stages[-1].name]
            self._backward_stages(p, saved, self._lose(y, t[piece], N))
            if len(y) < N:
                self._add_gradients(first=piece.start == 0)
                y = y.copy()  # the next piece writes to its memory
            return [y]

        pieces = self._fitting(N, there_and_back, self.couples)
        scores = pieces[0]
        if len(pieces) > 1:
            scores = self.xp.concatenate(pieces)
            self.flat.grads[...] = self._total()
        sums = tally or Tally(self.xp)
        loss = loss_ops.count_batch(self._loss, self._right, sums.loss_sum, sums.right, N)
        sums.seen += N
        return loss.reshape(()), scores

    def unscaled(self, grads: Mapping[str, Array]) -> dict[str, Array]:
        if self.scaling is None:
            return dict(grads)
        number = sum_dtype(self.dtype)
        return {name: g.astype(number) / self.scaling.scale for name, g in grads.items()}

    def _lose(self, y: Array, t: Array, N: int) -> Array:
        """The scores' gradient for a piece of a batch of N; its losses and hits are added to this step's."""
        losses = self._room.get("losses", (len(y),), sum_dtype(self.dtype))
        hits = self._room.get("hits", (len(y),), np.uint8)
        return loss_ops.softmax_cross_entropy(
            y, t, loss_ops.Tally(self._loss, self._right, losses, hits, self._done),
            label_smoothing=self.loss.label_smoothing, mean_over=N,
            loss_scale=None if self.scaling is None else self.scaling.scale,
            out=self._room.get("dscores", y.shape, y.dtype),
        )  # fmt: skip

    def _total(self) -> Array:
        return self._room.get("total", (self.flat.size,), self.dtype)

    def _add_gradients(self, first: bool) -> None:
        """Adds those of a piece to those of the pieces before."""
        total = self._total()
        if first:
            total[...] = self.flat.grads
        else:
            total += self.flat.grads

    def _plainly(self, x: Array, t: Array, train: bool, step: int, tally: Tally | None) -> tuple[Array, Array]:
        """Layer after layer, for what no kernel does: one-hot labels, gradients at test time."""
        loss, scores = super().gradient(x.astype(self.flat.params.dtype, copy=False), t, train, step, tally)
        for layer in self.flat.layers:
            for name, g in layer.grads.items():
                self.flat.view(self.flat.grads, layer, name)[...] = (
                    g if self.scaling is None else g * self.scaling.scale
                )
        self.flat.show_grads()
        return loss, scores

    # -- one pass --------------------------------------------------------------------------------------------------

    def _pass(self, train: bool, keep: bool, step: int, first: int) -> CudaPass:
        if self._rounded is not None:
            self._rounded[...] = self.flat.params
        if keep:
            self.flat.show_grads()
        return CudaPass(train, keep, step, self.seed, first, self._room, self.flat, self._weights)

    def _forward_stages(self, p: CudaPass, x: Array) -> tuple[Values, list[Any]]:
        values, saved = {INPUT: x}, []
        for stage in self.stages:
            taken = [values[name] for name in stage.inputs]
            if not isinstance(stage, LayerStage):
                taken = [self.xp.ascontiguousarray(a) for a in taken]
            values[stage.name], state = stage.forward(p, *taken)
            saved.append(state if p.keep else None)
        return values, saved

    def _backward_stages(self, p: CudaPass, saved: list[Any], dy: Array) -> None:
        douts: Values = {self.stages[-1].name: dy}
        for stage, state in zip(reversed(self.stages), reversed(saved), strict=True):
            if not stage.needs_dx and not stage.learns:
                continue  # neither it nor anything before it learns
            dout = douts.pop(stage.name)
            if not isinstance(stage, LayerStage):
                dout = self.xp.ascontiguousarray(dout)
            for name, dx in zip(stage.inputs, stage.backward(p, state, dout), strict=True):
                if name != INPUT and dx is not None:
                    # A sum, not +=: one array may have been handed to several branches.
                    douts[name] = douts[name] + dx if name in douts else dx

    # -- memory ----------------------------------------------------------------------------------------------------

    def _fitting(self, N: int, work: Callable[[slice], list[Array]], whole_only: bool) -> list[Array]:
        """What `work` gives for pieces of a batch, as large as the memory holds."""
        while True:
            most = N if self.most is None or whole_only else min(self.most, N)
            try:
                self._loss, self._right = self._losses.next(), self._rights.next()  # of this step, begun anew
                return [a for piece in pieces_of(slice(0, N), most) for a in work(piece)]
            except self.xp.cuda.memory.OutOfMemoryError as error:
                held = self._room.nbytes
                self._room.clear()
                self.xp.get_default_memory_pool().free_all_blocks()
                if whole_only:
                    advice = "batch normalisation needs all of it at once, so take a smaller one"
                    raise out_of_memory(error, self.device, N, held, advice) from error
                if most == 1:
                    advice = "not even one sample fits: use a smaller network or picture, or --device cpu"
                    raise out_of_memory(error, self.device, N, 0, advice) from error
                self.most = -(-most // 2)
