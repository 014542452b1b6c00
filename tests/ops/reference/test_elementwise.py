"""Mathematics of one element at a time against Python's, the error function's accuracy, functions that broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import DeviceError
from xpcnn.ops import reference

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

# the function by Python's own means, and between which numbers it is tried
MATHEMATICS: dict[str, tuple[Callable[[float], float], float, float]] = {
    "abs": (abs, -3.0, 3.0),
    "acos": (math.acos, -0.95, 0.95),
    "acosh": (math.acosh, 1.1, 9.0),
    "asin": (math.asin, -0.95, 0.95),
    "asinh": (math.asinh, -9.0, 9.0),
    "atan": (math.atan, -9.0, 9.0),
    "atanh": (math.atanh, -0.95, 0.95),
    "ceil": (math.ceil, -3.0, 3.0),
    "cos": (math.cos, -4.0, 4.0),
    "cosh": (math.cosh, -3.0, 3.0),
    "erf": (math.erf, -4.0, 4.0),
    "exp": (math.exp, -4.0, 3.0),
    "floor": (math.floor, -3.0, 3.0),
    "identity": (float, -3.0, 3.0),
    "log": (math.log, 0.1, 9.0),
    "neg": (lambda v: -v, -3.0, 3.0),
    "reciprocal": (lambda v: 1.0 / v, 0.2, 4.0),
    "round": (round, -3.0, 3.0),
    "sign": (lambda v: math.copysign(1.0, v), -3.0, 3.0),
    "sin": (math.sin, -4.0, 4.0),
    "sinh": (math.sinh, -3.0, 3.0),
    "sqrt": (math.sqrt, 0.1, 9.0),
    "tan": (math.tan, -1.3, 1.3),
}
each_function = pytest.mark.parametrize("name", MATHEMATICS)


def test_every_function_is_tried() -> None:
    assert MATHEMATICS.keys() == reference.UNARY.keys()


@each_function
@each_dtype
def test_unary(device: Device, name: str, dtype: str) -> None:
    formula, low, high = MATHEMATICS[name]
    x = np.random.default_rng(0).uniform(low, high, (3, 7)).astype(dtype)
    given = device.asarray(x.copy())
    y = reference.unary_forward(name, given)
    assert y.dtype == dtype
    want = np.array([formula(v) for v in x.ravel().tolist()]).reshape(x.shape)
    # Libraries promise a few units of the last place; the domains end where slopes would enlarge x's own rounding.
    np.testing.assert_allclose(asnumpy(y), want, rtol=8 * float(np.finfo(dtype).eps), atol=float(np.finfo(dtype).eps))
    np.testing.assert_array_equal(asnumpy(given), x)


@each_function
@each_dtype
def test_unary_gradient(device: Device, name: str, dtype: str) -> None:
    formula, low, high = MATHEMATICS[name]
    random = np.random.default_rng(1)
    x, dout = random.uniform(low, high, (3, 7)).astype(dtype), random.standard_normal((3, 7)).astype(dtype)
    given = [device.asarray(a) for a in (dout, x)]
    dx = reference.unary_backward(name, *given, reference.unary_forward(name, given[1]))
    assert dx.dtype == dtype
    exact, weights = x.astype(np.float64), dout.ravel().tolist()
    slope = oracles.central_difference(
        lambda: math.fsum(w * formula(v) for w, v in zip(weights, exact.ravel().tolist(), strict=True)), exact
    )
    # h**2 f''' / 6 for third derivatives up to 1e4 (1/x near 0.2), and the roundings of a chain of a few operations.
    np.testing.assert_allclose(
        asnumpy(dx), slope, rtol=32 * float(np.finfo(dtype).eps) + 1e-7, atol=1e-7 + 8 * float(np.finfo(dtype).eps)
    )


def test_halves_go_to_the_even_neighbour(device: Device) -> None:
    x = device.asarray(np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]))
    assert asnumpy(reference.unary_forward("round", x)).tolist() == [-2.0, -2.0, 0.0, 0.0, 2.0, 2.0]


@pytest.mark.parametrize("name", ["abs", "neg", "sign", "identity"])
def test_whole_numbers_stay_so(device: Device, name: str) -> None:
    y = reference.unary_forward(name, device.asarray(np.array([-3, 0, 2], dtype=np.int32)))
    assert y.dtype == np.int32
    assert (
        asnumpy(y).tolist()
        == {
            "abs": [3, 0, 2],
            "neg": [3, 0, -2],
            "sign": [-1, 0, 1],
            "identity": [-3, 0, 2],
        }[name]
    )


@each_dtype
@pytest.mark.parametrize(
    ("name", "want"), [("asinh", 1e-30), ("atan", 1e-60), ("abs", 1.0), ("identity", 1.0), ("reciprocal", 1e-60)]
)
def test_gradients_at_huge_numbers(device: Device, name: str, want: float, dtype: str) -> None:
    # 1e30 squared is beyond float32: a warning of an overflow would fail this test.
    x = device.asarray(np.array([1e30], dtype=dtype))
    dx = asnumpy(reference.unary_backward(name, device.xp.ones_like(x), x, reference.unary_forward(name, x)))
    assert abs(abs(dx[0]) - want) <= 4 * float(np.finfo(dtype).eps) * want + 1e-45


# ------------------------------------------------------------------------------------------------ error function
@pytest.mark.parametrize(("dtype", "limit"), [("float64", 4.0), ("float32", 4.0), ("float16", 1.0)])
def test_erf_is_exact_to_a_few_units_of_the_last_place(device: Device, dtype: str, limit: float) -> None:
    least = float(np.finfo(dtype).tiny)
    x = np.concatenate([np.linspace(-7.0, 7.0, 20_001), np.geomspace(least, 1.0, 2_000), [0.46875, 0.5, 4.0, 6.0]])
    x = x.astype(dtype)
    x = x[abs(x) >= least]
    y = reference.erf(device.asarray(x))
    assert y.dtype == dtype
    want = np.array([math.erf(v) for v in x.tolist()])
    off = abs(asnumpy(y).astype(np.float64) - want) / abs(want) / float(np.finfo(dtype).eps)
    assert float(off.max()) < limit


@each_dtype
def test_erf_at_the_ends(device: Device, dtype: str) -> None:
    y = asnumpy(reference.erf(device.asarray(np.array([-np.inf, -30.0, -0.0, 0.0, 30.0, 1e30, np.inf, np.nan], dtype))))
    np.testing.assert_array_equal(y, [-1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 1.0, np.nan])
    assert np.signbit(y[2])
    tiny = np.array([np.finfo(dtype).smallest_subnormal * 1000], dtype=dtype)
    assert asnumpy(reference.erf(device.asarray(tiny)))[0] == pytest.approx(math.erf(float(tiny[0])), rel=1e-2)


# -------------------------------------------------------------------------------------------- several that broadcast
SHAPES = [((2, 3), (2, 3)), ((2, 3), (1, 3)), ((2, 1), (3,)), ((2, 3), ())]


@each_dtype
@pytest.mark.parametrize("shapes", SHAPES)
def test_power(device: Device, shapes: tuple[tuple[int, ...], ...], dtype: str) -> None:
    random = np.random.default_rng(2)
    x, p = (np.asarray(random.uniform(0.5, 2.5, shape), dtype=dtype) for shape in shapes)
    y = reference.power_forward(device.asarray(x), device.asarray(p))
    assert y.dtype == dtype
    wide = np.broadcast_arrays(x, p)
    want = [float(a) ** float(b) for a, b in zip(*(a.ravel() for a in wide), strict=True)]
    np.testing.assert_allclose(asnumpy(y).ravel(), want, rtol=8 * float(np.finfo(dtype).eps))
    dout = random.standard_normal(y.shape).astype(dtype)
    dx, dp = reference.power_backward(*(device.asarray(a) for a in (dout, x, p)), y)
    assert (dx.shape, dp.shape, dx.dtype, dp.dtype) == (*shapes, dtype, dtype)
    exact = [a.astype(np.float64) for a in (x, p)]
    for got, a in ((dx, exact[0]), (dp, exact[1])):
        slope = oracles.central_difference(lambda: float((exact[0] ** exact[1] * dout).sum()), a)
        # Third derivatives up to 100 times 1e-10 / 6; sums of up to 6 terms no larger than 20.
        np.testing.assert_allclose(asnumpy(got), slope, rtol=0.0, atol=1e-7 + 6 * 20 * float(np.finfo(dtype).eps))
    assert reference.power_backward(dout, x, p, asnumpy(y), (True, False))[1] is None
    assert reference.power_backward(dout, x, p, asnumpy(y), (False, True))[0] is None


def test_power_at_its_corners(device: Device) -> None:
    # Nothing warns: squares of negative numbers are common (variances), and so is a base of 0.
    x, p = (device.asarray(np.array(a)) for a in ([-3.0, 0.0, 0.0, 0.0, 2.0], [2.0, 2.0, 1.0, 0.0, 0.0]))
    y = reference.power_forward(x, p)
    assert asnumpy(y).tolist() == [9.0, 0.0, 0.0, 1.0, 1.0]
    dx, dp = reference.power_backward(device.xp.ones_like(x), x, p, y)
    assert asnumpy(dx).tolist() == [-6.0, 0.0, 1.0, 0.0, 0.0]
    np.testing.assert_array_equal(asnumpy(dp), [np.nan, 0.0, 0.0, 0.0, math.log(2.0)])


@each_dtype
@pytest.mark.parametrize(("mode", "pick"), [("maximum", max), ("minimum", min)])
def test_extremes(device: Device, mode: str, pick: Callable[..., float], dtype: str) -> None:
    random = np.random.default_rng(3)
    shapes = [(2, 3, 4), (3, 1), (2, 3, 4), ()]
    xs = [np.asarray(random.integers(-3, 4, shape), dtype=dtype) for shape in shapes]  # with many ties
    given = [device.asarray(x) for x in xs]
    y = reference.extreme_forward(mode, given)
    assert y.dtype == dtype
    dout = random.standard_normal((2, 3, 4)).astype(dtype)
    gradients = reference.extreme_backward(device.asarray(dout), given, y)
    wide, want = np.broadcast_arrays(*xs), [np.zeros(shape) for shape in shapes]
    for place in np.ndindex(2, 3, 4):
        values = [float(a[place]) for a in wide]
        best = pick(values)
        assert asnumpy(y)[place] == best
        first = values.index(best)
        ndim = len(shapes[first])
        spot = tuple(i if n > 1 else 0 for i, n in zip(place[3 - ndim :], shapes[first], strict=True))
        want[first][spot] += float(dout[place])
    for got, expected in zip(gradients, want, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(asnumpy(got), expected, rtol=0.0, atol=24 * 4 * float(np.finfo(dtype).eps))


def test_extremes_hide_no_nan(device: Device) -> None:
    xs = [device.asarray(np.array(a)) for a in ([np.nan, 1.0], [0.0, 2.0])]
    y = reference.extreme_forward("maximum", xs)
    np.testing.assert_array_equal(asnumpy(y), [np.nan, 2.0])
    gradients = [asnumpy(g).tolist() for g in reference.extreme_backward(device.xp.ones_like(y), xs, y)]
    assert gradients == [[0.0, 0.0], [1.0, 1.0]]


@each_dtype
def test_mean(device: Device, dtype: str) -> None:
    xs = [np.asarray(a, dtype=dtype) for a in ([[1.0, 2.0], [3.0, 4.0]], [[10.0], [20.0]], 4.0)]
    y = reference.mean_forward([device.asarray(x) for x in xs])
    assert y.dtype == dtype
    np.testing.assert_allclose(asnumpy(y), [[5.0, 16.0 / 3], [9.0, 28.0 / 3]], rtol=4 * float(np.finfo(dtype).eps))
    dout = device.asarray(np.array([[3.0, 6.0], [9.0, 12.0]], dtype=dtype))
    gradients = reference.mean_backward(dout, [x.shape for x in xs])
    for got, want in zip(gradients, ([[1.0, 2.0], [3.0, 4.0]], [[3.0], [7.0]], 10.0), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(asnumpy(got), want, rtol=4 * float(np.finfo(dtype).eps))


def test_arrays_of_two_devices(cuda: Device) -> None:
    here, there = np.ones(3), cuda.asarray(np.ones(3))
    for call in (
        lambda: reference.power_forward(here, there),
        lambda: reference.extreme_forward("minimum", [there, here]),
        lambda: reference.mean_forward([here, there]),
        lambda: reference.prelu_forward(here, there),
    ):
        with pytest.raises(DeviceError, match="two devices"):
            call()
