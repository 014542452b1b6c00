"""The activation layers against Python's own math, at the corners too."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import Elu, Layer, LeakyRelu, LogSoftmax, Relu, Sigmoid, Softmax, Tanh
from xpcnn.ops.gradcheck import check_layer

_POINTS = (-800.0, -20.0, -1.5, -1e-8, 0.0, 1e-8, 0.7, 20.0, 800.0)


def _sigmoid(v: float) -> float:
    return 1.0 / (1.0 + math.exp(-v)) if v >= 0.0 else math.exp(v) / (1.0 + math.exp(v))


# layer, the function, its derivative (at 0 the one from the left, as the book takes it for ReLU)
_LAYERS: list[tuple[Callable[[], Layer], Callable[[float], float], Callable[[float], float]]] = [
    (Relu, lambda v: max(v, 0.0), lambda v: float(v > 0.0)),
    (LeakyRelu, lambda v: v if v > 0.0 else 0.01 * v, lambda v: 1.0 if v > 0.0 else 0.01),
    (lambda: LeakyRelu(0.2), lambda v: v if v > 0.0 else 0.2 * v, lambda v: 1.0 if v > 0.0 else 0.2),
    (Elu, lambda v: v if v > 0.0 else math.expm1(v), lambda v: 1.0 if v > 0.0 else math.exp(v)),
    (
        lambda: Elu(0.5),
        lambda v: v if v > 0.0 else 0.5 * math.expm1(v),
        lambda v: 1.0 if v > 0.0 else 0.5 * math.exp(v),
    ),
    (Sigmoid, _sigmoid, lambda v: _sigmoid(v) * _sigmoid(-v)),
    (Tanh, math.tanh, lambda v: 1.0 - math.tanh(v) ** 2),
]


@pytest.mark.parametrize(("build", "function", "derivative"), _LAYERS)
def test_values_and_slopes(
    device: Device, build: Callable[[], Layer], function: Callable[[float], float], derivative: Callable[[float], float]
) -> None:
    layer = build()
    x = device.asarray([_POINTS])
    y = asnumpy(layer.forward(x))[0]
    dx = asnumpy(layer.backward(device.xp.full_like(x, 2.0)))[0]
    # A handful of roundings of 1.1e-16 on values of the size of 1, or relative to the larger ones.
    np.testing.assert_allclose(y, [function(v) for v in _POINTS], rtol=1e-15, atol=5e-16)
    np.testing.assert_allclose(dx, [2.0 * derivative(v) for v in _POINTS], rtol=1e-15, atol=2e-15)


@pytest.mark.parametrize("build", [Relu, LeakyRelu, Elu, Sigmoid, Tanh, Softmax, LogSoftmax])
def test_nan_is_not_swept_under_the_carpet(build: Callable[[], Layer]) -> None:
    y = build().forward(np.array([[1.0, math.nan]]))
    assert math.isnan(y[0, 1])


def test_the_slopes_are_kept_as_floats() -> None:
    assert isinstance(LeakyRelu(np.float64(0.1)).slope, float)
    assert isinstance(Elu(1).alpha, float)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_softmax_along_an_axis(device: Device, axis: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)) * 5.0
    y = asnumpy(Softmax(axis).forward(device.asarray(x)))
    log_y = asnumpy(LogSoftmax(axis).forward(device.asarray(x)))
    for place in np.ndindex(*np.delete(x.shape, axis)):
        line = tuple(np.insert(np.array(place, dtype=object), axis % 3, slice(None)))
        total = math.fsum(math.exp(v) for v in x[line])
        np.testing.assert_allclose(y[line], [math.exp(v) / total for v in x[line]], rtol=5e-15)
        np.testing.assert_allclose(log_y[line], [v - math.log(total) for v in x[line]], rtol=5e-15, atol=5e-15)


def test_softmax_of_huge_scores() -> None:
    x = np.array([[1e4, 0.0, -1e4]], dtype=np.float32)
    assert Softmax().forward(x).tolist() == [[1.0, 0.0, 0.0]]
    assert LogSoftmax().forward(x).tolist() == [[0.0, -1e4, -2e4]]


@pytest.mark.parametrize("build", [Softmax, LogSoftmax])
@pytest.mark.parametrize("axis", [1, -1, (1, 2), (0, 2)])
def test_softmax_along_several_axes(device: Device, build: type[Layer], axis: int | tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 4))
    layer = build(axis)
    y = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)
    found = asnumpy(layer.forward(device.asarray(x)))
    np.testing.assert_allclose(found, y if build is Softmax else np.log(y), rtol=5e-15, atol=5e-15)
    assert max(check_layer(layer, device.asarray(x)).values()) < 1e-6


@pytest.mark.parametrize("build", [Softmax, LogSoftmax])
def test_axes_of_a_softmax_in_a_network(build: type[Layer]) -> None:
    for axis in (1, 2, -1, (1, 2)):
        assert build(axis).output_shape((3, 4)) == (3, 4)
    for axis in (0, -3, (0, 1), (1, -3)):
        with pytest.raises(ShapeError, match="axis 0 is the batch's"):
            build(axis).output_shape((3, 4))
    for axis in (3, -4, (1, 3)):
        with pytest.raises(ShapeError, match="axis -?[34] of an array of 3 axes"):
            build(axis).output_shape((3, 4))
