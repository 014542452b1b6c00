"""The plain way through a network: one layer after another over the whole batch, on any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xpcnn.device import Array
from xpcnn.executors.tally import Tally
from xpcnn.flat import FlatArrays
from xpcnn.graph import INPUT, Node
from xpcnn.layers.base import Context
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.rng import stream_number

__all__ = ["EagerExecutor", "Gradients", "Visit", "deliver"]

Gradients = dict[str, dict[str, Array]]  # by node, then by parameter
Visit = Callable[[str, Array], None]  # told each layer's name and output as they come


class EagerExecutor:
    """Runs the nodes in order. Keeps nothing between calls but what is derived from the graph."""

    flat: FlatArrays | None = None  # where an executor has put all parameters, and all gradients, into one array

    def __init__(self, nodes: Mapping[str, Node], loss: SoftmaxWithLoss, seed: int) -> None:
        self.nodes = list(nodes.values())
        self.loss = loss
        self.seed = seed
        self.streams = {node.name: stream_number(node.name) for node in self.nodes}
        # After this node nobody asks for the value any more, so it can go.
        self.last_use = {name: node.name for node in self.nodes for name in node.inputs}

    def describe(self) -> str:
        """One line: how batches go through."""
        return "eager: layer after layer, the whole batch at a time"

    def predict(
        self, x: Array, train: bool = False, step: int = 0, visit: Visit | None = None, first: int = 0
    ) -> Array:
        """Scores (N, K) for a batch on the network's device. visit(name, output) is called after each layer."""
        return self._forward(x, train, keep=False, step=step, first=first, visit=visit)[0]

    def gradient(
        self, x: Array, t: Array, train: bool = True, step: int = 0, tally: Tally | None = None
    ) -> tuple[Array, Array]:
        """Loss (0-d, on the device) and scores of one batch; leaves each layer's gradients in its `grads`.

        tally: counts the batch.
        """
        loss, scores, grads = self.piece(x, t, train, step)
        deliver(self.nodes, [grads])
        if tally is not None:
            tally.add(loss, scores, t)
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

    def _forward(
        self, x: Array, train: bool, keep: bool, step: int, first: int, visit: Visit | None = None
    ) -> tuple[Array, dict[str, Context]]:
        values: dict[str, Array] = {INPUT: x}
        contexts: dict[str, Context] = {}
        for node in self.nodes:
            stream = self.streams[node.name]
            ctx = Context(
                train, keep=keep, need_dx=node.needs_dx, seed=self.seed, stream=stream, step=step, first=first
            )
            if keep:
                contexts[node.name] = ctx
            value = values[node.name] = node.layer.forward_in(ctx, *(values[name] for name in node.inputs))
            for name in set(node.inputs):
                if self.last_use[name] == node.name:
                    del values[name]
            if visit is not None:
                visit(node.name, value)
        return value, contexts

    def _backward(self, contexts: dict[str, Context], dout: Array) -> Gradients:
        grads: Gradients = {}
        douts: dict[str, Array] = {self.nodes[-1].name: dout}
        for node in reversed(self.nodes):
            ctx = contexts.pop(node.name)
            if not node.needs_dx and not node.layer.params:
                continue  # neither it nor anything before it learns
            dxs = node.layer.backward_in(ctx, douts.pop(node.name))
            grads[node.name] = ctx.grads
            for name, dx in zip(node.inputs, dxs if isinstance(dxs, tuple) else (dxs,), strict=True):
                if name != INPUT and dx is not None:
                    # A sum, not +=: one array may have been handed to several branches.
                    douts[name] = douts[name] + dx if name in douts else dx
        return grads


def deliver(nodes: Sequence[Node], pieces: Sequence[Gradients]) -> None:
    """Sums the gradients of all pieces, in their order, into each layer's `grads`; a layer at two nodes gets both's."""
    for layer in {id(node.layer): node.layer for node in nodes}.values():
        layer.grads = {}
    for node in nodes:
        total = node.layer.grads
        for piece in pieces:
            for name, g in piece.get(node.name, {}).items():
                if name not in total:
                    total[name] = g
                else:
                    total[name] = total[name] + g
