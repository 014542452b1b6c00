"""Convolution by rows against sums over windows written out."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xpcnn.ops.cpu import convolution, products, rows
from xpcnn.ops.cpu.rows import Block, RowShape, as_lines


def window_sums(x, filters, stride, OH, OW):
    """Every output pixel by itself: x (n, H, W, C), filters (FH, FW, C, FN) to (n, OH, OW, FN)."""
    FH, FW = filters.shape[:2]
    z = np.empty((len(x), OH, OW, filters.shape[3]), x.dtype)
    for oh in range(OH):
        for ow in range(OW):
            window = x[:, oh * stride[0] :, ow * stride[1] :][:, :FH, :FW]
            z[:, oh, ow] = np.tensordot(window, filters, 3)
    return z


def by_blocks(x, filters, shape, OH):
    """The same through blocks, as (n, OH, phases, width, FN)."""
    z = np.empty((len(x), OH, shape.phases, shape.width // shape.phases, shape.FN), x.dtype)
    matrix = filters.reshape(-1, shape.FN)
    for images, part in shape.blocks(len(x), OH, x.itemsize):
        n, count = images.stop - images.start, part.stop - part.start
        first = part.start * shape.stride[0]
        slab = np.full(shape.slab(n, count), np.nan, x.dtype)
        out = np.full(shape.products(n, count), np.nan, x.dtype)
        Block(shape, x[images, first : first + shape.seen(count)], slab, out).run(matrix)
        z[images, part] = out.transpose(2, 0, 1, 3, 4)
    return z


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    n=st.integers(1, 5),
    C=st.integers(1, 5),
    FN=st.integers(1, 9),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    H=st.integers(1, 13),
    W=st.integers(1, 13),
    pool=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    small=st.sampled_from([40, 400, 10**6]),
    block=st.sampled_from([1, 1000, 5000, 2**20]),
    kernels=st.booleans(),
)
def test_blocks_equal_sums_over_windows(n, C, FN, size, stride, H, W, pool, dtype, small, block, kernels):
    OH, OW = (H - size[0]) // stride[0] + 1, (W - size[1]) // stride[1] + 1
    assume(min(OH, OW) >= (2 if pool else 1))
    rng = np.random.default_rng(C)
    x = rng.standard_normal((n, H, W, C)).astype(dtype)
    filters = rng.standard_normal((*size, C, FN)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "SMALL", small)
        patch.setattr(products, "COLUMNS", 4)
        patch.setattr(products, "_takes_unpacked", lambda: kernels)
        patch.setattr(rows, "BLOCK", block)
        shape = RowShape(*size, C, FN, stride, OW, pool)
        assume(shape.possible)
        if pool:
            OH, OW = OH // 2 * 2, OW // 2 * 2
        z = by_blocks(x, filters, shape, OH)
    expected = window_sums(x, filters, stride, OH, OW)
    together = z.transpose(0, 1, 3, 2, 4).reshape(expected.shape)  # column 2i + p lies in phase p at i
    # At most 125 terms of size 1.
    np.testing.assert_allclose(
        together, expected, **({"rtol": 1e-11, "atol": 1e-11} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-4})
    )


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("item", [4, 8])
def test_blocks_stay_within_their_bytes(pool, item, monkeypatch):
    monkeypatch.setattr(convolution, "BUDGET", 100_000)
    for shape, n, OH in [
        (RowShape(3, 3, 16, 16, (1, 1), 28, pool), 50, 28),
        (RowShape(7, 7, 3, 8, (2, 2), 40, pool), 3, 40),
        (RowShape(5, 5, 1, 30, (1, 1), 24, pool), 100, 24),
    ]:
        seen = np.zeros((n, OH), int)
        for images, part in shape.blocks(n, OH, item):
            count = images.stop - images.start, part.stop - part.start
            assert (np.prod(shape.slab(*count)) + np.prod(shape.products(*count))) * item <= 100_000
            assert not pool or count[1] % 2 == 0
            seen[images, part] += 1
        assert (seen == 1).all()


def test_one_pooled_row_goes_whole_however_large_it_is(monkeypatch):
    monkeypatch.setattr(convolution, "BUDGET", 1)
    assert list(RowShape(3, 3, 4, 4, (1, 1), 9, True).blocks(2, 4, 4)) == [
        (slice(i, i + 1), slice(r, r + 2)) for i in range(2) for r in (0, 2)
    ]


def test_blocks_write_again_what_x_has_become():
    shape = RowShape(3, 3, 2, 4, (1, 1), 4, True)
    x = np.zeros((2, 6, 6, 2))
    block = Block(shape, x, np.empty(shape.slab(2, 4)), np.empty(shape.products(2, 4)))
    rng = np.random.default_rng(0)
    filters = rng.standard_normal((3, 3, 2, 4))
    for _ in range(2):
        x[:] = rng.standard_normal(x.shape)
        block.run(filters.reshape(-1, 4))
        z = window_sums(x, filters, (1, 1), 4, 4)
        for found, corner in zip(
            block.corners, (z[:, ::2, ::2], z[:, ::2, 1::2], z[:, 1::2, ::2], z[:, 1::2, 1::2]), strict=True
        ):
            np.testing.assert_allclose(found, as_lines(np.ascontiguousarray(corner)), rtol=1e-12)
