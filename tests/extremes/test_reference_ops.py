"""The reference operations at the edges of their arithmetic: nothing that is not a number may vanish."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.ops import reference

pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning")

nan, inf = math.nan, math.inf
TINY = {"float32": 1e-42, "float64": 1e-315}  # both below the least normal number
EXTREMES = [0.0, -0.0, 1.0, -1.0, 1e-42, -1e-42, 1e30, -1e30, 3e38, -3e38, 88.0, -104.0, 710.0, -746.0, inf, -inf, nan]
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

# What each function of one element is, in Python's own float64 arithmetic.
POINTWISE: dict[str, Callable[[float], float]] = {
    "relu": lambda v: v if math.isnan(v) else max(v, 0.0),
    "leaky_relu": lambda v: v if v > 0 else v * 0.01,
    "elu": lambda v: v if v > 0 or math.isnan(v) else math.expm1(v),
    "tanh": math.tanh,
    "sigmoid": lambda v: 0.0 if v < -700 else 1.0 / (1.0 + math.exp(-v)),
}


@each_dtype
@pytest.mark.parametrize("name", POINTWISE)
def test_functions_of_one_element(device: Device, name: str, dtype: str) -> None:
    x = np.array(EXTREMES, dtype=dtype)
    y = asnumpy(getattr(reference, f"{name}_forward")(device.asarray(x)))
    assert y.dtype == dtype
    want = np.array([POINTWISE[name](v) for v in x.tolist()])
    # A few roundings, of numbers up to 1 in absolute terms: sigmoid by way of tanh is exact to eps of 1, not of y.
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(y.astype(np.float64), want.astype(dtype).astype(np.float64), rtol=4 * eps, atol=2 * eps)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))


@each_dtype
@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_denormals_are_kept(device: Device, name: str, dtype: str) -> None:
    tiny = np.array([TINY[dtype]], dtype=dtype)
    assert 0.0 < tiny[0] < np.finfo(dtype).tiny
    assert asnumpy(getattr(reference, f"{name}_forward")(device.asarray(tiny)))[0] == tiny[0]


@each_dtype
@pytest.mark.parametrize("name", POINTWISE)
def test_spoilt_gradients_stay_so(device: Device, name: str, dtype: str) -> None:
    """Also under ReLU's mask: 0 * NaN and 0 * inf are NaN, so a spoilt gradient is seen all the way down."""
    x = np.array([-2.0, 2.0], dtype=dtype)
    forward, backward = getattr(reference, f"{name}_forward"), getattr(reference, f"{name}_backward")
    given = device.asarray(x)
    takes = given if name in ("leaky_relu", "elu") else forward(given)
    for bad in (nan, inf):
        dx = asnumpy(backward(device.asarray(np.full(2, bad, dtype)), takes))
        assert not np.isfinite(dx).any()


@each_dtype
def test_dropout_hides_no_nan(device: Device, dtype: str) -> None:
    x = device.asarray(np.array([nan, nan, 1.0, 1.0], dtype=dtype))
    y = asnumpy(reference.dropout(x, device.asarray(np.array([True, False, True, False])), 2.0))
    np.testing.assert_array_equal(y, [nan, nan, 2.0, 0.0])


# ------------------------------------------------------------------------------------------ products and windows
@each_dtype
@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("N", [1, 2, 9])
def test_no_zero_hides_what_is_multiplied_by_it(device: Device, bad: float, N: int, dtype: str) -> None:
    """BLAS may not skip zeros, on neither side and for no number of rows."""
    zeros, W = np.zeros((N, 5), dtype), np.ones((5, 3), dtype)
    W[2, 1] = bad
    y = asnumpy(reference.affine_forward(device.asarray(zeros), device.asarray(W)))
    assert np.isnan(y[:, 1]).all()
    assert (y[:, [0, 2]] == 0.0).all()
    x = zeros.copy()
    x[N - 1, 4] = bad
    y = asnumpy(reference.affine_forward(device.asarray(x), device.asarray(np.zeros((5, 3), dtype))))
    assert np.isnan(y[N - 1]).all()
    assert (y[: N - 1] == 0.0).all()


@each_dtype
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_convolution_spreads_what_is_not_a_number_as_far_as_its_windows(device: Device, bad: float, dtype: str) -> None:
    x, W = np.ones((3, 2, 6, 5), dtype), np.zeros((4, 2, 3, 2), dtype)
    x[1, 0, 2, 3] = bad
    y, col = reference.conv2d_forward(device.asarray(x), device.asarray(W), None, pad=1)
    seen = np.zeros((3, 1, 6, 6), bool)
    seen[1, 0, 1:4, 3:5] = True  # the windows of 3x2 over the padded picture that hold (3, 4)
    np.testing.assert_array_equal(np.isnan(asnumpy(y)), np.broadcast_to(seen, y.shape))
    dout = np.zeros(y.shape, dtype)
    dx, dW, _ = reference.conv2d_backward(device.asarray(dout), col, device.asarray(W), x.shape, pad=1)
    assert np.isnan(asnumpy(dW)[:, 0]).all()  # every place of the filters has met it
    assert (asnumpy(dW)[:, 1] == 0.0).all()
    assert (asnumpy(dx) == 0.0).all()


@each_dtype
def test_sums_that_overflow_are_infinite_and_terms_that_vanish_are_not(device: Device, dtype: str) -> None:
    largest = float(np.finfo(dtype).max)
    big = device.asarray(np.full((1, 1, 2, 2), 0.9 * largest, dtype))
    ones = device.asarray(np.ones((1, 1, 2, 2), dtype))
    y, _ = reference.conv2d_forward(big, ones)
    assert asnumpy(y).item() == inf
    assert asnumpy(reference.average_pool2d_forward(big, 2, 2)).item() == inf  # the sum comes before the division
    tiny = device.asarray(np.full((1, 1, 2, 2), TINY[dtype], dtype))
    y, _ = reference.conv2d_forward(tiny, ones)
    assert asnumpy(y).item() == 4 * np.dtype(dtype).type(TINY[dtype])  # denormals add up exactly


@each_dtype
@pytest.mark.parametrize("window", [(2, 2), (3, 1), (4, 4)])
def test_max_pooling_of_extremes(device: Device, window: tuple[int, int], dtype: str) -> None:
    random = np.random.default_rng(0)
    x = random.choice(np.array(EXTREMES), (3, 2, 8, 4)).astype(dtype)
    y, winner = reference.max_pool2d_forward(device.asarray(x), *window, window)
    np.testing.assert_array_equal(asnumpy(y), oracles.max_pool2d(x, window, window, (0,) * 4))
    dout = random.standard_normal(y.shape).astype(dtype)
    dx = asnumpy(reference.max_pool2d_backward(device.asarray(dout), winner, x.shape, *window, window))
    np.testing.assert_array_equal(dx, oracles.max_pool2d(x, window, window, (0,) * 4, dout))
    np.testing.assert_array_equal(asnumpy(reference.max_pool2d_forward(device.asarray(x * nan), *window)[0]), nan)
    low = np.full_like(x, -inf)  # a picture of nothing but -inf is no pad
    assert (asnumpy(reference.max_pool2d_forward(device.asarray(low), *window)[0]) == -inf).all()


@each_dtype
def test_a_nan_spoils_the_averages_that_hold_it(device: Device, dtype: str) -> None:
    x = np.ones((1, 1, 4, 4), dtype)
    x[0, 0, 1, 1] = nan
    y = asnumpy(reference.average_pool2d_forward(device.asarray(x), 2, 2, 2))
    np.testing.assert_array_equal(y[0, 0], [[nan, 1.0], [1.0, 1.0]])


# ------------------------------------------------------------------------------------------------- normalisation
@each_dtype
@pytest.mark.parametrize("bad", [nan, inf, "overflow"])
def test_batch_normalisation_says_that_its_statistics_are_spoilt(device: Device, bad: Any, dtype: str) -> None:
    """A variance that overflows would turn its channel into beta, a finite number that means nothing."""
    x = np.random.default_rng(1).standard_normal((4, 3, 2, 2)).astype(dtype)
    x[2, 1, 0, 1] = 1e-3 * float(np.finfo(dtype).max) if bad == "overflow" else bad
    gamma, beta = device.asarray(np.ones(3, dtype)), device.asarray(np.zeros(3, dtype))
    y, _, _, _, var = reference.batch_norm_forward(device.asarray(x), gamma, beta)
    assert np.isnan(asnumpy(y)[:, 1]).all()
    assert np.isfinite(asnumpy(y)[:, [0, 2]]).all()
    assert not np.isfinite(asnumpy(var)[1])
    # And so at test time, by running statistics that such a batch has gone into.
    y, _, _ = reference.batch_norm_apply(device.asarray(np.ones_like(x)), gamma, beta, gamma, var)
    assert np.isnan(asnumpy(y)[:, 1]).all()


@each_dtype
def test_batch_normalisation_of_a_single_value(device: Device, dtype: str) -> None:
    """The biased variance of one number is 0, and it lies 0 from its mean: beta, without a NaN."""
    x = np.array([[1e30, -1e-42, 5.0]], dtype)
    gamma, beta = device.asarray(np.ones(3, dtype)), device.asarray(np.array([1.0, 2.0, 3.0], dtype))
    y, *kept, _, _ = reference.batch_norm_forward(device.asarray(x), gamma, beta)
    np.testing.assert_array_equal(asnumpy(y), [[1.0, 2.0, 3.0]])
    dx, _, _ = reference.batch_norm_backward(device.asarray(np.ones((1, 3), dtype)), kept[0], gamma, kept[1])
    np.testing.assert_array_equal(asnumpy(dx), np.zeros((1, 3)))


@each_dtype
def test_local_response_normalisation(device: Device, dtype: str) -> None:
    x = np.ones((1, 5, 1, 3), dtype)
    x[0, 2, 0, 0], x[0, 2, 0, 1] = nan, inf
    y = asnumpy(reference.lrn_forward(device.asarray(x), size=3)[0])
    assert np.isnan(y[0, 2, 0, :2]).all()
    assert np.isnan(y[0, 1:4, 0, 0]).all()
    assert (y[0, [1, 3], 0, 1] == 0.0).all()  # 1 / inf: beside an infinity nothing else counts
    assert np.isfinite(y[0, :, 0, 2]).all()


# ---------------------------------------------------------------------------------------------------------- loss
@each_dtype
@pytest.mark.parametrize("function", [reference.softmax, reference.log_softmax])
@pytest.mark.parametrize(
    ("row", "spoilt"),
    [
        ([nan, 0.0, 1.0], True),
        ([inf, 0.0, 1.0], True),  # inf - inf
        ([-inf, -inf, -inf], True),  # no class is possible
        ([-inf, 0.0, 1.0], False),
        ([1e30, -1e30, 0.0], False),
        ([3e38, 3e38, -3e38], False),
        ([1e-42, 0.0, -1e-42], False),
        ([-104.0, 88.8, 710.0], False),
    ],
)
def test_softmax(device: Device, function: Any, row: list[float], spoilt: bool, dtype: str) -> None:
    x = np.array([row, [0.0, 1.0, 2.0]], dtype)
    y = asnumpy(function(device.asarray(x)))
    assert np.isfinite(y[1]).all()
    assert np.isnan(y[0]).all() == spoilt
    if not spoilt:
        shifted = [v - max(x[0].tolist()) for v in x[0].tolist()]
        log_sum = math.log(math.fsum(map(math.exp, shifted)))
        want = np.array([v - log_sum for v in shifted])
        want = np.exp(want) if function is reference.softmax else want
        # Three terms; -6e38 is beyond float32, where it is -inf: a probability of 0.
        np.testing.assert_allclose(y[0], want.astype(dtype), rtol=16 * float(np.finfo(dtype).eps), atol=1e-30)


@each_dtype
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_spoilt_row_spoils_the_loss_and_its_own_gradient_only(
    device: Device, smoothing: float, one_hot: bool, dtype: str
) -> None:
    t = np.array([0, 2, 1])
    labels = device.asarray(np.eye(3)[t] if one_hot else t)
    for place in range(3):  # the label's own score, and the others
        x = np.zeros((3, 3), dtype)
        x[1, place] = nan
        loss, y = reference.softmax_cross_entropy_forward(device.asarray(x), labels, smoothing)
        dx = asnumpy(reference.softmax_cross_entropy_backward(y, labels, 1.0, smoothing))
        assert math.isnan(float(loss))
        assert np.isnan(dx[1]).all()
        assert np.isfinite(dx[[0, 2]]).all()


@each_dtype
def test_an_impossible_label_is_an_infinite_loss(device: Device, dtype: str) -> None:
    x = device.asarray(np.array([[0.0, -inf]], dtype))
    for t in (np.array([1]), np.array([[0, 1]])):
        loss, y = reference.softmax_cross_entropy_forward(x, device.asarray(t))
        assert float(loss) == inf
        # The gradient is finite: the probability is 0 where 1 is wanted, however far that is.
        dx = asnumpy(reference.softmax_cross_entropy_backward(y, device.asarray(t)))
        np.testing.assert_array_equal(dx, [[1.0, -1.0]])


def test_nan_is_never_right(device: Device) -> None:
    """argmax names the first NaN, so a spoilt network would be right as often as its class 0 comes."""
    x = np.array([[nan, nan], [nan, 1.0], [1.0, nan], [inf, 0.0], [0.0, 1.0]], np.float32)
    t = np.array([0, 0, 1, 0, 1])
    for labels in (t, np.eye(2)[t]):
        assert int(reference.count_right(device.asarray(x), device.asarray(labels))) == 2
