"""2x2 max pooling with bias and ReLU behind it, in one go on channels-last arrays.

Adding the same bias to four numbers and cutting them at 0 does not change which is the largest, so the pooling comes
first and the rest is done on a quarter of the elements.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xpcnn.device import Array

__all__ = ["Choice", "pool_bias_relu", "pool_scatter"]


class Choice(NamedTuple):
    """Which of the four won: booleans of the pooled shape. right_above: in the upper row the right one; right_below:
    in the lower row the right one; below: the lower row. Of equals the first in reading order."""

    right_above: Array
    right_below: Array
    below: Array


def pool_bias_relu(
    corners: tuple[Array, Array, Array, Array],
    b: Array | None,
    relu: bool,
    y: Array,
    room: Array,
    choice: Choice | None,
) -> None:
    """Writes the pooled, shifted and cut corners into y, and which corner won into `choice` if there is one.

    corners: upper left, upper right, lower left, lower right element of every window, each (..., FN). y, room: of
    that shape; room is overwritten.
    """
    a, b2, c, d = corners
    np.maximum(a, b2, out=y)
    np.maximum(c, d, out=room)
    if choice is not None:
        np.greater(b2, a, out=choice.right_above)
        np.greater(d, c, out=choice.right_below)
        np.greater(room, y, out=choice.below)
    np.maximum(y, room, out=y)
    if b is not None:
        y += b
    if relu:
        np.maximum(y, 0.0, out=y)


def pool_scatter(dy: Array, choice: Choice, corners: tuple[Array, Array, Array, Array], room: Array) -> None:
    """Writes each element of dy to the corner that won and 0 to the other three. room: of dy's shape."""
    a, b, c, d = corners
    np.multiply(dy, choice.below, out=room)
    np.multiply(room, choice.right_below, out=d)
    np.subtract(room, d, out=c)
    np.subtract(dy, room, out=room)
    np.multiply(room, choice.right_above, out=b)
    np.subtract(room, b, out=a)
