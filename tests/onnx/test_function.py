"""Functions without a gradient, as layers of a Program."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError
from xpcnn.layers.base import Context
from xpcnn.onnx.function import Function


def test_it_calls_with_the_array_module(device: Device) -> None:
    seen = []

    def greater(xp, a, b):
        seen.append(xp)
        return xp.greater(a, b)

    a, b = device.asarray(np.array([1, 3])), device.asarray(np.array([2]))
    y = Function(greater, 2).forward_in(Context(), a, b)
    assert asnumpy(y).tolist() == [False, True]
    assert seen == [device.xp]


def test_what_has_no_axes_stays_an_array(device: Device) -> None:
    y = Function(lambda xp, x: x * x).forward(device.asarray(np.array(3.0, dtype=np.float32)))
    assert isinstance(y, device.xp.ndarray)
    assert (y.shape, y.dtype) == ((), np.float32)


def test_it_has_no_gradient_and_no_place_in_a_network() -> None:
    layer = Function(lambda xp, x: x > 0, name="Greater")
    layer.forward(np.ones(2))
    with pytest.raises(ConfigError, match="Greater has no gradient here"):
        layer.backward(np.ones(2))
    with pytest.raises(ConfigError, match="cannot be part of a Network"):
        layer.output_shape((3,))
