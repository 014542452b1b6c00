"""Normalisations of each sample by itself, against loops over what is normalised and central differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops.reference import (
    group_norm_backward,
    group_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
    lp_norm_backward,
    lp_norm_forward,
    moments_backward,
    moments_forward,
    rms_norm_backward,
    rms_norm_forward,
    standardize,
)

EPS = 0.05  # large enough that difference quotients are good even where two numbers are normalised


def _each(x: np.ndarray, axes: Sequence[int], rule: Callable[[list[float]], list[float]]) -> np.ndarray:
    """`rule` on the numbers along `axes`, for each place of the other axes."""
    axes = [a % x.ndim for a in axes]
    moved = np.moveaxis(np.array(x, np.float64), axes, range(-len(axes), 0))
    flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], -1)
    y = np.empty_like(flat)
    for place in np.ndindex(*flat.shape[:-1]):
        y[place] = rule(flat[place].tolist())
    return np.moveaxis(y.reshape(moved.shape), range(-len(axes), 0), axes)


def _standard(values: list[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    var = math.fsum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / math.sqrt(var + EPS) for v in values]


def _rms(values: list[float]) -> list[float]:
    return [v / math.sqrt(math.fsum(u * u for u in values) / len(values) + EPS) for v in values]


def _moments(values: list[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    return [(v - mean) / (math.sqrt(math.fsum((u - mean) ** 2 for u in values) / len(values)) + EPS) for v in values]


def _norm(p: int) -> Callable[[list[float]], list[float]]:
    return lambda values: [v / math.fsum(abs(u) ** p for u in values) ** (1.0 / p) for v in values]


def _grouped(x: np.ndarray, groups: int) -> np.ndarray:
    parts = np.array_split(x, groups, axis=1)
    return np.concatenate([_each(part, range(1, x.ndim), _standard) for part in parts], axis=1)


def _channels(v: np.ndarray, x: np.ndarray) -> np.ndarray:
    return v.reshape(-1, *(1,) * (x.ndim - 2))


# name: (shape of x, shapes of the parameters, forward and backward as (y, *gradients), the same by hand)
Case = tuple[tuple[int, ...], list[tuple[int, ...]], Callable[..., Any], Callable[..., Any]]


def _layer(axis: int, *parameters: tuple[int, ...], with_gamma: bool = True, with_beta: bool = True) -> Case:
    def given(arrays: tuple[Any, ...]) -> tuple[Any, Any]:
        rest = list(arrays)
        return rest.pop(0) if with_gamma else None, rest.pop(0) if with_beta else None

    def run(x: Any, *arrays: Any) -> Any:
        gamma, beta = given(arrays)
        y, x_hat, inverse_std = layer_norm_forward(x, gamma, beta, axis, EPS)

        def back(dout: Any) -> list[Any]:
            return [g for g in layer_norm_backward(dout, x_hat, gamma, beta, inverse_std, axis) if g is not None]

        return y, back

    def by_hand(x: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
        gamma, beta = given(arrays)
        y = _each(x, range(axis % x.ndim, x.ndim), _standard)
        return y * (1.0 if gamma is None else gamma) + (0.0 if beta is None else beta)

    return (3, 2, 4), list(parameters), run, by_hand


def _group(shape: tuple[int, ...], groups: int) -> Case:
    def run(x: Any, gamma: Any, beta: Any) -> Any:
        y, x_hat, inverse_std = group_norm_forward(x, gamma, beta, groups, EPS)
        return y, lambda dout: group_norm_backward(dout, x_hat, gamma, inverse_std, groups)

    def by_hand(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
        return _grouped(x, groups) * _channels(gamma, x) + _channels(beta, x)

    return shape, [shape[1:2], shape[1:2]], run, by_hand


def _root(axis: int, parameter: tuple[int, ...]) -> Case:
    def run(x: Any, gamma: Any) -> Any:
        y, x_hat, inverse_rms = rms_norm_forward(x, gamma, axis, EPS)
        return y, lambda dout: rms_norm_backward(dout, x_hat, gamma, inverse_rms, axis)

    return (3, 2, 4), [parameter], run, lambda x, gamma: _each(x, range(axis % 3, 3), _rms) * gamma


def _by_norm(axis: int, p: int) -> Case:
    def run(x: Any) -> Any:
        y, norm = lp_norm_forward(x, axis, p)
        return y, lambda dout: (lp_norm_backward(dout, y, norm, axis, p),)

    return (3, 2, 4), [], run, lambda x: _each(x, [axis], _norm(p))


def _mean_variance(*axes: int) -> Case:
    def run(x: Any) -> Any:
        y, deviation, inverse = moments_forward(x, axes, EPS)
        return y, lambda dout: (moments_backward(dout, y, deviation, inverse, axes),)

    return (3, 2, 4, 2), [], run, lambda x: _each(x, axes, _moments)


CASES: dict[str, Case] = {
    "layer": _layer(1, (2, 4), (2, 4)),
    "layer, last axis": _layer(-1, (4,), (4,)),
    "layer, all axes": _layer(0, (3, 2, 4), (3, 2, 4)),
    "layer, broadcast": _layer(1, (1, 4), (2, 1)),
    "layer without beta": _layer(2, (4,), with_beta=False),
    "layer without gamma": _layer(2, (4,), with_gamma=False),
    "layer alone": _layer(1, with_gamma=False, with_beta=False),
    "groups": _group((2, 6, 3, 2), 3),
    "one group of rows": _group((3, 4), 1),
    "instances": _group((2, 3, 5), 3),
    "instances of volumes": _group((2, 3, 2, 2, 2), 3),
    "rms": _root(1, (2, 4)),
    "rms, last axis": _root(-1, (4,)),
    "rms, one gamma": _root(-1, (1,)),
    "p = 1": _by_norm(1, 1),
    "p = 2": _by_norm(-1, 2),
    "p = 2 over N": _by_norm(0, 2),
    "mean and variance": _mean_variance(2, 3),
    "mean and variance over all": _mean_variance(0, 2, 3),
}
each_case = pytest.mark.parametrize("name", CASES)


def _arrays(name: str) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shape, parameters, _, _ = CASES[name]
    return [random.standard_normal(shape) * 2.0 + 1.0, *(random.standard_normal(p) for p in parameters)]


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients(device: Device, name: str, dtype: str) -> None:
    _, _, run, by_hand = CASES[name]
    arrays = [a.astype(dtype) for a in _arrays(name)]
    given = [device.asarray(a.copy()) for a in arrays]
    y, back = run(*given)
    eps = float(np.finfo(dtype).eps)
    assert y.dtype == dtype
    # Sums of at most 24 numbers below 10, over deviations from 0.2 on.
    np.testing.assert_allclose(asnumpy(y), by_hand(*arrays), rtol=0.0, atol=300.0 * eps)
    dout = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    there = device.asarray(dout.copy())
    got = back(there)
    exact = [a.astype(np.float64) for a in arrays]
    slopes = [oracles.central_difference(lambda: float((by_hand(*exact) * dout).sum()), a) for a in exact]
    assert len(got) == len(slopes)
    for gradient, slope in zip(got, slopes, strict=True):
        assert (gradient.dtype, gradient.shape) == (dtype, slope.shape)
        # Differences: some 1e-9 of sums of some tens; float32: sums of 24 numbers up to 50.
        np.testing.assert_allclose(
            asnumpy(gradient), slope, rtol=0.0, atol=2e-8 + (1e3 * eps if dtype == "float32" else 0)
        )
    for before, after in zip([*arrays, dout], [*given, there], strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_far_mean_leaves_the_variance_right(device: Device, dtype: str) -> None:
    # mean(x**2) - mean(x)**2 would lose everything here in float32: 1e4 squared has an ulp of 8.
    x = device.asarray(1e4 + np.array([[-1.0, 1.0, -1.0, 1.0]]), dtype)
    x_hat, inverse_std, mean = standardize(x, (1,), 0.0)
    assert asnumpy(x_hat).tolist() == [[-1.0, 1.0, -1.0, 1.0]]
    assert (float(inverse_std[0, 0]), float(mean[0, 0])) == (1.0, 1e4)


def test_what_is_constant(device: Device) -> None:
    x = device.asarray(np.full((2, 4), 3.0))
    one, two = device.asarray(np.ones(4)), device.asarray(np.full(4, 2.0))
    assert asnumpy(layer_norm_forward(x, one, two)[0]).tolist() == [[2.0] * 4] * 2
    assert asnumpy(group_norm_forward(x, one, two, 2)[0]).tolist() == [[2.0] * 4] * 2
    y, deviation, inverse = moments_forward(x, (1,))
    assert asnumpy(y).tolist() == [[0.0] * 4] * 2
    dout = device.asarray(np.array([[1.0, -1.0, 1.0, -1.0]] * 2))
    assert np.isfinite(asnumpy(moments_backward(dout, y, deviation, inverse, (1,)))).all()


@pytest.mark.parametrize("p", [1, 2])
def test_zeros_have_no_direction(device: Device, p: int) -> None:
    x = device.asarray(np.array([[0.0, 0.0], [3.0, -4.0]]))
    y, norm = lp_norm_forward(x, 1, p)
    assert asnumpy(y)[0].tolist() == [0.0, 0.0]
    assert np.isfinite(asnumpy(lp_norm_backward(device.asarray(np.ones((2, 2))), y, norm, 1, p))).all()


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"axis 3 of an array of shape \(2, 3, 4\)"):
        layer_norm_forward(np.ones((2, 3, 4)), None, None, 3)
    with pytest.raises(ShapeError, match="2 groups do not divide the 3 channels"):
        group_norm_forward(np.ones((2, 3, 4)), np.ones(3), np.ones(3), 2)
