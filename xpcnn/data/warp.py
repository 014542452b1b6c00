"""Bilinear warps of picture batches: turning, zooming, slanting and bending in one pass.

The place in the old picture from which a pixel of the new one comes is here always a sum of something that depends on
its row and something that depends on its column. That covers every affine map and smooth bends as well, and costs one
addition a pixel where a general field of displacements would cost the making of that field.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Places", "affine_places", "bend_places", "warp"]

Array = np.ndarray[Any, Any]

# (down by row (N, H), down by column (N, W), across by row (N, H), across by column (N, W)), in pixels.
Places = tuple[Array, Array, Array, Array]

_TOGETHER = 2**15  # pixels worked on at a time: what lies between the steps then stays in the cache


def affine_places(height: int, width: int, matrix: Array) -> Places:
    """Where the pixels of n new pictures come from: matrix (n, 2, 2) times (down, across) from the centre."""
    middle_down, middle_across = (height - 1) / 2, (width - 1) / 2
    rows, columns = np.arange(height) - middle_down, np.arange(width) - middle_across
    return (
        matrix[:, 0, :1] * rows + middle_down,
        matrix[:, 0, 1:] * columns,
        matrix[:, 1, :1] * rows + middle_across,
        matrix[:, 1, 1:] * columns,
    )


def bend_places(places: Places, pixels: float, rng: np.random.Generator) -> Places:
    """The same places, each of the four parts moved along a sine of its own.

    Heights lie in 0..pixels, lengths in 2/3 to 2 pictures, and the sines begin anywhere.
    """
    bent = []
    for part in places:
        n, length = part.shape
        waves, begin = rng.uniform(0.5, 1.5, (n, 1)), rng.uniform(0.0, 1.0, (n, 1))
        height = rng.uniform(0.0, pixels, (n, 1))
        bent.append(part + height * np.sin(2.0 * np.pi * (waves * np.arange(length) / length + begin)))
    return bent[0], bent[1], bent[2], bent[3]


def warp(x: Array, places: Places) -> Array:
    """New pictures of the shape and dtype of x, float (N, C, H, W), each pixel fetched bilinearly from its place.

    Outside the picture all is zero.
    """
    n, _, height, width = x.shape
    result = np.empty_like(x)
    parts = [part.astype(x.dtype) for part in places]
    step = max(1, _TOGETHER // (height * width))
    for start in range(0, n, step):
        some = slice(start, start + step)
        down_row, down_column, across_row, across_column = (part[some] for part in parts)
        down = down_row[:, :, None] + down_column[:, None, :]
        across = across_row[:, :, None] + across_column[:, None, :]
        _fetch(x[some], down, across, result[some])
    return result


def _fetch(x: Array, down: Array, across: Array, out: Array) -> None:
    """One bilinear look-up of all channels; down and across (n, H, W) are used up."""
    n, channels, height, width = x.shape
    # A frame of zeros, one before and two behind, to which every place outside is led.
    framed_height, framed_width = height + 3, width + 3
    framed = np.zeros((channels, n, framed_height, framed_width), x.dtype)
    framed[:, :, 1:-2, 1:-2] = x.swapaxes(0, 1)
    np.clip(down, -1, height, out=down)
    np.clip(across, -1, width, out=across)
    top, left = np.floor(down), np.floor(across)
    down -= top
    across -= left
    first = np.arange(n).reshape(n, 1, 1) * (framed_height * framed_width) + framed_width + 1
    corner = first + top.astype(np.intp) * framed_width + left.astype(np.intp)
    corners = corner, corner + 1, corner + framed_width, corner + (framed_width + 1)
    for channel in range(channels):
        pixels = framed[channel].reshape(-1)
        upper, upper_right, lower, lower_right = (pixels.take(places) for places in corners)
        _toward(upper, upper_right, across)
        _toward(lower, lower_right, across)
        _toward(upper, lower, down)
        out[:, channel] = upper


def _toward(a: Array, b: Array, share: Array) -> None:
    """a += (b - a) * share, in place; b is used up."""
    b -= a
    b *= share
    a += b
