"""Layers of several inputs that broadcast, and any such layer with constants among its inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest

import xpcnn
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Add, Average, Beside, Layer, Maximum, Minimum, Power, PRelu
from xpcnn.layers.base import Shape
from xpcnn.ops.gradcheck import check_layer

MANY = [Maximum, Minimum, Average]


@pytest.mark.parametrize("build", MANY)
@pytest.mark.parametrize(
    "shapes", [[(2, 3)], [(2, 3), (2, 3)], [(2, 3, 4), (2, 1, 4), (2, 3, 1)], [(2, 1, 4), (2, 3, 1)]]
)
def test_many(device: Device, build: Callable[[], Layer], shapes: list[Shape]) -> None:
    random = np.random.default_rng(0)
    xs = [random.standard_normal(shape) for shape in shapes]
    layer = build()
    wide = np.broadcast_arrays(*xs)
    want = {"Maximum": np.max, "Minimum": np.min, "Average": np.mean}[type(layer).__name__](np.stack(wide), axis=0)
    y = layer.forward(*(device.asarray(x) for x in xs))
    np.testing.assert_allclose(asnumpy(y), want, rtol=1e-15, atol=1e-15)  # three roundings of numbers up to 2
    assert layer.output_shape(*(shape[1:] for shape in shapes)) == want.shape[1:]
    if len(shapes) > 1:
        errors = check_layer(layer, *(device.asarray(x) for x in xs))
        assert max(errors.values()) < 1e-6


@pytest.mark.parametrize("build", [*MANY, Power])
@pytest.mark.parametrize("shapes", [[(3,), (4,)], [(2, 3), (3,)], [(2, 1), (2, 3), (3, 3)]])
def test_samples_that_do_not_broadcast(build: Callable[[], Layer], shapes: list[Shape]) -> None:
    with pytest.raises(ShapeError, match="wanted inputs"):
        build().output_shape(*shapes)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 3, 4), (2, 1, 4))])
def test_power(device: Device, shapes: tuple[Shape, Shape]) -> None:
    random = np.random.default_rng(1)
    x, p = (device.asarray(random.uniform(0.5, 2.0, shape)) for shape in shapes)
    np.testing.assert_allclose(asnumpy(Power().forward(x, p)), asnumpy(x) ** asnumpy(p), rtol=1e-15)
    errors = check_layer(Power(), x, p)
    assert errors.keys() == {"x0", "x1"}
    assert max(errors.values()) < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("build", [*MANY, Power])
def test_dtypes(device: Device, build: Callable[[], Layer], dtype: str) -> None:
    a, b = (device.asarray(np.full((2, 3), v, dtype=dtype)) for v in (2.0, 3.0))
    layer = build()
    y = layer.forward(a, b)
    gradients = layer.backward(y)
    assert {y.dtype, *(g.dtype for g in gradients)} == {np.dtype(dtype)}


# ------------------------------------------------------------------------------------------------------ constants
def test_a_constant_exponent(device: Device) -> None:
    # Negative numbers have squares: nothing may warn of the logarithm that nobody asked for.
    layer = Beside(Power((True, False)), {1: device.asarray(np.array(2.0))})
    x = device.asarray(np.array([[-3.0, 0.5]]))
    assert asnumpy(layer.forward(x)).tolist() == [[9.0, 0.25]]
    assert asnumpy(layer.backward(device.xp.ones_like(x))).tolist() == [[-6.0, 1.0]]
    assert layer.params == {}
    assert max(check_layer(layer, x).values()) < 1e-6


def test_a_constant_base(device: Device) -> None:
    layer = Beside(Power((False, True)), {0: device.asarray(np.array([[2.0], [3.0]]))})
    assert layer.output_shape((1, 4)) == (2, 4)
    x = device.asarray(np.random.default_rng(2).standard_normal((5, 1, 4)))
    want = np.array([[2.0], [3.0]]) ** asnumpy(x)
    np.testing.assert_allclose(asnumpy(layer.forward(x)), want, rtol=1e-15)
    assert max(check_layer(layer, x).values()) < 1e-6


def test_constants_in_any_place(device: Device) -> None:
    low, high = device.asarray(np.array([0.0, 1.0])), device.asarray(np.array(0.5))
    layer = Beside(Maximum(), {0: low, 2: high}, inputs=2)
    xs = [device.asarray(np.array(a)) for a in ([[-1.0, 2.0]], [[0.75, -3.0]])]
    assert asnumpy(layer.forward(*xs)).tolist() == [[0.75, 2.0]]
    gradients = layer.backward(device.asarray(np.array([[3.0, 4.0]])))
    assert [asnumpy(g).tolist() for g in gradients] == [[[0.0, 4.0]], [[3.0, 0.0]]]
    assert layer.output_shape((2,), (2,)) == (2,)
    with pytest.raises(ShapeError, match="takes 2 array"):
        layer.forward(xs[0])


def test_constants_follow_copies_of_the_layer() -> None:
    layer = Beside(Add(broadcast=True), {1: np.array([1.0, 2.0])})
    other = copy.copy(layer)
    other.state = {"constant1": np.array([10.0, 20.0])}
    assert layer.forward(np.zeros((1, 2))).tolist() == [[1.0, 2.0]]
    assert other.forward(np.zeros((1, 2))).tolist() == [[10.0, 20.0]]
    assert repr(layer) == "Beside(Add, constant1=(2,))"


@pytest.mark.parametrize(("constant", "sample"), [((2, 3), (3,)), ((1, 1, 3), (3,))])
def test_constants_that_would_change_the_batch(constant: Shape, sample: Shape) -> None:
    with pytest.raises(ShapeError, match="would change the number of samples"):
        Beside(Maximum(), {1: np.ones(constant)}).output_shape(sample)


def test_constants_with_an_axis_for_samples_or_fewer_axes() -> None:
    for constant in ((1, 3, 1), (3, 1), (1,), ()):
        assert Beside(Maximum(), {1: np.ones(constant)}).output_shape((3, 5)) == (3, 5)


def test_what_beside_does_not_take() -> None:
    for layer, constants, inputs in (
        (Maximum(), {}, 1),
        (Maximum(), {0: np.ones(1)}, 0),
        (PRelu(np.ones(1)), {1: 1}, 1),
    ):
        with pytest.raises(ConfigError, match="Beside takes a layer without parameters"):
            Beside(layer, constants, inputs)


def test_in_a_network(device: Device) -> None:
    """Constants are saved and moved with the network, and never learned."""
    square = Beside(Power((True, False)), {1: np.array(2.0)})
    net = xpcnn.Sequential(
        [("fc", xpcnn.layers.affine(4)), ("square", square), ("both", Maximum(), ("fc", "square"))],
        input_shape=(3,),
        seed=0,
        device=device,
    )
    assert "square.constant1" in net.state
    assert "square.constant1" not in net.params
    x = np.random.default_rng(3).standard_normal((5, 3)).astype(np.float32)
    fc = x @ asnumpy(net.params["fc.W"]) + asnumpy(net.params["fc.b"])
    # float32 sums of three products of numbers up to 3.
    np.testing.assert_allclose(asnumpy(net.predict(x)), np.maximum(fc, fc**2), rtol=1e-5, atol=1e-5)
    trainer = xpcnn.Trainer(net, x, np.array([0, 1, 2, 3, 0]), x, np.array([0, 1, 2, 3, 0]), epochs=1, verbose=False)
    trainer.step(x, np.array([0, 1, 2, 3, 0]))
    assert float(asnumpy(net.state["square.constant1"])) == 2.0
