"""Batch normalisation and LRN against loops over channels and central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops.reference.normalization import (
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_forward,
    batch_statistics,
    lrn_backward,
    lrn_forward,
)

each_shape = pytest.mark.parametrize(
    "shape", [(6, 4), (2, 1), (3, 4, 5, 2), (1, 3, 4, 4), (5, 2, 1, 1), (3, 2, 5), (2, 3, 2, 3, 2)]
)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _arrays(shape: tuple[int, ...], dtype: str = "float64") -> list[np.ndarray]:
    """x, gamma, beta, dout; each channel with a mean and a scale of its own."""
    random = np.random.default_rng(0)
    C = (shape[1], *(1,) * (len(shape) - 2))
    x = random.standard_normal(shape) * random.uniform(0.5, 3.0, C) + random.uniform(-2.0, 2.0, C)
    gamma, beta, dout = (
        random.uniform(0.5, 2.0, shape[1]),
        random.standard_normal(shape[1]),
        random.standard_normal(shape),
    )
    return [a.astype(dtype) for a in (x, gamma, beta, dout)]


# --------------------------------------------------------------------------------------------------- batch norm
@each_shape
@each_dtype
@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_batch_norm_forward(device: Device, shape: tuple[int, ...], dtype: str, eps: float) -> None:
    x, gamma, beta, _ = _arrays(shape, dtype)
    given = [device.asarray(a.copy()) for a in (x, gamma, beta)]
    results = batch_norm_forward(*given, eps)
    assert [r.dtype for r in results] == [dtype] * 5
    y, x_hat, inverse_std, mean, var = map(asnumpy, results)
    want_y, want_mean, want_var = oracles.batch_norm(x, gamma, beta, eps)
    want_x_hat, _, _ = oracles.batch_norm(x, np.ones_like(gamma), np.zeros_like(beta), eps)
    terms, largest = x.size // shape[1], float(abs(x).max())
    oracles.assert_close(mean, want_mean, terms, largest)
    # Squares of differences of numbers up to `largest`.
    oracles.assert_close(var, want_var, terms, 4.0 * largest**2)
    # An error in the mean and variance is passed on, divided by the standard deviation (once and twice).
    std = float(np.sqrt(want_var + eps).min())
    reach = largest / std + (largest / std) ** 2
    oracles.assert_close(inverse_std, 1.0 / np.sqrt(want_var + eps), terms, reach / std)
    oracles.assert_close(x_hat, want_x_hat, terms, 4.0 * reach)
    oracles.assert_close(y, want_y, terms, 4.0 * reach * float(gamma.max()) + float(abs(beta).max()))
    for before, after in zip((x, gamma, beta), given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


def test_statistics_of_pictures_are_over_n_h_and_w(device: Device) -> None:
    # Channel 0: one picture of zeros, one of twos. Per pixel (the book's rule) and per channel give mean 1 and
    # variance 1; channel 1 changes along W only: per pixel its variance would be 0.
    x = np.empty((2, 2, 3, 4))
    x[0, 0], x[1, 0], x[:, 1] = 0.0, 2.0, [0.0, 0.0, 4.0, 4.0]
    mean, var = batch_statistics(device.asarray(x))
    assert (mean.shape, var.shape) == ((2,), (2,))
    assert asnumpy(mean).tolist() == [1.0, 2.0]
    assert asnumpy(var).tolist() == [1.0, 4.0]


def test_statistics_of_rows_are_over_n(device: Device) -> None:
    mean, var = batch_statistics(device.asarray(np.array([[0.0, 10.0], [2.0, 10.0]])))
    assert (asnumpy(mean).tolist(), asnumpy(var).tolist()) == ([1.0, 10.0], [1.0, 0.0])


@each_dtype
def test_a_far_mean_leaves_the_variance_right(device: Device, dtype: str) -> None:
    # mean(x**2) - mean(x)**2 would lose everything here in float32: 1e4 squared has an ulp of 8.
    x = (1e4 + np.array([[-1.0], [1.0], [-1.0], [1.0]])).astype(dtype)
    _, var = batch_statistics(device.asarray(x))
    assert asnumpy(var).tolist() == [1.0]


@each_shape
@each_dtype
@pytest.mark.parametrize("batch", [True, False])
def test_batch_norm_backward(device: Device, shape: tuple[int, ...], dtype: str, batch: bool) -> None:
    x, gamma, beta, dout = _arrays(shape, dtype)
    # Statistics far from x's own, to tell the two modes apart; with two rows a small eps makes the curve too sharp
    # for a difference quotient.
    eps, mean, var = 0.1, np.full(shape[1], 0.3), np.full(shape[1], 1.7)
    exact = [a.astype(np.float64) for a in (x, gamma, beta)]

    def weighted_sum() -> float:
        if batch:
            return float((oracles.batch_norm(*exact, eps)[0] * dout).sum())
        per_channel = (shape[1], *(1,) * (len(shape) - 2))
        m, v, g, b = (a.reshape(per_channel) for a in (mean, var, *exact[1:]))
        return float((((exact[0] - m) / np.sqrt(v + eps) * g + b) * dout).sum())

    slopes = [oracles.central_difference(weighted_sum, a) for a in exact]

    there = [device.asarray(a) for a in (x, gamma, beta)]
    if batch:
        _, x_hat, inverse_std, _, _ = batch_norm_forward(*there, eps)
    else:
        _, x_hat, inverse_std = batch_norm_apply(
            *there, device.asarray(mean.astype(dtype)), device.asarray(var.astype(dtype)), eps
        )
    given = [device.asarray(dout.copy()), x_hat, there[1], inverse_std]
    kept = [asnumpy(a).copy() for a in given]
    got = batch_norm_backward(*given, batch=batch)
    # Differences: some 1e-9 for sums of some tens. float32: three chained sums over each channel, whose magnitudes
    # stay below 30 here, so 30 * terms * eps.
    tolerance = 1e-7 + (30.0 * (x.size // shape[1]) * float(np.finfo(np.float32).eps) if dtype == "float32" else 0.0)
    for gradient, slope in zip(got, slopes, strict=True):
        assert gradient.dtype == dtype
        np.testing.assert_allclose(asnumpy(gradient), slope, rtol=0.0, atol=tolerance)
    for before, after in zip(kept, given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)


def test_a_constant_channel_gives_beta(device: Device) -> None:
    x = device.asarray(np.full((4, 2, 3, 3), 7.0, dtype=np.float32))
    gamma, beta = (device.asarray(np.array(v, dtype=np.float32)) for v in ([2.0, 3.0], [0.5, -1.0]))
    y, *_ = batch_norm_forward(x, gamma, beta)
    np.testing.assert_array_equal(asnumpy(y), np.broadcast_to(asnumpy(beta)[:, None, None], x.shape))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(N, D\) or \(N, C, ...\), got shape \(4,\)"):
        batch_statistics(np.zeros(4))


# ---------------------------------------------------------------------------------------------------------- LRN
LRN_CASES = [
    ((2, 8, 3, 2), {}),  # the paper's: size 5, alpha 1e-4, beta 0.75, k 2
    ((2, 8, 3, 2), {"size": 5, "alpha": 0.3, "beta": 0.75, "k": 1.0}),
    ((1, 7, 2, 3), {"size": 3, "alpha": 0.5, "beta": 0.5, "k": 2.0}),
    ((2, 6, 2, 2), {"size": 4, "alpha": 0.4, "beta": 1.25, "k": 1.5}),  # even: one channel further ahead
    ((2, 3, 2, 2), {"size": 9, "alpha": 0.2, "beta": 0.75, "k": 1.0}),  # wider than all channels together
    ((1, 1, 2, 2), {"size": 1, "alpha": 0.7, "beta": 0.75, "k": 1.0}),
    ((2, 4, 2, 2), {"size": 2, "alpha": 0.7, "beta": 0.6, "k": 1.0}),
    ((3, 5), {"size": 3, "alpha": 0.5, "beta": 0.75, "k": 1.0}),
    ((2, 4, 3), {"size": 3, "alpha": 0.5, "beta": 0.75, "k": 1.0}),
    ((1, 4, 2, 1, 2), {"size": 3, "alpha": 0.5, "beta": 0.75, "k": 1.0}),
]
each_lrn = pytest.mark.parametrize(("shape", "options"), LRN_CASES)
_PAPER = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}


def _lrn(x: np.ndarray, **options: Any) -> np.ndarray:
    return oracles.lrn(x.reshape(*x.shape[:2], -1, 1), **options).reshape(x.shape)


@each_lrn
@each_dtype
def test_lrn_forward(device: Device, shape: tuple[int, ...], options: dict, dtype: str) -> None:
    x = (np.random.default_rng(1).standard_normal(shape) * 3.0).astype(dtype)
    given = device.asarray(x.copy())
    y, bracket = lrn_forward(given, **options)
    assert y.dtype == bracket.dtype == dtype
    want = _lrn(x, **(_PAPER | options))
    # The bracket's sum has at most `size` terms and k >= 1, so its relative error is about size * eps; a power of
    # about 1 passes it on, |y| <= |x| carries it.
    oracles.assert_close(asnumpy(y), want, (_PAPER | options)["size"] + 4, float(abs(x).max()))
    np.testing.assert_array_equal(asnumpy(given), x)


@each_lrn
@each_dtype
def test_lrn_backward(device: Device, shape: tuple[int, ...], options: dict, dtype: str) -> None:
    random = np.random.default_rng(2)
    x, dout = (random.standard_normal(shape).astype(dtype) for _ in range(2))
    exact, weights = x.astype(np.float64), dout.astype(np.float64)
    slope = oracles.central_difference(lambda: float((_lrn(exact, **(_PAPER | options)) * weights).sum()), exact)
    there = device.asarray(x)
    _, bracket = lrn_forward(there, **options)
    given = [device.asarray(dout.copy()), there, bracket]
    kept = [asnumpy(a).copy() for a in given]
    dx = lrn_backward(*given, **{name: value for name, value in options.items() if name != "k"})
    assert dx.dtype == dtype
    # Differences: 1e-9 for sums of tens; float32: sums of at most 9 terms, each below 10.
    tolerance = 1e-8 + (100.0 * float(np.finfo(np.float32).eps) if dtype == "float32" else 0.0)
    np.testing.assert_allclose(asnumpy(dx), slope, rtol=0.0, atol=tolerance)
    for before, after in zip(kept, given, strict=True):
        np.testing.assert_array_equal(asnumpy(after), before)
