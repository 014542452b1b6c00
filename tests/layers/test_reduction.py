"""Layers that bring many elements to one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.soundness import check_sound
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Reduce, reduce
from xpcnn.network import Sequential
from xpcnn.ops.reference import REDUCTIONS


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize(("axes", "keepdims"), [((2, 3), True), ((-1,), False), ((1, 3), False), ((), True)])
def test_along_some_axes(device: Device, kind: str, axes: tuple[int, ...], keepdims: bool) -> None:
    x = np.random.default_rng(0).uniform(0.5, 2.0, (2, 3, 2, 4))  # positive, for logarithms
    layer = Reduce(kind, axes, keepdims)
    y = layer.forward(device.asarray(x))
    assert y.shape == np.sum(x, axis=axes, keepdims=keepdims).shape
    check_sound(device, layer, x)


@pytest.mark.parametrize("kind", ["l1", "l2", "log_sum_exp", "max", "mean", "min", "prod", "sum", "sum_square"])
def test_of_numbers_of_both_signs(device: Device, kind: str) -> None:
    check_sound(device, Reduce(kind, (1,)), np.random.default_rng(1).standard_normal((3, 4, 2)))


@pytest.mark.parametrize("kind", REDUCTIONS)
def test_all_axes_of_a_whole_array(device: Device, kind: str) -> None:
    x = np.random.default_rng(0).uniform(0.5, 2.0, (2, 3))
    for layer, shape in [(Reduce(kind), (1, 1)), (Reduce(kind, keepdims=False), ())]:
        assert layer.forward(device.asarray(x)).shape == shape
        check_sound(device, layer, x, in_network=False)
        with pytest.raises(ShapeError, match="axis 0 is the batch's"):
            layer.output_shape((3,))


def test_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="a reduction is one of l1, l2, .* got 'median'"):
        Reduce("median")
    with pytest.raises(ShapeError, match="different axes of an array of 2 axes, got 2, 3"):
        Reduce("sum", (2, 3)).output_shape((4,))


def test_in_a_network() -> None:
    net = Sequential([reduce("max"), reduce("sum", (1,), keepdims=False)], input_shape=(2, 2, 2))
    x = np.arange(16.0, dtype="float32").reshape(2, 2, 2, 2)
    np.testing.assert_array_equal(asnumpy(net.predict(x)), [[[3 + 7]], [[11 + 15]]])
