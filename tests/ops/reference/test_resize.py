"""Resizing along one axis against the definitions, one element at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.ops.reference import along_axis, nearest_places, resize_coordinates, resize_matrix

# (coordinates, old size, new size, scale, roi, the coordinate of new element i)
COORDINATES = [
    ("asymmetric", 4, 6, 1.5, (0.0, 1.0), lambda i: i / 1.5),
    ("half_pixel", 4, 6, 1.5, (0.0, 1.0), lambda i: (i + 0.5) / 1.5 - 0.5),
    ("half_pixel", 4, 1, 0.25, (0.0, 1.0), lambda i: 1.5),
    ("pytorch_half_pixel", 4, 6, 1.5, (0.0, 1.0), lambda i: (i + 0.5) / 1.5 - 0.5),
    ("pytorch_half_pixel", 4, 1, 0.25, (0.0, 1.0), lambda i: 0.0),
    ("align_corners", 4, 7, 1.75, (0.0, 1.0), lambda i: i * 3 / 6),
    ("align_corners", 4, 1, 0.25, (0.0, 1.0), lambda i: 0.0),
    ("tf_half_pixel_for_nn", 4, 6, 1.5, (0.0, 1.0), lambda i: (i + 0.5) / 1.5),
    # Half of what the rounding of 5.2 to 5 leaves out is left out on each side.
    ("half_pixel_symmetric", 4, 5, 1.3, (0.0, 1.0), lambda i: (i + 0.5 + 0.1) / 1.3 - 0.5),
    ("tf_crop_and_resize", 5, 3, 0.6, (0.25, 0.75), lambda i: 1.0 + i * 2.0 / 2.0),
    ("tf_crop_and_resize", 5, 1, 0.2, (0.25, 0.5), lambda i: 1.5),
]


@pytest.mark.parametrize(("coordinates", "size", "new_size", "scale", "roi", "meaning"), COORDINATES)
def test_coordinates(coordinates: str, size: int, new_size: int, scale: float, roi, meaning) -> None:
    got = resize_coordinates(size, new_size, scale, coordinates, roi)
    np.testing.assert_allclose(got, [meaning(i) for i in range(new_size)], rtol=0.0, atol=1e-14)  # a few roundings


@pytest.mark.parametrize(
    ("rounding", "want"),
    [
        ("floor", [0, 0, 0, 1, 2, 3]),
        ("ceil", [0, 0, 1, 2, 2, 3]),
        ("round_prefer_floor", [0, 0, 0, 1, 2, 3]),
        ("round_prefer_ceil", [0, 0, 1, 2, 2, 3]),
    ],
)
def test_nearest(rounding: str, want: list[int]) -> None:
    assert nearest_places(np.array([-0.6, 0.0, 0.5, 1.5, 2.0, 3.7]), 4, rounding).tolist() == want


def _kernel(mode: str, t: float, a: float) -> float:
    t = abs(t)
    if mode == "linear":
        return max(0.0, 1.0 - t)
    if t <= 1.0:
        return (a + 2.0) * t**3 - (a + 3.0) * t**2 + 1.0
    return a * t**3 - 5.0 * a * t**2 + 8.0 * a * t - 4.0 * a if t < 2.0 else 0.0


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("exclude_outside", [False, True])
@pytest.mark.parametrize(("size", "new_size"), [(5, 8), (9, 4), (1, 3), (3, 1), (4, 4)])
def test_matrix(mode: str, antialias: bool, exclude_outside: bool, size: int, new_size: int) -> None:
    scale = new_size / size
    x = resize_coordinates(size, new_size, scale, "half_pixel")
    want = np.zeros((new_size, size))
    slower = min(scale, 1.0) if antialias else 1.0
    for i in range(new_size):
        for place in range(-30, 40):  # far beyond any kernel
            weight = _kernel(mode, (place - x[i]) * slower, -0.5)
            if 0 <= place < size or not exclude_outside:
                want[i, min(max(place, 0), size - 1)] += weight
        want[i] /= want[i].sum()
    got = resize_matrix(x, size, scale, mode, -0.5, antialias, exclude_outside)
    np.testing.assert_allclose(got, want, rtol=0.0, atol=1e-14)  # sums of a few weights of at most 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_along_axis(device: Device, axis: int, dtype: str) -> None:
    random = np.random.default_rng(0)
    x = random.integers(-4, 5, (3, 3, 3, 3)).astype(dtype)
    matrix = random.integers(-4, 5, (5, 3)).astype(dtype)
    y = along_axis(device.asarray(x), device.asarray(matrix), axis)
    assert y.dtype == dtype
    want = np.stack([sum(matrix[i, j] * x.take(j, axis) for j in range(3)) for i in range(5)], axis)
    np.testing.assert_array_equal(asnumpy(y), want)  # whole numbers: exact


def test_words_that_are_none() -> None:
    with pytest.raises(ConfigError, match="the coordinates of a resize are one of align_corners, .* got 'half'"):
        resize_coordinates(3, 6, 2.0, "half")
    with pytest.raises(ConfigError, match="the rounding of a resize is one of ceil, .* got 'round'"):
        nearest_places(np.zeros(1), 3, "round")
    with pytest.raises(ConfigError, match="the mode of a resize is one of cubic, .* got 'area'"):
        resize_matrix(np.zeros(1), 3, 2.0, "area")


def test_sizes_that_no_machine_has() -> None:
    with pytest.raises(ShapeError, match="would take"):
        resize_coordinates(3, 2**60, 2.0**60 / 3, "half_pixel")
    with pytest.raises(ShapeError, match="the matrix of a resized axis"):
        resize_matrix(np.zeros(3), 2**58, 1.0, "linear")
    with pytest.raises(ShapeError, match="the matrix of a resized axis"):
        resize_matrix(np.zeros(3), 3, math.ldexp(1.0, -58), "linear", antialias=True)
