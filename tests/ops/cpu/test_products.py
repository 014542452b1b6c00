"""Products in parts against products whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpcnn.ops.cpu import products
from xpcnn.ops.cpu.products import at_once, cross, cuts, product

# Sums of at most 700 terms of size 1 in another order: float32 keeps 7 digits, float64 16.
CLOSE = {np.float32: {"rtol": 1e-4, "atol": 1e-4}, np.float64: {"rtol": 1e-12, "atol": 1e-12}}


@pytest.fixture(params=[True, False], ids=["small kernels", "packing only"])
def kernels(request, monkeypatch):
    monkeypatch.setattr(products, "_takes_unpacked", lambda: request.param)
    return request.param


@settings(max_examples=80, derandomize=True, deadline=None)
@given(count=st.integers(1, 300), most=st.integers(1, 80).map(lambda k: 4 * k))
def test_cuts_meet_and_are_no_larger_than_asked(count, most):
    end = 0
    for first, lots, many in cuts(count, most):
        assert first == end
        assert lots > 0
        assert 0 < many <= most
        end = first + lots * many
    assert end == count


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("R", "K", "N"),
    [(1, 1, 1), (5, 9, 16), (700, 144, 16), (101, 576, 64), (37, 1152, 128), (30, 1600, 96), (9, 4608, 70)],
)
def test_product(R, K, N, dtype, kernels):
    rng = np.random.default_rng(R)
    a, b = rng.standard_normal((R, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
    wide = np.full((R, N + 3), 7.0, dtype)
    out = product(a, b, wide[:, :N])
    np.testing.assert_allclose(out, a @ b, **CLOSE[dtype])
    assert out.dtype == dtype
    assert (wide[:, N:] == 7.0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("R", "M", "N"), [(1, 3, 4), (700, 144, 16), (435, 16, 144), (650, 64, 64), (50, 128, 128)])
def test_cross(R, M, N, dtype, kernels):
    rng = np.random.default_rng(R)
    a, b = rng.standard_normal((R, M)).astype(dtype), rng.standard_normal((R, N)).astype(dtype)
    found = cross(a, b)
    np.testing.assert_allclose(found, a.T @ b, **CLOSE[dtype])
    assert found.dtype == dtype
    np.testing.assert_array_equal(cross(a, b), found)


def test_how_much_is_taken_at_once(kernels):
    for K, N in [(9, 16), (144, 16), (576, 64), (1152, 128), (3456, 384), (25, 30)]:
        rows, columns = at_once(K, N)
        assert rows >= 4
        assert 0 < columns <= N
        if kernels:
            assert rows % 4 == 0
            assert rows * columns * K <= products.SMALL
    assert (at_once(9 * 512, 512)[0] == 0) == kernels  # four rows with 64 columns would be above the limit
