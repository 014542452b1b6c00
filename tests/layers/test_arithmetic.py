"""Arithmetic between branches, and with a learned array."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from tests.layers.soundness import check_sound
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Add, Divide, Layer, Multiply, Subtract, WithConstant, reduce
from xpcnn.network import Network

BINARY = [
    (Add(broadcast=True), operator.add),
    (Subtract(), operator.sub),
    (Multiply(), operator.mul),
    (Divide(), operator.truediv),
]
OPS = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv}


def _numbers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Away from 0, so that quotients are smooth."""
    random = np.random.default_rng(seed)
    return random.uniform(0.5, 2.0, shape) * random.choice([-1.0, 1.0], shape)


@pytest.mark.parametrize(("layer", "meaning"), BINARY)
@pytest.mark.parametrize(
    ("one", "other"), [((2, 3, 4, 2), (2, 3, 1, 1)), ((2, 3, 1, 1), (2, 1, 4, 2)), ((2, 3), (2, 3))]
)
def test_two_branches(device: Device, layer: Layer, meaning, one: tuple[int, ...], other: tuple[int, ...]) -> None:
    a, b = _numbers(one), _numbers(other, 1)
    y = layer.forward(device.asarray(a), device.asarray(b))
    np.testing.assert_array_equal(asnumpy(y), meaning(a, b))
    check_sound(device, layer, a, b)


@pytest.mark.parametrize(("layer", "meaning"), BINARY)
def test_whole_arrays_of_different_ranks(device: Device, layer: Layer, meaning) -> None:
    a, b = _numbers((2, 3, 4)), _numbers((4,), 1)
    np.testing.assert_array_equal(asnumpy(layer.forward(device.asarray(a), device.asarray(b))), meaning(a, b))
    check_sound(device, layer, a, b, in_network=False)


def test_whole_numbers_are_divided_as_in_c(device: Device) -> None:
    a = np.array([7, -7, 7, -7, 6, -6, 0], dtype=np.int32)
    b = np.array([2, 2, -2, -2, 3, 3, 5], dtype=np.int32)
    y = Divide().forward(device.asarray(a), device.asarray(b))
    assert y.dtype == np.int32
    assert asnumpy(y).tolist() == [3, -3, -3, 3, 2, -2, 0]


@pytest.mark.parametrize("op", sorted(OPS))
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1), (2,), (), (1,), (3, 4, 2)])
def test_with_a_constant(device: Device, op: str, left: bool, shape: tuple[int, ...]) -> None:
    x, c = _numbers((2, 3, 4, 2)), _numbers(shape, 1)
    layer = WithConstant(op, device.asarray(c.copy()), left)
    want = OPS[op](c, x) if left else OPS[op](x, c)
    np.testing.assert_array_equal(asnumpy(layer.forward(device.asarray(x))), want)
    check_sound(device, layer, x)
    assert layer.dc.shape == shape


def test_a_constant_may_enlarge_samples_but_not_the_batch() -> None:
    layer = WithConstant("add", np.zeros((1, 5, 1)))
    assert layer.output_shape((1, 4)) == (5, 4)
    with pytest.raises(ShapeError, match=r"c of shape \(2, 3, 4\) would change the number of samples \(N, 3, 4\)"):
        WithConstant("add", np.zeros((2, 3, 4))).output_shape((3, 4))
    with pytest.raises(ShapeError, match="would change the number of samples"):
        WithConstant("add", np.zeros((1, 1, 3, 4))).output_shape((3, 4))
    with pytest.raises(ShapeError, match=r"alike but for axes of 1, got \(3, 4\), \(2, 4\)"):
        WithConstant("add", np.zeros((3, 4))).output_shape((2, 4))
    with pytest.raises(ConfigError, match="op is one of add, divide, multiply, subtract, got 'power'"):
        WithConstant("power", np.zeros(1))


def test_dx_that_nobody_asks_for_is_not_calculated() -> None:
    net = Network([WithConstant("multiply", np.full((3,), 2.0, np.float32)), "flatten"], input_shape=(3,), device="cpu")
    grads = net.gradient(np.ones((2, 3), np.float32), np.array([0, 1]))
    assert [g.shape for g in grads.values()] == [(3,)]


@pytest.mark.parametrize("layer", [Subtract(), Multiply(), Divide(), Add(broadcast=True)])
def test_samples_that_do_not_fit(layer: Layer) -> None:
    with pytest.raises(ShapeError, match=r"alike but for axes of 1, got \(3, 4\), \(3, 5\)"):
        layer.output_shape((3, 4), (3, 5))
    with pytest.raises(ShapeError, match=r"as many axes each, got \(3, 4\), \(4,\); give the smaller ones axes of 1"):
        layer.output_shape((3, 4), (4,))


def test_squeeze_and_excitation_in_a_network() -> None:
    entries = [
        ("picture", "relu"),
        ("mean", reduce("mean")),
        ("weights", "sigmoid"),
        ("scaled", "multiply", ("picture", "weights")),
        ("less", "subtract", ("picture", "scaled")),
        ("share", "divide", ("less", "weights")),
    ]
    x = np.random.default_rng(0).uniform(0.5, 1.0, (2, 3, 4, 4))
    w = 1.0 / (1.0 + np.exp(-x.mean(axis=(2, 3), keepdims=True)))
    net = Network(entries, input_shape=(3, 4, 4), dtype="float64")
    np.testing.assert_allclose(net.predict(x), (x - x * w) / w, rtol=1e-12)  # a few roundings


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide"])
def test_a_constant_that_is_not_learned(device: Device, op: str, left: bool) -> None:
    x, c = np.random.default_rng(0).uniform(0.5, 2.0, (2, 3, 4)), np.array(3.0)
    learned = WithConstant(op, device.asarray(c), left)
    fixed = WithConstant(op, device.asarray(c), left, learned=False)
    assert (list(fixed.params), list(fixed.state)) == ([], ["c"])
    for layer in (learned, fixed):
        layer.forward(device.asarray(x))
    np.testing.assert_array_equal(
        asnumpy(fixed.backward(device.asarray(x))), asnumpy(learned.backward(device.asarray(x)))
    )
    assert fixed.grads == {}
