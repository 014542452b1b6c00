"""Where a max pooling found its elements, and putting them back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import pooling_oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import MaxPoolIndices, MaxUnpool, PoolingND
from xpcnn.ops.gradcheck import numerical_gradient, relative_error


@pytest.mark.parametrize("column_major", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("shape", "geometry"),
    [
        ((2, 2, 7), {"size": 3, "stride": 2, "pad": 1}),
        ((2, 3, 5, 6), {"size": (2, 3), "stride": 2, "dilation": (2, 1), "ceil": True}),
    ],
)
def test_indices(
    device: Device, shape: tuple[int, ...], geometry: dict[str, Any], column_major: bool, whole: bool
) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    layer = MaxPoolIndices(**geometry, column_major=column_major, whole=whole)
    found = layer.forward(device.asarray(x))
    _, places, _ = pooling_oracles.max_pool(x, layer.windows(len(shape) - 2))
    if column_major:
        places = np.ravel_multi_index(np.unravel_index(places, shape[2:]), shape[2:], order="F")
    for n, c in np.ndindex(*shape[:2]):
        places[n, c] += (n * shape[1] + c) * int(np.prod(shape[2:])) if whole else 0
    assert found.dtype == "int64"
    np.testing.assert_array_equal(asnumpy(found), places)
    dx = layer.backward(found)
    assert (dx.shape, dx.dtype) == (shape, np.float64)
    assert not asnumpy(dx).any()


@pytest.mark.parametrize("whole", [False, True])
def test_there_and_back(device: Device, whole: bool) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 4))
    given = device.asarray(x)
    y = PoolingND(2, 2).forward(given)
    places = MaxPoolIndices(2, 2, whole=whole).forward(given)
    layer = MaxUnpool(2, 2, whole=whole)
    back = layer.forward(y, places)
    largest = x.reshape(2, 3, 3, 2, 2, 2).max(axis=(3, 5)).repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(asnumpy(back), np.where(x == largest, x, 0.0))

    weights = device.asarray(np.random.default_rng(2).standard_normal(x.shape))
    dx, of_places = layer.backward(weights)
    assert (of_places.shape, of_places.dtype) == (places.shape, np.float64)
    assert not asnumpy(of_places).any()
    slope = numerical_gradient(lambda: (layer.forward(y, places) * weights).sum(), y)
    assert relative_error(dx, slope) < 1e-6
    assert layer.forward(y.astype("float32"), places).dtype == np.float32


def test_shapes() -> None:
    assert MaxUnpool(2, 2).output_shape((3, 4, 5), (3, 4, 5)) == (3, 8, 10)
    assert MaxUnpool((3, 2), (2, 1), (1, 0)).output_shape((3, 4, 5), (3, 4, 5)) == (3, 7, 6)
    assert MaxUnpool(2, 2, sizes=(9, 11)).output_shape((3, 4, 5), (3, 4, 5)) == (3, 9, 11)
    assert MaxPoolIndices(2, 2).output_shape((3, 9, 7)) == (3, 4, 3)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: MaxPoolIndices(2, whole=True).output_shape((3, 4)), "cannot be part of a network"),
        (lambda: MaxUnpool(2, whole=True).output_shape((3, 4), (3, 4)), "cannot be part of a network"),
        (lambda: MaxUnpool(2).output_shape((3, 4), (3, 5)), r"as many indices, got \(3, 4\) and \(3, 5\)"),
        (lambda: MaxUnpool(2, 2, 1).output_shape((3, 1), (3, 1)), "leave nothing of an output"),
        (lambda: MaxUnpool(2, sizes=(4, 4)).output_shape((3, 1), (3, 1)), "sizes \\(4, 4\\) cannot be those"),
        (lambda: MaxUnpool(2, sizes=(4, 0)), "sizes must be"),
    ],
)
def test_errors(act: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        act()
