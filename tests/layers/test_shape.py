"""Layers that only rearrange."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.layers import Flatten


@pytest.mark.parametrize("shape", [(3, 2, 5, 3), (3, 7), (1, 1, 1, 1), (0, 2, 3, 3)])
def test_there_and_back(device: Device, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    layer = Flatten()
    y = layer.forward(device.asarray(x))
    assert y.shape == (shape[0], *layer.output_shape(shape[1:]))
    np.testing.assert_array_equal(asnumpy(y).ravel(), x.ravel())
    dx = layer.backward(y)
    np.testing.assert_array_equal(asnumpy(dx), x)


def test_a_picture_that_is_not_contiguous() -> None:
    x = np.arange(24.0).reshape(2, 3, 4, 1).transpose(0, 3, 2, 1)
    assert Flatten().forward(x).tolist() == [[v for row in x[n, 0].tolist() for v in row] for n in range(2)]
