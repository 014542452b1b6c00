"""The parameters' gradients of a pass, as executors gather them before the layers show them."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.device import Array
from xpcnn.graph import Node

__all__ = ["Gradients", "deliver"]

Gradients = dict[str, dict[str, Array]]  # by node, then by parameter


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
