"""Activation layers of pieces: their functions, gradients, and PRelu's slopes of every shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import Clip, HardSigmoid, HardSwish, Layer, PRelu, Shrink, ThresholdedRelu
from xpcnn.layers.base import Shape
from xpcnn.ops.gradcheck import check_layer

LAYERS: list[tuple[Callable[[], Layer], Callable[[float], float]]] = [
    (Clip, float),
    (lambda: Clip(0, 6), lambda v: min(max(v, 0.0), 6.0)),
    (lambda: Clip(low=-0.5), lambda v: max(v, -0.5)),
    (lambda: Clip(high=0.25), lambda v: min(v, 0.25)),
    (HardSigmoid, lambda v: min(max(0.2 * v + 0.5, 0.0), 1.0)),
    (lambda: HardSigmoid(1.0 / 6.0), lambda v: min(max(v / 6.0 + 0.5, 0.0), 1.0)),
    (HardSwish, lambda v: v * min(max(v / 6.0 + 0.5, 0.0), 1.0)),
    (Shrink, lambda v: v if abs(v) > 0.5 else 0.0),
    (lambda: Shrink(0.75, 0.75), lambda v: v - 0.75 if v > 0.75 else v + 0.75 if v < -0.75 else 0.0),
    (ThresholdedRelu, lambda v: v if v > 1.0 else 0.0),
    (lambda: ThresholdedRelu(0.0), lambda v: max(v, 0.0)),
]
each_layer = pytest.mark.parametrize(("build", "function"), LAYERS)


@each_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(device: Device, build: Callable[[], Layer], function: Callable[[float], float], dtype: str) -> None:
    points = np.array([[-800.0, -20.0, -1.5, -1e-8, 0.0, 1e-8, 0.7, 20.0, 800.0]], dtype=dtype)
    y = build().forward(device.asarray(points))
    assert y.dtype == dtype
    # Two or three roundings.
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(asnumpy(y), [[function(v) for v in points[0].tolist()]], rtol=4 * eps, atol=2 * eps)


@each_layer
def test_gradient(device: Device, build: Callable[[], Layer], function: Callable[[float], float]) -> None:
    x = np.random.default_rng(0).uniform(-4.0, 4.0, (3, 2, 4))  # none within 1e-5 of where pieces meet
    errors = check_layer(build(), device.asarray(x))
    assert errors.keys() == {"x"}
    assert max(errors.values()) < 1e-6


def test_bounds_are_kept_as_floats() -> None:
    layer = Clip(np.float64(-1.0), 3)
    assert isinstance(layer.low, float)
    assert isinstance(layer.high, float)


# -------------------------------------------------------------------------------------------------------- learned
@pytest.mark.parametrize(
    ("slope", "x"),
    [
        ((3, 1, 1), (2, 3, 2, 2)),
        ((1, 3, 1, 1), (2, 3, 2, 2)),
        ((1,), (2, 3, 2, 2)),
        ((3, 2, 2), (2, 3, 2, 2)),
        ((4,), (3, 4)),
        ((), (3, 4)),
    ],
)
def test_gradients_of_prelu(device: Device, slope: Shape, x: Shape) -> None:
    random = np.random.default_rng(1)
    layer = PRelu(device.asarray(random.uniform(0.1, 0.9, slope)))
    assert layer.output_shape(x[1:]) == x[1:]
    errors = check_layer(layer, device.asarray(random.standard_normal(x)))
    assert errors.keys() == {"x", "slope"}
    assert max(errors.values()) < 1e-6


def test_prelu_by_hand(device: Device) -> None:
    layer = PRelu(device.asarray(np.array([0.5, 0.25], dtype=np.float32)))
    y = layer.forward(device.asarray(np.array([[-2.0, -4.0], [3.0, 0.0]], dtype=np.float32)))
    assert y.dtype == np.float32
    assert asnumpy(y).tolist() == [[-1.0, -1.0], [3.0, 0.0]]
    dx = layer.backward(device.xp.ones_like(y))
    assert (dx.dtype, layer.dslope.dtype) == (np.float32, np.float32)
    assert asnumpy(dx).tolist() == [[0.5, 0.25], [1.0, 0.25]]
    assert asnumpy(layer.dslope).tolist() == [-2.0, -4.0]
    assert layer.slope is layer.params["slope"]


@pytest.mark.parametrize(
    ("slope", "sample"), [((2,), (3,)), ((3,), (3, 4, 4)), ((2, 3), (3,)), ((1, 1, 3), (3,)), ((3, 4), (3, 1))]
)
def test_slopes_that_do_not_fit(slope: Shape, sample: Shape) -> None:
    with pytest.raises(ShapeError, match="slopes of shape .* do not broadcast to samples of"):
        PRelu(np.ones(slope)).output_shape(sample)
