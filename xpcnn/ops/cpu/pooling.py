"""2x2 max pooling with bias and ReLU behind it, in one go on channels-last arrays.

Adding the same bias to four numbers and cutting them at 0 does not change which is the largest, so the pooling comes
first and the rest is done on a quarter of the elements.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xpcnn.device import Array

__all__ = ["Choice", "Floor", "bias_relu", "pool_bias_relu", "pool_scatter"]


Floor = Array | float | None  # what a ReLU cuts at: zeros of a line's length (NumPy is slow with one number), or none


class Choice(NamedTuple):
    """Which of the four won: booleans of the pooled shape. right_above: in the upper row the right one; right_below:
    in the lower row the right one; below: the lower row. Of equals the first in reading order."""

    right_above: Array
    right_below: Array
    below: Array


def bias_relu(z: Array, b: Array | None, floor: Floor, y: Array) -> None:
    """Writes z, shifted by b and cut at `floor` where there are such, into y of z's shape; z is overwritten."""
    if b is not None:
        np.add(z, b, out=y if floor is None else z)
    if floor is not None:
        np.maximum(z, floor, out=y)
    elif b is None:
        np.copyto(y, z)


def pool_bias_relu(
    corners: tuple[Array, Array, Array, Array],
    b: Array | None,
    floor: Floor,
    y: Array,
    room: Array,
    choice: Choice | None,
) -> None:
    """Writes the pooled, shifted and cut corners into y, and which corner won into `choice` if there is one.

    corners: upper left, upper right, lower left, lower right element of every window, each of y's shape. room: two
    arrays of that shape, overwritten.
    """
    left_above, right_above, left_below, right_below = corners
    above, below = room
    np.maximum(left_above, right_above, out=above)
    np.maximum(left_below, right_below, out=below)
    if choice is not None:
        np.greater(right_above, left_above, out=choice.right_above)
        np.greater(right_below, left_below, out=choice.right_below)
        np.greater(below, above, out=choice.below)
    np.maximum(above, below, out=above)
    bias_relu(above, b, floor, y)


def pool_scatter(dy: Array, choice: Choice, corners: tuple[Array, Array, Array, Array], room: Array) -> None:
    """Writes each element of dy to the corner that won and 0 to the other three. room: of dy's shape."""
    a, b, c, d = corners
    np.multiply(dy, choice.below, out=room)
    np.multiply(room, choice.right_below, out=d)
    np.subtract(room, d, out=c)
    np.subtract(dy, room, out=room)
    np.multiply(room, choice.right_above, out=b)
    np.subtract(room, b, out=a)
