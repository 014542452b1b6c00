"""Winograd's matrices, and what others compare its results by."""

from __future__ import annotations

import numpy as np

from xpcnn.ops.cpu.winograd import matrices, transform_filters


def growth() -> float:
    """Root mean square of the numbers that one channel brings to an output on Winograd's way, were none to cancel.

    For pixels and filters drawn evenly from -1 to 1, whose own mean squares are 1/3.
    """
    Bt, G, At = matrices()
    line = np.sqrt(At**2 @ ((Bt**2).sum(axis=1) * (G**2).sum(axis=1)))
    return float(line.max() ** 2 / 3.0)


def assert_close_winograd(got: np.ndarray, want: np.ndarray, C: int) -> None:
    """For float32 results from random pictures and filters, drawn evenly from -1 to 1.

    Each number goes through C + 21 roundings at most: C + 1 in the product and bias, 8 and 10 in the transforms there
    and back, and those of filter and coefficients. Their errors have random signs, as the products themselves have,
    and add up as square roots (Higham and Mary, A new approach to probabilistic rounding error analysis, 2019):
    eps * growth * sqrt(C) * sqrt(C + 21). The largest of 20,000 outputs was 0.6 to 1.2 times that for 1 to 512
    channels; three times it is allowed. The bound for the worst case, 75 times as large, would let mistakes pass.
    """
    eps = float(np.finfo(np.float32).eps)
    tolerance = 3.0 * eps * growth() * np.sqrt(C) * np.sqrt(C + 21)
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0.0, atol=tolerance)


def test_the_matrices_make_a_correlation_of_three_numbers_with_six() -> None:
    Bt, G, At = matrices()
    rng = np.random.default_rng(0)
    d, g = rng.uniform(-1, 1, 6), rng.uniform(-1, 1, 3)
    np.testing.assert_allclose(At @ ((G @ g) * (Bt @ d)), np.correlate(d, g, "valid"), rtol=0, atol=1e-14)


def test_filters_are_transformed_in_float64_and_rounded_once() -> None:
    W = np.random.default_rng(0).uniform(-1, 1, (5, 2, 3, 3)).astype(np.float32)
    _, G, _ = matrices()
    U = transform_filters(W)
    assert U.shape == (36, 2, 5)
    assert U.dtype == np.float32
    for f in range(5):
        for c in range(2):
            want = G @ W[f, c].astype(np.float64) @ G.T
            np.testing.assert_array_max_ulp(U[:, c, f], want.ravel().astype(np.float32), 1)
