"""The gradient checker: right on functions whose derivatives are known, and it does find wrong gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.gradcheck import check_gradient, check_layer, numerical_gradient, relative_error

# Central differences with h = 1e-5 err by about h**2 |f'''| / 6 + eps |f| / h: 2e-11 + 2e-11 where f and f''' are
# of the size of 1. 1e-8 leaves room for sizes of some hundreds.
_TOLERANCE = 1e-8


def test_known_derivatives(device: Device) -> None:
    xp = device.xp
    host = np.random.default_rng(0).uniform(-2.0, 2.0, (3, 2, 4))
    a = device.asarray(host)
    got = numerical_gradient(lambda: (xp.sin(a) * a).sum(), a)
    assert get_array_module(got) is xp
    assert (got.shape, got.dtype) == (a.shape, a.dtype)
    np.testing.assert_allclose(asnumpy(got), np.cos(host) * host + np.sin(host), rtol=0.0, atol=_TOLERANCE)
    np.testing.assert_array_equal(asnumpy(a), host)  # put back to the bit


def test_a_quadratic_is_exact_for_any_step() -> None:
    # A central difference has no truncation error on a quadratic: what is left is rounding, eps * |f| / h < 1e-13.
    a = np.array([[1.0, -2.0], [0.5, 3.0]])
    np.testing.assert_allclose(numerical_gradient(lambda: (a * a).sum(), a, h=0.25), 2.0 * a, rtol=0.0, atol=1e-13)


def test_zero_dimensional_and_empty_arrays() -> None:
    a = np.array(3.0)
    assert float(numerical_gradient(lambda: a * a, a)) == pytest.approx(6.0, abs=_TOLERANCE)
    assert numerical_gradient(lambda: 0.0, np.zeros((0, 3))).shape == (0, 3)


def test_arrays_that_are_not_contiguous() -> None:
    a = np.arange(12.0).reshape(3, 4).T[::2]
    assert not a.flags.c_contiguous
    np.testing.assert_allclose(numerical_gradient(lambda: (a**2).sum(), a), 2.0 * a, rtol=0.0, atol=1e-8)


@pytest.mark.parametrize(
    ("got", "expected", "want"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([], [], 0.0),
        ([1.0, 4.0], [1.0, 5.0], 0.2),
        ([0.0, 0.0], [0.0, -2.0], 1.0),
        ([1.0, math.nan], [1.0, 2.0], math.inf),
        ([0.0, 0.0], [0.0, math.nan], math.inf),
        ([math.nan, 1.0], [math.nan, 1.0], math.inf),
        ([math.inf, 1.0], [math.inf, 1.0], math.inf),
        ([1.0, 1.0], [1.0, -math.inf], math.inf),
    ],
)
def test_relative_error(got: list[float], expected: list[float], want: float) -> None:
    assert relative_error(np.array(got), np.array(expected)) == pytest.approx(want, abs=1e-15)
    assert relative_error(np.array(expected), np.array(got)) == pytest.approx(want, abs=1e-15)


def test_relative_error_of_float32_is_computed_in_float64() -> None:
    a = np.array([3e38], dtype=np.float32)  # a difference of 6e38 does not exist in float32
    assert relative_error(a, -a) == pytest.approx(2.0)


def test_relative_error_needs_equal_shapes() -> None:
    with pytest.raises(ShapeError, match=r"\(2,\) and \(2, 1\)"):
        relative_error(np.zeros(2), np.zeros((2, 1)))


def test_check_gradient_tells_right_from_wrong(device: Device) -> None:
    host = np.random.default_rng(1)
    a, b = (device.asarray(host.standard_normal((3, 4))) for _ in range(2))
    errors = check_gradient(lambda: (a * a * b).sum(), {"a": a, "b": b}, {"a": 2.0 * a * b, "b": 1.01 * a * a})
    assert errors["a"] < _TOLERANCE
    assert errors["b"] == pytest.approx(0.01 / 1.01, rel=1e-6)


def test_check_gradient_refuses_float32() -> None:
    a = np.zeros(3, dtype=np.float32)
    with pytest.raises(ShapeError, match="needs float64 arrays, 'weights' is float32"):
        check_gradient(lambda: a.sum(), {"weights": a}, {"weights": a})


class _Scale:
    """y = (sum of the inputs) * w, with a gradient that is off by `fault` in the place named."""

    def __init__(self, w: Any, fault: dict[str, float] | None = None) -> None:
        self.params, self.grads, self.fault = {"w": w}, {}, fault or {}
        self.trained_with: set[bool] = set()

    def forward(self, *inputs: Any, train: bool = False) -> Any:
        self.trained_with.add(train)
        self.total = sum(inputs[1:], inputs[0])
        self.count = len(inputs)
        return self.total * self.params["w"]

    def backward(self, dout: Any) -> Any:
        self.grads["w"] = (dout * self.total).sum(axis=0) * (1.0 + self.fault.get("w", 0.0))
        dx = dout * self.params["w"]
        if self.count == 1:
            return dx * (1.0 + self.fault.get("x", 0.0))
        return tuple(dx * (1.0 + self.fault.get(f"x{i}", 0.0)) for i in range(self.count))


@pytest.mark.parametrize("train", [True, False])
def test_check_layer_on_a_right_layer(device: Device, train: bool) -> None:
    host = np.random.default_rng(2)
    layer = _Scale(device.asarray(host.standard_normal(4)))
    errors = check_layer(layer, device.asarray(host.standard_normal((3, 4))), train=train)
    assert errors.keys() == {"x", "w"}
    assert max(errors.values()) < _TOLERANCE
    assert layer.trained_with == {train}


def test_check_layer_with_several_inputs() -> None:
    host = np.random.default_rng(3)
    errors = check_layer(_Scale(host.standard_normal(4)), *(host.standard_normal((3, 4)) for _ in range(3)))
    assert errors.keys() == {"x0", "x1", "x2", "w"}
    assert max(errors.values()) < _TOLERANCE


@pytest.mark.parametrize("wrong", ["x0", "x1", "w"])
def test_check_layer_names_the_wrong_gradient(wrong: str) -> None:
    host = np.random.default_rng(4)
    layer = _Scale(host.standard_normal(4), fault={wrong: 1e-4})
    errors = check_layer(layer, host.standard_normal((3, 4)), host.standard_normal((3, 4)))
    assert {name for name, error in errors.items() if error > 1e-5} == {wrong}
