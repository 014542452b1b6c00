"""Pooling and convolutions of single channels place by place, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpcnn.ops import reference
from xpcnn.ops.cpu.windows import average_pool, depthwise, max_pool

sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))


def last(a):
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1))


@settings(max_examples=100, derandomize=True, deadline=None)
@given(size=sizes, stride=sizes, extra=sizes, data=st.data(), count_pad=st.booleans())
def test_pooling(size, stride, extra, data, count_pad):
    pad = tuple(data.draw(st.integers(0, k - 1)) for k in (*size, *size))
    x = np.random.default_rng(0).standard_normal((2, 3, size[0] + extra[0], size[1] + extra[1]))
    want, _ = reference.max_pool2d_forward(x, *size, stride, pad)
    y = last(np.full_like(want, np.nan))
    rows = np.empty((2, x.shape[2], want.shape[3], 3))
    max_pool(last(x), size, stride, pad[:2], rows, y)
    assert (y == last(want)).all()
    average_pool(last(x), size, stride, pad[:2], rows, y, count_pad)
    means = reference.average_pool2d_forward(x, *size, stride, pad, count_pad)
    np.testing.assert_allclose(y, last(means), rtol=1e-12, atol=1e-14)  # at most 16 terms, in another order


@settings(max_examples=100, derandomize=True, deadline=None)
@given(size=sizes, stride=sizes, extra=sizes, pad=st.tuples(*[st.integers(0, 5)] * 4), dilation=sizes)
def test_single_channels(size, stride, extra, pad, dilation):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, *(d * (k - 1) + 1 + e for d, k, e in zip(dilation, size, extra, strict=True))))
    W = rng.standard_normal((3, 1, *size))
    want = reference.conv2d_forward(x, W, None, stride, pad, dilation, 3)[0]
    y = last(np.full_like(want, np.nan))
    room = np.full_like(y, np.nan)
    depthwise(last(x), np.ascontiguousarray(W[:, 0].transpose(1, 2, 0)), stride, pad[:2], dilation, room, y)
    np.testing.assert_allclose(y, last(want), rtol=1e-12, atol=1e-13)  # at most 16 terms, in another order


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_stay_and_what_is_not_finite_too(dtype):
    x = np.zeros((1, 4, 4, 2), dtype)
    x[0, 1, 1, 0], x[0, 1, 1, 1] = np.nan, np.inf
    y, rows = np.zeros((1, 3, 3, 2), dtype), np.zeros((1, 4, 3, 2), dtype)
    max_pool(x, (2, 2), (1, 1), (0, 0), rows, y)
    assert np.isnan(y[0, :2, :2, 0]).all()
    assert (y[0, :2, :2, 1] == np.inf).all()
    average_pool(x, (2, 2), (1, 1), (0, 0), rows, y, False)
    assert np.isnan(y[0, :2, :2, 0]).all()
    assert (y[0, 2] == 0.0).all()
    assert y.dtype == dtype
