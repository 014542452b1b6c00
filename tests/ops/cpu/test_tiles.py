"""Winograd's convolution in NumPy against the reference, over random shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.ops.cpu.test_winograd import assert_close_winograd
from xpcnn.ops import reference
from xpcnn.ops.cpu import products, tiles
from xpcnn.ops.cpu.tiles import TileBlock, tile_blocks
from xpcnn.ops.cpu.winograd import transform_filters

PADS = st.integers(0, 3)


def convolved(x: np.ndarray, W: np.ndarray, pad: tuple[int, int, int, int], phases: int) -> np.ndarray:
    """By blocks, all with the same rooms, which hold NaNs at first."""
    N, H, width, C = x.shape
    FN = len(W)
    OH, OW = H + pad[0] + pad[2] - 2, width + pad[1] + pad[3] - 2
    OW = OW // phases * phases
    y = np.full((N, OH, OW, FN), np.nan, np.float32)
    places = tile_blocks(N, OH, OW, C + FN)
    sizes = np.max([TileBlock.sizes(place, C, FN) for place in places], axis=0)
    rooms = tuple(np.full(size, np.nan, np.float32) for size in sizes)
    for place in places:
        z = y[place] if phases == 1 else np.full(y[place].shape, np.nan, np.float32)
        TileBlock(place, (H, width, C), (pad[0], pad[1]), rooms, z, phases).run(x, transform_filters(W))
        if phases == 2:
            half = z.shape[2] // 2
            y[place][:, :, 0::2], y[place][:, :, 1::2] = z[:, :, :half], z[:, :, half:]
    return y


@pytest.mark.parametrize("unpacked", [True, False])  # BLAS libraries want their products in lots, or whole
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(
    N=st.integers(1, 5),
    C=st.one_of(st.integers(1, 9), st.sampled_from([40, 130])),
    FN=st.one_of(st.integers(1, 9), st.sampled_from([70, 130])),
    size=st.tuples(st.integers(3, 24), st.integers(3, 40)),
    pad=st.tuples(PADS, PADS, PADS, PADS),
    phases=st.sampled_from([1, 2]),
    budget=st.sampled_from([1, tiles.BUDGET]),
)
def test_equals_the_reference(
    unpacked: bool,
    N: int,
    C: int,
    FN: int,
    size: tuple[int, int],
    pad: tuple[int, int, int, int],
    phases: int,
    budget: int,
) -> None:
    assume(size[1] + pad[1] + pad[3] - 2 >= phases)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (N, *size, C)).astype(np.float32)
    W = rng.uniform(-1.0, 1.0, (FN, C, 3, 3)).astype(np.float32)
    want, _ = reference.conv2d_forward(x.transpose(0, 3, 1, 2).astype(float), W.astype(float), np.zeros(FN), pad=pad)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_takes_unpacked", lambda: unpacked)
        patch.setattr(tiles, "BUDGET", budget)
        y = convolved(x, W, pad, phases)
    assert_close_winograd(y.transpose(0, 3, 1, 2), want[:, :, :, : y.shape[2]], C)


@pytest.mark.parametrize(("N", "OH", "OW"), [(1, 1, 1), (7, 28, 28), (3, 17, 33), (2, 512, 500), (100, 8, 8)])
def test_blocks_are_bounded_and_cover_all_once(N: int, OH: int, OW: int) -> None:
    seen = np.zeros((N, OH, OW), int)
    for place in tile_blocks(N, OH, OW, 128):
        seen[place] += 1
        assert all(part.start % 4 == 0 for part in place[1:])
        assert sum(TileBlock.sizes(place, 64, 64)[1:]) * 4 <= tiles.BUDGET
        assert math.prod(part.stop - part.start for part in place[1:]) <= (4 * tiles.SIDE) ** 2
    assert (seen == 1).all()
