"""Resizing pictures, one axis after the other: each is a choice of elements (nearest) or a product with a matrix.

Follows the definitions of ONNX's Resize; PyTorch's and TensorFlow's ways are among them.
"""

from __future__ import annotations

import math

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError
from xpcnn.ops.geometry import check_size

__all__ = [
    "COORDINATES",
    "RESIZE_MODES",
    "ROUNDINGS",
    "along_axis",
    "nearest_places",
    "resize_coordinates",
    "resize_matrix",
]

COORDINATES = (
    "align_corners",
    "asymmetric",
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "tf_crop_and_resize",
    "tf_half_pixel_for_nn",
)
RESIZE_MODES = ("cubic", "linear", "nearest")
ROUNDINGS = ("ceil", "floor", "round_prefer_ceil", "round_prefer_floor")


def resize_coordinates(
    size: int, new_size: int, scale: float, coordinates: str, roi: tuple[float, float] = (0.0, 1.0)
) -> np.ndarray:
    """Where each of an axis' `new_size` new elements lies among its `size` old ones. Returns (new_size,) float64.

    scale: new length over old, which `new_size` has been rounded down from. coordinates: one of COORDINATES. roi:
    the part of the axis that "tf_crop_and_resize" stretches over the whole, 0 to 1 for all of it. Raises ConfigError
    for other coordinates.
    """
    check_size((new_size,), 8, "the elements of a resized axis")
    new = np.arange(new_size, dtype=np.float64)
    length = scale * size
    if coordinates == "align_corners":
        return new * ((size - 1) / (length - 1.0)) if length != 1.0 else new * 0.0
    if coordinates == "asymmetric":
        return new / scale
    if coordinates == "tf_crop_and_resize":
        start, end = roi
        if new_size == 1:
            return new * 0.0 + (start + end) * (size - 1) / 2.0
        return start * (size - 1) + new * ((end - start) * (size - 1) / (length - 1.0))
    if coordinates == "tf_half_pixel_for_nn":
        return (new + 0.5) / scale
    if coordinates == "pytorch_half_pixel" and new_size == 1:
        return new * 0.0
    if coordinates == "half_pixel_symmetric":
        return size / 2.0 * (1.0 - new_size / length) + (new + 0.5) / scale - 0.5
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        return (new + 0.5) / scale - 0.5
    raise ConfigError(f"the coordinates of a resize are one of {', '.join(COORDINATES)}, got {coordinates!r}")


def nearest_places(x: np.ndarray, size: int, rounding: str = "round_prefer_floor") -> np.ndarray:
    """The old element nearest to each coordinate, of `size`. rounding: one of ROUNDINGS. Raises ConfigError."""
    if rounding == "round_prefer_floor":
        places = np.ceil(x - 0.5)
    elif rounding == "round_prefer_ceil":
        places = np.floor(x + 0.5)
    elif rounding == "floor":
        places = np.floor(x)
    elif rounding == "ceil":
        places = np.ceil(x)
    else:
        raise ConfigError(f"the rounding of a resize is one of {', '.join(ROUNDINGS)}, got {rounding!r}")
    found: np.ndarray = places.clip(0, size - 1).astype(np.int64)
    return found


def _triangle(distance: np.ndarray) -> np.ndarray:
    weights: np.ndarray = np.maximum(0.0, 1.0 - np.abs(distance))
    return weights


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' convolution kernel (1981): a is its slope at distance 1."""
    t = np.abs(distance)
    near = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    far = ((t - 5.0) * t + 8.0) * t * a - 4.0 * a
    return np.where(t <= 1.0, near, np.where(t < 2.0, far, 0.0))


def resize_matrix(
    x: np.ndarray,
    size: int,
    scale: float,
    mode: str,
    cubic_a: float = -0.75,
    antialias: bool = False,
    exclude_outside: bool = False,
) -> np.ndarray:
    """(new_size, size): how much of each old element is in each new one, at coordinate x[i] among the old.

    mode: "linear" or "cubic". antialias: where the axis shrinks, the kernel grows, so that no old element is left
    out. Beyond the ends the last element goes on, or with `exclude_outside` there is nothing and the other weights
    grow. Raises ConfigError for another mode.
    """
    if mode not in ("linear", "cubic"):
        raise ConfigError(f"the mode of a resize is one of {', '.join(RESIZE_MODES)}, got {mode!r}")
    squeeze = min(1.0, scale) if antialias else 1.0
    reach = math.ceil((1.0 if mode == "linear" else 2.0) / squeeze)
    check_size((len(x), max(size, 2 * reach)), 8, "the matrix of a resized axis")
    first = np.floor(x).astype(np.int64) - reach + 1
    places = first[:, None] + np.arange(2 * reach)
    distance = (places - x[:, None]) * squeeze
    weights = _triangle(distance) if mode == "linear" else _cubic(distance, cubic_a)
    if exclude_outside:
        weights = np.where((places >= 0) & (places < size), weights, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    weights /= np.where(total == 0.0, 1.0, total)
    matrix = np.zeros((len(x), size))
    rows = np.broadcast_to(np.arange(len(x))[:, None], places.shape)
    np.add.at(matrix, (rows, places.clip(0, size - 1)), weights)
    return matrix


def along_axis(x: Array, matrix: Array, axis: int) -> Array:
    """The matrix (new, old) applied to every line of x along `axis`; its transpose gives the gradient."""
    get_array_module(x, matrix)
    if axis == x.ndim - 1:
        return x @ matrix.T
    if axis == x.ndim - 2:
        return matrix @ x
    return (x.swapaxes(axis, -1) @ matrix.T).swapaxes(axis, -1)
