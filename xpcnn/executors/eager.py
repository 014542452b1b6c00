"""The plain way through a network: one layer after another over the whole batch, on any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from xpcnn.communication import Communicator
from xpcnn.device import Array, get_array_module
from xpcnn.executors.exchange import Exchange, GradientExchange, HandOver
from xpcnn.executors.gradients import Gradients, deliver
from xpcnn.executors.tally import Tally
from xpcnn.flat import FlatArrays
from xpcnn.graph import INPUT, Node
from xpcnn.layers.base import Context
from xpcnn.layers.loss import Loss
from xpcnn.rng import stream_number

__all__ = ["EagerExecutor", "Gradients", "Visit", "deliver"]

Visit = Callable[[str, Array], None]  # told each layer's name and output as they come


class EagerExecutor:
    """Runs the nodes in order. Keeps nothing between calls but what is derived from the graph.

    Where several processes train together, each with a part of every batch, `exchange` sums their gradients and
    `across` the statistics of batch normalisation, in place (None: each process normalises by its own part's).
    """

    flat: FlatArrays | None = None  # where an executor has put all parameters, and all gradients, into one array
    exchange: GradientExchange | None = None
    across: Callable[[Array], None] | None = None

    def __init__(self, nodes: Mapping[str, Node], loss: Loss, seed: int) -> None:
        self.nodes = list(nodes.values())
        self.loss = loss
        self.seed = seed
        self.streams = {node.name: stream_number(node.name) for node in self.nodes}
        # After this node nobody asks for the value any more, so it can go.
        self.last_use = {name: node.name for node in self.nodes for name in node.inputs}

    def join(self, communicator: Communicator, dtype: np.dtype, average_state: bool = False) -> Exchange:
        """Lets `gradient` take parts of batches, the rest of which the communicator's other processes take.

        dtype: of the parameters. average_state: running statistics become the mean of all processes'.
        """
        layers = [node.layer for node in self.nodes]
        self.exchange = GradientExchange(layers, communicator, dtype, average_state)
        return self.exchange

    def describe(self) -> str:
        """One line: how batches go through."""
        return "eager: layer after layer, the whole batch at a time"

    def predict(
        self, x: Array, train: bool = False, step: int = 0, visit: Visit | None = None, first: int = 0
    ) -> Array:
        """Scores (N, K) for a batch on the network's device. visit(name, output) is called after each layer."""
        return self._forward(x, train, keep=False, step=step, first=first, visit=visit)[0]

    def gradient(
        self,
        x: Array,
        t: Array,
        train: bool = True,
        step: int = 0,
        tally: Tally | None = None,
        part: slice | None = None,
    ) -> tuple[Array, Array]:
        """Loss (0-d, on the device) and scores of one batch; leaves each layer's gradients in its `grads`.

        tally: counts the batch. part: x are only these samples, perhaps none, of the batch whose targets are t, and
        other processes have the rest: loss, tally and gradients are the whole batch's, the scores those of x.
        """
        if part is not None:
            return self._of_part(x, t, step, tally, part)
        loss, scores, grads = self.piece(x, t, train, step)
        deliver(self.nodes, [grads])
        if tally is not None:
            tally.add(loss, self.loss.count_right(scores, t), len(scores))
        return loss, scores

    def unscaled(self, grads: Mapping[str, Array]) -> dict[str, Array]:
        """The gradients, by name, of the loss itself, whatever scale they were calculated with."""
        return dict(grads)

    def piece(
        self, x: Array, t: Array, train: bool, step: int, first: int = 0, share: float = 1.0
    ) -> tuple[Array, Array, Gradients]:
        """Forward and backward over a batch, or over the piece of one that begins at sample `first`.

        share: the piece's part of the batch. Returns the loss and the gradients, both times share, and the scores.
        Safe in several threads at once for different pieces.
        """
        scores, contexts = self._forward(x, train, keep=True, step=step, first=first)
        loss_context = Context(train)
        loss = self.loss.forward_in(loss_context, scores, t)
        if share != 1.0:
            loss = loss * share
        return loss, scores, self._backward(contexts, self.loss.backward_in(loss_context, share))

    def _of_part(self, x: Array, t: Array, step: int, tally: Tally | None, part: slice) -> tuple[Array, Array]:
        """`gradient` at training time for samples `part` of a batch."""
        assert self.exchange is not None
        learning = {node.name: i for i, node in enumerate(n for n in reversed(self.nodes) if n.layer.params)}
        share, loss, right = len(x) / len(t), 0.0, 0
        hand = HandOver(self.exchange, self.nodes, 1, [[name] for name in learning])

        def learned(name: str, grads: dict[str, Array]) -> None:
            hand.done(learning[name], 0, {name: grads})

        if len(x):
            scores, contexts = self._forward(x, True, keep=True, step=step, first=part.start, whole=len(t))
            of_part, ctx = self.loss.of_batch(t, self.nodes[-1].shape), Context(True)
            loss = float(of_part.forward_in(ctx, scores, t[part])) * share
            right = int(self.loss.count_right(scores, t[part]) or 0)
            self._backward(contexts, of_part.backward_in(ctx, share), learned)
        else:
            scores = get_array_module(x).empty((0, *self.nodes[-1].shape), dtype=x.dtype)
            self._absent(x, len(t))
            for name in learning:
                learned(name, {})
        return self._counted(*hand.finish(loss, right, share), scores, t, tally)

    def _counted(self, loss: float, right: int, scores: Array, t: Array, tally: Tally | None) -> tuple[Array, Array]:
        """What `gradient` returns where a batch's loss and right answers have come from all processes."""
        xp = get_array_module(scores)
        mean = xp.asarray(loss, dtype=scores.dtype)
        if tally is not None:
            tally.add(mean, xp.asarray(right) if self.loss.judges(self.nodes[-1].shape) else None, len(t))
        return mean, scores

    def _everywhere(self, part: Array) -> Array:
        """The sum of all processes' parts."""
        assert self.across is not None
        self.across(part)
        return part

    def _absent(self, x: Array, whole: int) -> None:
        """Takes part in the others' statistics, with no sample of a batch of `whole`."""
        if self.across is None:
            return
        shapes = {INPUT: x.shape[1:], **{node.name: node.shape for node in self.nodes}}
        coupled = [node for node in self.nodes if node.layer.needs_whole_batch]
        contexts = [Context(True, total=self._everywhere, samples=whole) for _ in coupled]
        xp = get_array_module(x)
        for node, ctx in zip(coupled, contexts, strict=True):
            node.layer.forward_in(ctx, *(xp.empty((0, *shapes[name]), dtype=x.dtype) for name in node.inputs))
        for node, ctx in zip(reversed(coupled), reversed(contexts), strict=True):
            node.layer.backward_in(ctx, xp.empty((0, *node.shape), dtype=x.dtype))

    def _forward(
        self,
        x: Array,
        train: bool,
        keep: bool,
        step: int,
        first: int,
        visit: Visit | None = None,
        whole: int | None = None,
    ) -> tuple[Array, dict[str, Context]]:
        """whole: samples of the batch of which x is one process's part; None: there are no others."""
        total = None if whole is None or self.across is None else self._everywhere
        values: dict[str, Array] = {INPUT: x}
        contexts: dict[str, Context] = {}
        for node in self.nodes:
            stream = self.streams[node.name]
            ctx = Context(
                train, keep=keep, need_dx=node.needs_dx, seed=self.seed, stream=stream, step=step, first=first,
                total=total, samples=whole or len(x),
            )  # fmt: skip
            if keep:
                contexts[node.name] = ctx
            value = values[node.name] = node.layer.forward_in(ctx, *(values[name] for name in node.inputs))
            for name in set(node.inputs):
                if self.last_use[name] == node.name:
                    del values[name]
            if visit is not None:
                visit(node.name, value)
        return value, contexts

    def _backward(
        self, contexts: dict[str, Context], dout: Array, learned: Callable[[str, dict[str, Array]], None] | None = None
    ) -> Gradients:
        """learned: told the gradients of every node that has parameters, as they come."""
        grads: Gradients = {}
        douts: dict[str, Array] = {self.nodes[-1].name: dout}
        for node in reversed(self.nodes):
            ctx = contexts.pop(node.name)
            if not node.needs_dx and not node.layer.params:
                continue  # neither it nor anything before it learns
            dxs = node.layer.backward_in(ctx, douts.pop(node.name))
            grads[node.name] = ctx.grads
            if learned is not None and node.layer.params:
                learned(node.name, ctx.grads)
            for name, dx in zip(node.inputs, dxs if isinstance(dxs, tuple) else (dxs,), strict=True):
                if name != INPUT and dx is not None:
                    # A sum, not +=: one array may have been handed to several branches.
                    douts[name] = douts[name] + dx if name in douts else dx
        return grads
