"""The GPU's way through a network: fixed buffers, few launches, and nothing that waits for the device.

A step allocates nothing after the first one of its size, moves nothing between host and device and reads nothing
back: losses and right answers are added up where they arise. What is between two calls of cuBLAS could be captured as
a CUDA graph, as every array keeps its address; capturing waits for a card.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xpcnn.communication import Communicator
from xpcnn.communication.choose import choose
from xpcnn.device import Array
from xpcnn.executors.cuda_exchange import CudaExchange
from xpcnn.executors.cuda_passes import CudaPasses
from xpcnn.executors.gradients import deliver
from xpcnn.executors.tally import Tally
from xpcnn.layers.base import Context
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.ops.cuda import loss as loss_ops
from xpcnn.ops.cuda.module import sum_dtype

__all__ = ["CudaExecutor"]


class CudaExecutor(CudaPasses):
    """Takes whole batches, or pieces where the memory does not hold one; adding up gives the same step.

    The parameters become views of one array (`flat`). With dtype float16 these stay float32, each pass rounds a copy
    of them, and the loss is scaled so that small gradients do not vanish (`scaling`).
    Arrays that it returns lie in fixed memory and are good until the next pass; `predict` returns copies.
    """

    def join(self, communicator: Communicator, dtype: np.dtype, average_state: bool = False) -> CudaExchange:
        """As the base, by sums that go from GPU to GPU where they can (see communication.choose)."""
        self.exchange = CudaExchange(self.flat, self.stages, choose(communicator, self.device), average_state)
        return self.exchange

    def gradient(
        self,
        x: Array,
        t: Array,
        train: bool = True,
        step: int = 0,
        tally: Tally | None = None,
        part: slice | None = None,
    ) -> tuple[Array, Array]:
        """As the base; the arrays of `flat.grads` are the gradients times `scaling.scale`, where there is one."""
        loss = self.loss
        by_kernel = isinstance(loss, SoftmaxWithLoss) and loss.plain and t.ndim == 1
        exchange = None if part is None else self.exchange
        if exchange is not None:
            exchange.begin()
        if len(t) == 0 or not train or not by_kernel:
            return self._plainly(x, t, train, step, tally, part)
        t = t if t.dtype in (np.int32, np.int64) else t.astype(np.int64)
        N, own = len(t), t if part is None else t[part]
        first = 0 if part is None else part.start

        def there_and_back(piece: slice) -> list[Array]:
            p = self._pass(True, True, step, first + piece.start, N if exchange else None)
            values, saved = self._forward_stages(p, x[piece])
            y = values[self.stages[-1].name]
            dy = self._lose(y, own[piece], N)
            if len(y) == len(x):
                self._backward_stages(p, saved, dy, exchange)
                return [y]
            self._backward_stages(p, saved, dy)
            self._add_gradients(first=piece.start == 0)
            return [y.copy()]  # the next piece writes to its memory

        pieces = self._fitting(len(x), there_and_back, self.couples) if len(x) else [self._absent_stages(x, step, N)]
        scores = pieces[0]
        if len(pieces) > 1:
            scores = self.xp.concatenate(pieces)
            self.flat.grads[...] = self._total()
            if exchange is not None:  # only now are any gradients whole
                exchange.figures(self._loss, self._right)
        if exchange is not None:
            exchange.finish(len(x) / N)
        sums = tally or Tally(self.xp)
        mean = loss_ops.count_batch(self._loss, self._right, sums.loss_sum, sums.right, N)
        sums.seen += N
        return mean.reshape(()), scores

    def unscaled(self, grads: Mapping[str, Array]) -> dict[str, Array]:
        if self.scaling is None:
            return dict(grads)
        number = sum_dtype(self.dtype)
        return {name: g.astype(number) / self.scaling.scale for name, g in grads.items()}

    def _lose(self, y: Array, t: Array, N: int) -> Array:
        """The scores' gradient for a piece of a batch of N; its losses and hits are added to this step's."""
        assert isinstance(self.loss, SoftmaxWithLoss)
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

    def _plainly(
        self, x: Array, t: Array, train: bool, step: int, tally: Tally | None, part: slice | None
    ) -> tuple[Array, Array]:
        """Layer after layer, for what no kernel does: other losses, one-hot labels, gradients at test time."""
        x = x.astype(self.flat.params.dtype, copy=False)
        if part is not None:
            return self._plainly_in_part(x, t, step, tally, part)
        loss, scores = super().gradient(x, t, train, step, tally)
        self._take_gradients()
        return loss, scores

    def _plainly_in_part(self, x: Array, t: Array, step: int, tally: Tally | None, part: slice) -> tuple[Array, Array]:
        """The same for samples `part` of a batch; nothing is summed before all gradients are there."""
        assert self.exchange is not None
        share, shape = len(x) / len(t), self.nodes[-1].shape
        loss, right = self._losses.next(), self._rights.next()
        if len(x):
            scores, contexts = self._forward(x, True, keep=True, step=step, first=part.start, whole=len(t))
            of_part, ctx = self.loss.of_batch(t, shape), Context(True)
            loss[...] = of_part.forward_in(ctx, scores, t[part]) * share
            hits = self.loss.count_right(scores, t[part])
            if hits is not None:
                right[...] = hits
            deliver(self.nodes, [self._backward(contexts, of_part.backward_in(ctx, share))])
            self._take_gradients()
        else:
            scores = self.xp.empty((0, *shape), dtype=x.dtype)
            super()._absent(x, len(t))
            self.flat.show_grads()
            self.flat.grads.fill(0.0)
        self.exchange.figures(loss, right)
        self.exchange.finish(share)
        mean = loss.reshape(()).astype(x.dtype)
        if tally is not None:
            tally.add(mean, right.reshape(()) if self.loss.judges(shape) else None, len(t))
        return mean, scores

    def _take_gradients(self) -> None:
        """Puts the layers' own gradients into the flat array."""
        for layer in self.flat.layers:
            for name, g in layer.grads.items():
                self.flat.view(self.flat.grads, layer, name)[...] = (
                    g if self.scaling is None else g * self.scaling.scale
                )
        self.flat.show_grads()
