"""The affine kernels for a few samples against `xpcnn.ops.reference` in float64, for this machine and lesser ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.cpu.compiled.test_kernels import GUARD, HOSTS
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cpu.compiled.affine import AffineKernels


def arrays(n, D, M, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1.0, 1.0, shape).astype(np.float32) for shape in ((n, D), (D, M), (M,))]


def guarded(n, M):
    """Room for y in the middle of a larger array, and that array."""
    whole = np.full(n * M + 64, GUARD, dtype=np.float32)
    return whole[32 : 32 + n * M].reshape(n, M), whole


@settings(max_examples=80, derandomize=True, deadline=None)
@given(
    n=st.integers(1, 8),
    C=st.integers(1, 7),
    P=st.integers(1, 40),
    M=st.one_of(st.integers(1, 40), st.sampled_from([64, 100, 257, 500])),
    bias=st.booleans(),
    relu=st.booleans(),
    host=st.sampled_from(HOSTS),
)
def test_equal_to_the_reference(n, C, P, M, bias, relu, host):
    x, W, b = arrays(n, C * P, M)
    y, whole = guarded(n, M)
    call = AffineKernels(C * P, M, host=host).forward(
        np.ascontiguousarray(x.reshape(n, C, P).transpose(0, 2, 1)).reshape(n, -1), W, b if bias else None, y, relu, C
    )
    expected = reference.affine_forward(x.astype(float), W.astype(float), b.astype(float) if bias else None)
    if relu:
        expected = np.maximum(expected, 0.0)
    # float32: C*P + 1 terms of at most 1 in one chain of sums.
    tolerance = (C * P + 1) ** 2 * np.finfo(np.float32).eps
    assert np.abs(y - expected).max() <= tolerance
    assert (whole[:32] == GUARD).all()
    assert (whole[-32:] == GUARD).all()
    first = y.tobytes()
    y[...] = 0.0
    call()
    assert y.tobytes() == first


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_a_sample_does_not_depend_on_its_batch(n):
    x, W, b = arrays(n, 300, 50)
    kernels = AffineKernels(300, 50)
    y, alone = np.empty((n, 50), np.float32), np.empty((1, 50), np.float32)
    kernels.forward(x, W, b, y)
    for i in range(n):
        kernels.forward(x[i : i + 1], W, b, alone)
        assert alone.tobytes() == y[i : i + 1].tobytes()


def test_nan_and_infinity_stay():
    x, W, b = arrays(1, 4, 5)
    W[1, 2], W[2, 3] = np.nan, np.inf
    y = np.empty((1, 5), np.float32)
    x[0, 2] = 0.0
    AffineKernels(4, 5).forward(x, W, b, y, relu=True)
    assert np.isnan(y[0, [2, 3]]).all()  # 0 * infinity too
    assert np.isfinite(y[0, [0, 1, 4]]).all()


def test_no_samples():
    x, W, b = arrays(0, 4, 5)
    AffineKernels(4, 5).forward(x, W, b, np.empty((0, 5), np.float32))()


def test_what_does_not_fit_is_refused():
    x, W, b = arrays(2, 6, 5)
    y = np.empty((2, 5), np.float32)
    kernels = AffineKernels(6, 5)
    for wrong in (
        (x[:, :5], W, b, y),
        (x.astype(float), W, b, y),
        (x, np.asfortranarray(W), b, y),
        (x, W, b[:4], y),
        (x, W, b, y[:1]),
    ):
        with pytest.raises(ShapeError):
            kernels.forward(*wrong)
    with pytest.raises(ShapeError, match="4 channels"):
        kernels.forward(x, W, b, y, channels=4)
    with pytest.raises(ShapeError, match="1 and more"):
        AffineKernels(0, 5)
