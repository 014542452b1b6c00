from __future__ import annotations

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, assert_near, judged, normal
from xpcnn.device import Device
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cuda import normalization as norm

# (N, C) and pictures; the channels of the last two are shared by several blocks, the last by unequal ones.
SHAPES = [(5, 3), (1, 2), (2, 4, 3, 5), (1, 1, 1, 1), (41, 2, 10, 10), (9, 1, 23, 31)]


def parameters(C: int, dtype: str) -> tuple[np.ndarray, ...]:
    """gamma, beta, running_mean, running_var in the dtype of calculation."""
    kind = "float64" if dtype == "float64" else "float32"
    gamma, beta, mean, var = (normal(seed, (C,), kind) for seed in range(4))
    return gamma, beta, mean, np.abs(var) + np.dtype(kind).type(0.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_in_training(gpu: Device, shape: tuple[int, ...], relu: bool, dtype: str) -> None:
    x = normal(7, shape, dtype) + np.dtype(dtype).type(2)
    gamma, beta, mean, var = parameters(shape[1], dtype)
    device = [gpu.asarray(a) for a in (gamma, beta, mean.copy(), var.copy())]
    y, statistics = norm.batch_norm_train(gpu.asarray(x), *device, momentum=0.8, eps=1e-3, relu=relu)
    want, x_hat, inverse_std, batch_mean, batch_var = reference.batch_norm_forward(judged(x), gamma, beta, 1e-3)
    if relu:
        want = reference.relu_forward(want)
    count = x.size // shape[1]
    # Means of `count` numbers near 2, times gamma / std.
    magnitude = 3.0 * float(np.abs(gamma).max() * inverse_std.max()) + float(np.abs(want).max())
    assert_near(gpu.asnumpy(y), want, dtype, terms=count, magnitude=magnitude)
    calculation = gamma.dtype.name
    assert_near(gpu.asnumpy(statistics.mean), batch_mean, calculation, count)
    assert_near(gpu.asnumpy(statistics.inverse_std), inverse_std, calculation, count, 5 * float(inverse_std.max()))
    assert_near(gpu.asnumpy(device[2]), mean * 0.8 + batch_mean * 0.2, calculation, count)
    assert_near(gpu.asnumpy(device[3]), var * 0.8 + batch_var * 0.2, calculation, count, 5.0)

    dout = normal(8, shape, dtype)
    # ReLU's corner is where the kernels' own output has it.
    masked = reference.relu_backward(dout, gpu.asnumpy(y)) if relu else dout
    wants = reference.batch_norm_backward(judged(masked), x_hat, gamma, inverse_std)
    gots = norm.batch_norm_backward(gpu.asarray(dout), gpu.asarray(x), device[0], statistics, y if relu else None)
    largest = float(np.abs(judged(masked)).sum() * max(1.0, float(np.abs(x_hat).max())))
    limits = [30.0 * float(np.abs(gamma).max() * inverse_std.max()), largest, largest]
    for got, wanted, limit in zip(gots, wants, limits, strict=True):
        assert_near(gpu.asnumpy(got), wanted, dtype, terms=count, magnitude=limit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_at_test_time(gpu: Device, shape: tuple[int, ...], relu: bool, dtype: str) -> None:
    x, dout = normal(7, shape, dtype), normal(8, shape, dtype)
    gamma, beta, mean, var = parameters(shape[1], dtype)
    device = [gpu.asarray(a) for a in (gamma, beta, mean, var)]
    there = gpu.asarray(x)
    y = norm.batch_norm_test(there, *device, relu=relu)
    want, x_hat, inverse_std = reference.batch_norm_apply(judged(x), gamma, beta, mean, var)
    assert_near(gpu.asnumpy(y), reference.relu_forward(want) if relu else want, dtype, magnitude=30.0)

    statistics = norm.statistics_room(there)._replace(mean=device[2], inverse_std=gpu.asarray(inverse_std))
    gots = norm.batch_norm_backward(gpu.asarray(dout), there, device[0], statistics, batch=False)
    wants = reference.batch_norm_backward(judged(dout), x_hat, gamma, inverse_std, batch=False)
    magnitude = 4.0 * x.size // shape[1] + 10.0
    for got, wanted in zip(gots, wants, strict=True):
        assert_near(gpu.asnumpy(got), wanted, dtype, x.size // shape[1], magnitude)


def test_variance_of_numbers_far_from_zero(gpu: Device) -> None:
    """E[x^2] - E[x]^2 would lose everything here; parts about their own means, joined, do not."""
    x = (1e4 + np.random.default_rng(0).standard_normal((60, 1, 10, 10))).astype("float32")
    gamma, beta, mean, var = (gpu.xp.full(1, v, dtype="float32") for v in (1, 0, 0, 0))
    norm.batch_norm_train(gpu.asarray(x), gamma, beta, mean, var, momentum=0.0)
    exact = x.astype("float64").var()
    # The numbers themselves are spaced 2**-10 apart there: the mean is off by part of that, its square negligible.
    assert float(var[0]) == pytest.approx(exact, rel=1e-4)


def test_empty_batches_and_wrong_arrays(gpu: Device) -> None:
    xp = gpu.xp
    four = [xp.ones(2, dtype="float32") for _ in range(4)]
    nothing = xp.zeros((0, 2, 3, 3), dtype="float32")
    with pytest.raises(ShapeError, match="empty batch"):
        norm.batch_norm_train(nothing, *four)
    assert norm.batch_norm_test(nothing, *four).shape == nothing.shape
    with pytest.raises(ShapeError, match=r"gamma must be \(2,\) float32, got \(2,\) float16"):
        norm.batch_norm_test(xp.zeros((1, 2), dtype="float16"), four[0].astype("float16"), *four[1:])
    with pytest.raises(ShapeError, match=r"\(N, D\) or \(N, C, H, W\), got shape \(1, 2, 3\)"):
        norm.batch_norm_test(xp.zeros((1, 2, 3), dtype="float32"), *four)
    out, bracket = norm.lrn_forward(nothing)
    assert out.shape == bracket.shape == nothing.shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("shape", [(2, 7, 3, 5), (1, 1, 1, 1), (3, 4, 2, 3)])
def test_lrn(gpu: Device, shape: tuple[int, ...], size: int, dtype: str) -> None:
    x, dout = normal(0, shape, dtype), normal(1, shape, dtype)
    how = {"size": size, "alpha": 0.3, "beta": 0.7}
    y, bracket = norm.lrn_forward(gpu.asarray(x), **how, k=1.5)
    want, want_bracket = reference.lrn_forward(judged(x), **how, k=1.5)
    assert_near(gpu.asnumpy(y), want, dtype, terms=size)
    assert_near(gpu.asnumpy(bracket), want_bracket, "float64" if dtype == "float64" else "float32", terms=size)
    dx = norm.lrn_backward(gpu.asarray(dout), gpu.asarray(x), bracket, **how)
    want_dx = reference.lrn_backward(judged(dout), judged(x), want_bracket, **how)
    assert_near(gpu.asnumpy(dx), want_dx, dtype, terms=4 * size, magnitude=2.0 * float(np.abs(dout).max()))
