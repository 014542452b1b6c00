"""Batches on their way through the stages of the CUDA path, there and back, in as many pieces as the memory needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpcnn.device import Array, CudaDevice
from xpcnn.executors.cuda_exchange import CudaExchange
from xpcnn.executors.cuda_plan import plan_cuda
from xpcnn.executors.cuda_stage import CudaPass, LayerStage, Others
from xpcnn.executors.device_memory import DeviceRoom, Numbers, out_of_memory
from xpcnn.executors.eager import EagerExecutor, Visit
from xpcnn.executors.passage import pieces_of
from xpcnn.flat import FlatArrays
from xpcnn.graph import INPUT, Node
from xpcnn.layers.loss import Loss
from xpcnn.ops.cuda.gradients import LossScale, loss_scale
from xpcnn.ops.cuda.module import sum_dtype

__all__ = ["CudaPasses"]

Values = dict[str, Array]


class CudaPasses(EagerExecutor):
    """The stages, what they need, and batches put through them."""

    flat: FlatArrays
    exchange: CudaExchange | None = None  # type: ignore[assignment]

    def __init__(self, nodes: Mapping[str, Node], loss: Loss, seed: int, device: CudaDevice, dtype: np.dtype) -> None:
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

    # -- one pass --------------------------------------------------------------------------------------------------

    def _pass(self, train: bool, keep: bool, step: int, first: int, whole: int | None = None) -> CudaPass:
        """whole: samples of the batch of which other processes have the rest; None: there are none."""
        if self._rounded is not None:
            self._rounded[...] = self.flat.params
        if keep:
            self.flat.show_grads()
        others = None
        if whole is not None and self.across is not None:
            assert self.exchange is not None
            ranks = self.exchange.communicator
            others = Others(self.across, ranks.rank, ranks.size, whole)
        return CudaPass(train, keep, step, self.seed, first, self._room, self.flat, self._weights, others)

    def _forward_stages(self, p: CudaPass, x: Array) -> tuple[Values, list[Any]]:
        values, saved = {INPUT: x}, []
        for stage in self.stages:
            taken = [values[name] for name in stage.inputs]
            if not isinstance(stage, LayerStage):
                taken = [self.xp.ascontiguousarray(a) for a in taken]
            values[stage.name], state = stage.forward(p, *taken)
            saved.append(state if p.keep else None)
        return values, saved

    def _backward_stages(self, p: CudaPass, saved: list[Any], dy: Array, exchange: CudaExchange | None = None) -> None:
        """exchange: told of each stage that is done, after the step's figures."""
        if exchange is not None:
            exchange.figures(self._loss, self._right)
        douts: Values = {self.stages[-1].name: dy}
        for place in reversed(range(len(self.stages))):
            stage, state = self.stages[place], saved[place]
            if not stage.needs_dx and not stage.learns:
                continue  # neither it nor anything before it learns
            dout = douts.pop(stage.name)
            if not isinstance(stage, LayerStage):
                dout = self.xp.ascontiguousarray(dout)
            for name, dx in zip(stage.inputs, stage.backward(p, state, dout), strict=True):
                if name != INPUT and dx is not None:
                    # A sum, not +=: one array may have been handed to several branches.
                    douts[name] = douts[name] + dx if name in douts else dx
            if exchange is not None:
                exchange.passed(place)

    def _absent_stages(self, x: Array, step: int, whole: int) -> Array:
        """The pass of a process that has no sample of a batch: it takes part in what all add up, in the same order."""
        p = self._pass(True, True, step, 0, whole)
        self._loss, self._right = self._losses.next(), self._rights.next()
        self.flat.grads.fill(0.0)
        shapes = {node.name: node.shape for node in self.nodes} | {INPUT: x.shape[1:]}
        coupled = [stage for stage in self.stages if stage.couples and p.others is not None]
        saved: dict[str, Any] = {}
        for stage in coupled:
            nothing = (self.xp.empty((0, *shapes[name]), dtype=self.dtype) for name in stage.inputs)
            _, saved[stage.name] = stage.forward(p, *nothing)
        assert self.exchange is not None
        self.exchange.figures(self._loss, self._right)
        for place, stage in reversed(list(enumerate(self.stages))):
            if stage.name in saved and (stage.needs_dx or stage.learns):
                stage.backward(p, saved[stage.name], self.xp.empty((0, *shapes[stage.name]), dtype=self.dtype))
            self.exchange.passed(place)
        return self.xp.empty((0, *shapes[self.stages[-1].name]), dtype=self.dtype)

    # -- memory ----------------------------------------------------------------------------------------------------

    def _fitting(self, N: int, work: Callable[[slice], list[Array]], whole_only: bool) -> list[Array]:
        """What `work` gives for pieces of a batch, as large as the memory holds."""
        while True:
            most = N if self.most is None or whole_only else min(self.most, N)
            try:
                self._loss, self._right = self._losses.next(), self._rights.next()  # of this step, begun anew
                return [a for piece in pieces_of(slice(0, N), most) for a in work(piece)]
            except self.xp.cuda.memory.OutOfMemoryError as error:
                if self.exchange is not None:
                    self.exchange.set_aside()
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
