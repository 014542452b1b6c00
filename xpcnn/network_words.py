"""What a network says to people: its table, and what is wrong with a batch."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn.errors import InputWarning, ShapeError
from xpcnn.graph import Node
from xpcnn.layers.base import Shape

__all__ = ["as_labels", "check_batch", "layout_hint", "summary_of", "unscaled", "warn", "warn_unscaled"]

_SURELY_PIXELS = 8  # a side from which two equal ones before a 1 or a 3 are height and width, hardly channels


def check_batch(x: Any, input_shape: Shape, first_layer: str) -> None:
    """Raises ShapeError, with a hint where one is known, for an x that is not numbers of shape (N, *input_shape)."""
    try:
        shape = tuple(np.shape(x))
    except ValueError as error:  # NumPy's own: the parts of a list are not alike
        raise ShapeError("a batch's samples have one shape, got a list of different ones; bring them to one") from error
    if getattr(x, "dtype", np.dtype(float)).kind not in "biuf":
        raise ShapeError(f"a batch holds real numbers, got an array of dtype {x.dtype}")
    if shape and shape[1:] == input_shape:
        return
    wanted = ", ".join(map(str, input_shape))
    hint = _hint(shape, input_shape)
    raise ShapeError(f"layer {first_layer!r} takes a batch of shape (N, {wanted}), got {shape}{hint and '; ' + hint}")


def _hint(shape: Shape, wanted: Shape) -> str:
    """What was most likely meant by a batch of `shape` where (N, *wanted) is taken; "" where nothing is known."""
    if shape == wanted:
        return "this is a single sample, make a batch of it with x[None]"
    if len(shape) == 2 and shape[1] == math.prod(wanted):
        return f"these are flat, use x.reshape(-1, {', '.join(map(str, wanted))}) or flatten=False"
    if len(wanted) == 1 and len(shape) > 2 and math.prod(shape[1:]) == wanted[0]:
        return "this network takes flat samples, use x.reshape(len(x), -1)"
    if len(wanted) != 3:
        return ""
    if len(shape) == 4 and (shape[3], *shape[1:3]) == wanted:
        return "these have their channels last (NHWC), use x.transpose(0, 3, 1, 2)"
    if len(shape) == 4 and (*shape[2:], shape[1]) == wanted:
        return (
            "these have their channels first (NCHW) as they should, but the network was made for channels last; "
            f"make it with input_shape={shape[1:]}"
        )
    if len(shape) == 3 and (shape[2], *shape[:2]) == wanted:
        return "this is a single picture with its channels last, use x.transpose(2, 0, 1)[None]"
    if wanted[0] == 1 and shape[1:] == wanted[1:]:
        return "these have no axis for their channel, use x[:, None]"
    if wanted[0] == 1 and shape == wanted[1:]:
        return "this is a single picture without an axis for its channel, use x[None, None]"
    return ""


def as_labels(t: Any) -> np.ndarray[Any, Any]:
    """Labels given as a list, as an array. Raises ShapeError where the list is ragged."""
    try:
        return np.asarray(t)
    except ValueError as error:
        raise ShapeError("labels are one number each, or rows of one length; got a list of different ones") from error


def layout_hint(input_shape: object) -> str:
    """What to say of an input_shape that looks like (H, W, C), for every layer takes (C, H, W); "" of others."""
    sizes = list(input_shape) if isinstance(input_shape, Sequence) else []
    if len(sizes) != 3 or not all(isinstance(n, int) for n in sizes):
        return ""
    H, W, C = sizes
    if not (H == W >= _SURELY_PIXELS and C in (1, 3)):
        return ""
    return (
        f"input_shape={(H, W, C)} looks like channels last (NHWC), but is taken as {H} channels of {W}x{C}; "
        f"if pictures are meant, make the network with {(C, H, W)} and give it x.transpose(0, 3, 1, 2)"
    )


def unscaled(x: Any) -> bool:
    """Whether x is an array on the host of bytes that use more of 0..255 than 0 and 1."""
    return isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.size > 0 and int(x.max()) > 1


def warn_unscaled(what: str, advice: str) -> None:
    """Warns that `what` has values up to 255 and goes into a network so."""
    warn(
        f"{what} has values of 0..255 and goes into the network unscaled, which initial weights and learning rates "
        f"are not made for; {advice}"
    )


def warn(text: str) -> None:
    """An InputWarning that points at the line outside xpcnn from which all this was called."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "xpcnn":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, InputWarning, stacklevel=level)


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
