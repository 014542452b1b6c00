"""Reductions against what NumPy says of them in float64, and their gradients where they are not smooth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError
from xpcnn.ops.reference import REDUCTIONS, reduce, reduce_backward

MEANINGS = {
    "l1": lambda x, axes: np.abs(x).sum(axis=axes, keepdims=True),
    "l2": lambda x, axes: np.sqrt((x * x).sum(axis=axes, keepdims=True)),
    "log_sum": lambda x, axes: np.log(x.sum(axis=axes, keepdims=True)),
    "log_sum_exp": lambda x, axes: np.log(np.exp(x).sum(axis=axes, keepdims=True)),
    "max": lambda x, axes: x.max(axis=axes, keepdims=True),
    "mean": lambda x, axes: x.mean(axis=axes, keepdims=True),
    "min": lambda x, axes: x.min(axis=axes, keepdims=True),
    "prod": lambda x, axes: x.prod(axis=axes, keepdims=True),
    "sum": lambda x, axes: x.sum(axis=axes, keepdims=True),
    "sum_square": lambda x, axes: (x * x).sum(axis=axes, keepdims=True),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2), ()])
def test_against_numpy(device: Device, kind: str, axes: tuple[int, ...], dtype: str) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, (2, 3, 4)).astype(dtype)
    y = reduce(device.asarray(x), kind, axes)
    assert y.dtype == dtype
    want = MEANINGS[kind](x.astype(np.float64), axes)
    # At most 24 terms of at most 2.25; a product has no more roundings than factors.
    oracles.assert_close(asnumpy(y), want, 24, max(2.25, float(abs(want).max())))


@pytest.mark.parametrize("kind", ["sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square"])
def test_whole_numbers_stay_whole(device: Device, kind: str) -> None:
    x = np.array([[3, -4], [0, 12]], dtype=np.int32)
    y = reduce(device.asarray(x), kind, (1,))
    assert y.dtype == np.int32
    want = {"sum": [-1, 12], "mean": [0, 6], "max": [3, 12], "min": [-4, 0], "prod": [-12, 0], "l1": [7, 12],
            "l2": [5, 12], "sum_square": [25, 144]}[kind]  # fmt: skip
    assert asnumpy(y).ravel().tolist() == want


def test_extremes_of_nothing_lose_against_everything(device: Device) -> None:
    for dtype, lowest, highest in [
        ("float32", -math.inf, math.inf),
        ("int8", -128, 127),
        ("bool", False, True),
    ]:
        x = device.asarray(np.zeros((2, 0), dtype))
        assert asnumpy(reduce(x, "max", (1,))).tolist() == [[lowest]] * 2
        assert asnumpy(reduce(x, "min", (1,))).tolist() == [[highest]] * 2
    empty = device.asarray(np.zeros((2, 0), np.float32))
    assert asnumpy(reduce(empty, "sum", (1,))).tolist() == [[0.0]] * 2
    assert asnumpy(reduce(empty, "prod", (1,))).tolist() == [[1.0]] * 2


def test_log_sum_exp_does_not_overflow(device: Device) -> None:
    x = device.asarray(np.array([[1000.0, 1000.0], [-1000.0, -1000.0]]))
    want = [[1000.0 + math.log(2.0)], [-1000.0 + math.log(2.0)]]
    np.testing.assert_allclose(asnumpy(reduce(x, "log_sum_exp", (1,))), want, rtol=1e-15)


def _backward(device: Device, x: np.ndarray, kind: str) -> list[list[float]]:
    given = device.asarray(x)
    y = reduce(given, kind, (1,))
    found: list[list[float]] = asnumpy(reduce_backward(y * 0.0 + 6.0, given, y, kind, (1,))).tolist()
    return found


def test_gradients_where_they_are_not_smooth(device: Device) -> None:
    # Equals share.
    assert _backward(device, np.array([[1.0, 3.0, 3.0]]), "max") == [[0.0, 3.0, 3.0]]
    assert _backward(device, np.array([[1.0, 1.0, 1.0]]), "min") == [[2.0, 2.0, 2.0]]
    # A product with one zero depends on that zero alone, one with two zeros on nothing.
    assert _backward(device, np.array([[2.0, 0.0, 5.0]]), "prod") == [[0.0, 60.0, 0.0]]
    assert _backward(device, np.array([[0.0, 0.0, 5.0]]), "prod") == [[0.0, 0.0, 0.0]]
    assert _backward(device, np.zeros((1, 3)), "l2") == [[0.0, 0.0, 0.0]]
    assert _backward(device, np.array([[-2.0, 0.0, 2.0]]), "l1") == [[-6.0, 0.0, 6.0]]


def test_a_kind_that_is_none() -> None:
    with pytest.raises(ConfigError, match="a reduction is one of .*, got 'median'"):
        reduce(np.zeros((2, 2)), "median", (1,))
