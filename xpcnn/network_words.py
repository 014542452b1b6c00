"""What a network says to people: its table, and what is wrong with a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping

from xpcnn.errors import ShapeError
from xpcnn.graph import Node
from xpcnn.layers.base import Shape

__all__ = ["check_batch", "summary_of"]


def check_batch(shape: Shape, input_shape: Shape, first_layer: str) -> None:
    """Raises ShapeError, with a hint where one is known, for a `shape` that is not (N, *input_shape)."""
    if shape and shape[1:] == input_shape:
        return
    hint = ""
    if shape == input_shape:
        hint = "; this is a single sample, make a batch of it with x[None]"
    elif len(shape) == 2 and shape[1] == math.prod(input_shape):
        hint = f"; these are flat, use x.reshape(-1, {', '.join(map(str, input_shape))}) or flatten=False"
    elif len(shape) == 4 and (shape[3], *shape[1:3]) == input_shape:
        hint = "; these have their channels last (NHWC), use x.transpose(0, 3, 1, 2)"
    wanted = ", ".join(map(str, input_shape))
    raise ShapeError(f"layer {first_layer!r} takes a batch of shape (N, {wanted}), got {shape}{hint}")


def summary_of(nodes: Mapping[str, Node], where: str, plan: str) -> str:
    """A table of the layers, the number of parameters (a shared layer's once), and the plan if there is one."""
    rows = [("layer", "kind", "output", "parameters", "after")]
    for node in nodes.values():
        count = sum(a.size for a in node.layer.params.values())
        shape = f"({', '.join(map(str, ('N', *node.shape)))})"
        rows.append((node.name, type(node.layer).__name__, shape, f"{count:,}", ", ".join(node.inputs)))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if i == 3 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells))
    lines.insert(1, "-" * max(map(len, lines)))
    layers = {id(node.layer): node.layer for node in nodes.values()}
    total = sum(a.size for layer in layers.values() for a in layer.params.values())
    lines.append(f"{total:,} parameters, {where}")
    lines += [plan] if plan else []
    return "\n".join(line.rstrip() for line in lines)
