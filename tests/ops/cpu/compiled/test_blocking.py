"""How shapes are cut into register blocks."""

from __future__ import annotations

import itertools

import pytest

from xpcnn.ops.cpu.compiled.blocking import Cut, choose, lanes_for, vector_cut


@pytest.mark.parametrize(("length", "size"), [(1, 1), (7, 7), (8, 4), (9, 4), (30, 16), (5, 4)])
def test_a_cut_covers_everything_once_counting_what_it_repeats(length: int, size: int) -> None:
    cut = Cut(length, size)
    starts = [min(i * size, length - size) for i in range(cut.count)]
    repeated = [i * size - start for i, start in enumerate(starts)]
    fresh = [range(start + again, start + size) for start, again in zip(starts, repeated, strict=True)]
    assert list(itertools.chain(*fresh)) == list(range(length))
    assert cut.exact == (not any(repeated))


@pytest.mark.parametrize(("FN", "host", "lanes"), [(1, 16, 1), (3, 16, 2), (9, 16, 8), (16, 16, 16), (70, 8, 8)])
def test_vectors_are_no_longer_than_there_are_filters(FN: int, host: int, lanes: int) -> None:
    assert lanes_for(FN, host) == lanes


@pytest.mark.parametrize("FN", range(1, 71))
def test_a_group_of_vectors_stays_inside_the_filters(FN: int) -> None:
    lanes = lanes_for(FN, 16)
    for Q in range(1, -(-FN // lanes) + 1):
        groups, offsets = vector_cut(FN, lanes, Q)
        starts = [min(j * groups.size, FN - groups.size) for j in range(groups.count)]
        covered = {start + offset + lane for start in starts for offset in offsets for lane in range(lanes)}
        assert covered == set(range(FN))


@pytest.mark.parametrize("registers", [16, 32])
@pytest.mark.parametrize(("width", "vectors"), [(1, 1), (8, 4), (14, 2), (28, 1), (112, 4), (5, 30)])
@pytest.mark.parametrize("multiple", [1, 2])
def test_a_block_fits_the_registers(registers: int, width: int, vectors: int, multiple: int) -> None:
    if width < multiple:
        pytest.skip("nothing to pool")
    rows, columns, Q = choose([multiple], width, vectors, registers, multiple)
    assert rows == multiple
    assert columns % multiple == 0
    assert columns <= width
    assert rows * columns * Q + Q + 1 <= registers  # sums, vectors and the spread scalar


def test_the_book_networks_get_blocks_without_waste() -> None:
    """28, 14 and 8 pixels a row of 16, 32 and 64 filters, on AVX-512."""
    assert choose([1], 28, 1, 32) == (1, 28, 1)
    assert choose([1], 14, 2, 32) == (1, 14, 2)
    assert choose([1], 8, 4, 32) == (1, 8, 2)
