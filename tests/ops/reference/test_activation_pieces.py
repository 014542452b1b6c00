"""Where the pieces of activations meet, and learned slopes; their values and slopes are in `test_activation.py`."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops import reference

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.mark.parametrize(
    ("name", "options", "points", "values", "slopes"),
    [
        ("clip", {"low": 0.0, "high": 6.0}, [0.0, 6.0], [0.0, 6.0], [0.0, 0.0]),
        ("hard_sigmoid", {"alpha": 0.25, "beta": 0.5}, [-2.0, 2.0], [0.0, 1.0], [0.0, 0.0]),
        ("hard_swish", {}, [-3.0, 3.0], [0.0, 3.0], [0.0, 1.0]),
        ("thresholded_relu", {"alpha": 1.5}, [1.5], [0.0], [0.0]),
        ("shrink", {"lambd": 0.5}, [-0.5, 0.5], [0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_where_pieces_meet(
    device: Device, name: str, options: dict[str, float], points: list[float], values: list[float], slopes: list[float]
) -> None:
    x = device.asarray(np.array(points))
    assert asnumpy(getattr(reference, f"{name}_forward")(x, **options)).tolist() == values
    dx = getattr(reference, f"{name}_backward")(device.xp.full_like(x, 3.0), x, **options)
    assert asnumpy(dx).tolist() == [3.0 * slope for slope in slopes]


def test_clip_with_its_bounds_the_wrong_way_round() -> None:
    """ONNX's rule: the upper one counts."""
    assert reference.clip_forward(np.array([-9.0, 0.0, 9.0]), 2.0, 1.0).tolist() == [1.0] * 3


@each_dtype
@pytest.mark.parametrize(("bias", "lambd"), [(0.0, 0.5), (1.5, 1.5), (0.5, 2.0)])
def test_shrink(device: Device, dtype: str, bias: float, lambd: float) -> None:
    points = np.array([-5.0, -1.75, -1.0, -0.25, 0.0, 0.25, 1.0, 1.75, 5.0], dtype=dtype)
    x = device.asarray(points)
    y = reference.shrink_forward(x, bias, lambd)
    dx = reference.shrink_backward(device.xp.full_like(x, 2.0), x, lambd)
    assert y.dtype == dx.dtype == dtype
    # All of these numbers and their sums are exact in binary.
    assert asnumpy(y).tolist() == [v - bias if v > lambd else v + bias if v < -lambd else 0.0 for v in points.tolist()]
    assert asnumpy(dx).tolist() == [2.0 if abs(v) > lambd else 0.0 for v in points.tolist()]
    assert np.isnan(asnumpy(reference.shrink_forward(x * np.nan))).all()


@each_dtype
@pytest.mark.parametrize("slope_shape", [(1,), (3, 1, 1), (1, 3, 1, 1), (5,), (3, 4, 5), ()])
def test_prelu(device: Device, dtype: str, slope_shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    x, dout = random.standard_normal((2, 3, 4, 5)).astype(dtype), random.standard_normal((2, 3, 4, 5)).astype(dtype)
    slope = np.asarray(random.uniform(0.1, 0.9, slope_shape), dtype=dtype)
    given = [device.asarray(a) for a in (dout, x, slope)]
    y = reference.prelu_forward(*given[1:])
    dx, dslope = reference.prelu_backward(*given)
    assert y.dtype == dx.dtype == dslope.dtype == dtype
    spread = np.broadcast_to(slope, x.shape)
    want_y, want_dx, want_dslope = np.empty(x.shape), np.empty(x.shape), np.zeros(slope_shape)
    first = len(x.shape) - len(slope_shape)
    for place in np.ndindex(*x.shape):
        v, s, d = float(x[place]), float(spread[place]), float(dout[place])
        want_y[place], want_dx[place] = (v, d) if v > 0 else (v * s, d * s)
        where = tuple(i if n > 1 else 0 for i, n in zip(place[first:], slope_shape, strict=True))
        want_dslope[where] += 0.0 if v > 0 else d * v
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(asnumpy(y), want_y, rtol=eps)
    np.testing.assert_allclose(asnumpy(dx), want_dx, rtol=eps)
    np.testing.assert_allclose(asnumpy(dslope), want_dslope, rtol=0.0, atol=120 * 9.0 * eps)  # a sum of 120 terms


def test_prelu_of_slopes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        reference.prelu_forward(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ShapeError, match="does not broadcast"):
        reference.prelu_backward(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((4, 2, 3)))
