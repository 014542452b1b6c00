"""The CPU's way through a network: each thread takes whole pieces of the batch forward and backward.

A piece is small enough that what one layer hands to the next is still in the core's cache, and with BLAS held to
one thread the cores never wait for each other inside a layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.eager import EagerExecutor, Gradients, Visit, deliver
from xpcnn.executors.threads import available_cores, one_blas_thread, run_together
from xpcnn.graph import INPUT, Node
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.loss import SoftmaxWithLoss

__all__ = ["CpuExecutor"]

_CACHE = 2**20  # bytes that the busiest layer of a piece may touch: about the L2 of one core


class CpuExecutor(EagerExecutor):
    """Cuts batches into pieces over `threads` threads (None: as many as there are cores to use).

    The pieces and their order depend on the batch's size and `threads` alone, so equal runs give equal bits. A
    network with a layer that couples the samples in training (batch normalisation) is trained whole, as by the
    EagerExecutor, with BLAS's own threads.
    """

    def __init__(
        self, nodes: Mapping[str, Node], loss: SoftmaxWithLoss, seed: int, input_bytes: int, threads: int | None = None
    ) -> None:
        super().__init__(nodes, loss, seed)
        self.threads = available_cores() if threads is None else threads
        self.piece_size = max(1, _CACHE // max(1, _busiest(nodes, input_bytes)))
        self.coupled = any(node.layer.needs_whole_batch for node in self.nodes)

    def describe(self) -> str:
        if self.coupled:
            return f"training: the whole batch at a time; prediction: {self._words()}"
        return self._words()

    def _words(self) -> str:
        return f"cpu: pieces of at most {self.piece_size} samples over {self.threads} thread(s)"

    def _shares(self, N: int) -> list[list[slice]]:
        """For each thread the pieces it takes: as many for one as for another, sizes as equal as can be."""
        threads = max(1, min(self.threads, N))
        bounds = [N * i // threads for i in range(threads + 1)]
        shares = []
        for start, stop in zip(bounds, bounds[1:], strict=False):
            count = math.ceil((stop - start) / self.piece_size)
            cuts = [start + (stop - start) * i // count for i in range(count + 1)]
            shares.append([slice(a, b) for a, b in zip(cuts, cuts[1:], strict=False)])
        return shares

    def predict(
        self, x: Array, train: bool = False, step: int = 0, visit: Visit | None = None, first: int = 0
    ) -> Array:
        if visit is not None or len(x) == 0 or (train and self.coupled):
            return super().predict(x, train, step, visit, first)
        scores = np.empty((len(x), *self.nodes[-1].shape), dtype=x.dtype)

        def work(pieces: list[slice]) -> None:
            for piece in pieces:
                scores[piece] = super(CpuExecutor, self).predict(x[piece], train, step, None, first + piece.start)

        with one_blas_thread():
            run_together([lambda pieces=pieces: work(pieces) for pieces in self._shares(len(x))])  # type: ignore[misc]
        return scores

    def gradient(self, x: Array, t: Array, train: bool = True, step: int = 0) -> tuple[Array, Array]:
        if len(x) == 0 or (train and self.coupled):
            return super().gradient(x, t, train, step)
        N = len(x)
        scores = np.empty((N, *self.nodes[-1].shape), dtype=x.dtype)

        def work(pieces: list[slice]) -> tuple[float, Gradients]:
            total: Gradients = {}
            loss_sum = 0.0
            for piece in pieces:
                share = (piece.stop - piece.start) / N
                loss, scores[piece], grads = self.piece(x[piece], t[piece], train, step, piece.start, share)
                loss_sum += float(loss)
                _add(total, grads)
            return loss_sum, total

        with one_blas_thread():
            done = run_together([lambda pieces=pieces: work(pieces) for pieces in self._shares(N)])  # type: ignore[misc]
        deliver(self.nodes, [grads for _, grads in done])
        return np.asarray(sum(loss for loss, _ in done), dtype=x.dtype), scores


def _add(total: Gradients, grads: Gradients) -> None:
    """Adds a piece's gradients to a thread's own."""
    for node, arrays in grads.items():
        mine = total.setdefault(node, arrays)
        if mine is not arrays:
            for name, g in arrays.items():
                mine[name] += g


def _busiest(nodes: Mapping[str, Node], input_bytes: int) -> int:
    """Bytes that the busiest layer touches for one sample: its inputs, its output, a convolution's columns."""
    item = 4
    sizes = {INPUT: input_bytes, **{name: item * math.prod(node.shape) for name, node in nodes.items()}}
    busiest = 1
    for node in nodes.values():
        touched = sizes[node.name] + sum(sizes[name] for name in node.inputs)
        if isinstance(node.layer, Convolution):
            W = node.layer.params["W"]
            touched += item * math.prod(W.shape[1:]) * node.layer.groups * math.prod(node.shape[1:])
        busiest = max(busiest, touched)
    return busiest
