"""Random streams: Philox against its authors' known answers, masks that do not depend on how a batch is cut."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpcnn.rng
from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.rng import fresh_seed, generator, keep_mask, philox, stream_number

_LOW = 0xFFFFFFFF
# Random123 1.14, kat_vectors, "philox4x32 10": counter, key, answer.
_KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((_LOW,) * 4, (_LOW,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), _KNOWN_ANSWERS)
def test_philox_known_answers(device: Device, counter, key, answer) -> None:
    # The counter is (block's low half, block's high half, words[0], words[1]); the key low half first.
    block, words = counter[0] | counter[1] << 32, (counter[2], counter[3])
    got = philox(device.xp, block, 1, words, key[0] | key[1] << 32)
    assert got.dtype == np.uint64
    assert [int(v) for v in asnumpy(got)[0]] == list(answer)
    assert oracles.philox4x32(counter, key) == answer


@pytest.mark.parametrize("rounds", [1, 7, 10])
@pytest.mark.parametrize("first_block", [0, 5, 2**32 - 3, 2**63 - 3])
def test_philox_counts_blocks_across_word_boundaries(device: Device, first_block: int, rounds: int) -> None:
    key, words = 0x0123456789ABCDEF, (7, 2**32 - 1)
    got = asnumpy(philox(device.xp, first_block, 6, words, key, rounds))
    want = [
        oracles.philox4x32((block & _LOW, block >> 32, *words), (key & _LOW, key >> 32), rounds)
        for block in range(first_block, first_block + 6)
    ]
    assert got.tolist() == [list(block) for block in want]


def test_philox_takes_numpy_integers() -> None:
    plain = philox(np, 3, 2, (4, 5), 6)
    np.testing.assert_array_equal(plain, philox(np, np.int64(3), np.int64(2), (np.int64(4), np.int32(5)), np.int64(6)))


# -------------------------------------------------------------------------------------------------- keep_mask
def _mask_by_hand(shape: tuple[int, ...], keep: float, seed: int, stream: int, step: int, first: int) -> np.ndarray:
    row = math.prod(shape[1:])
    elements = range(first * row, first * row + math.prod(shape))
    bits = [
        oracles.philox4x32((i // 4 & _LOW, i // 4 >> 32, step, stream), (seed & _LOW, seed >> 32))[i % 4]
        for i in elements
    ]
    return np.array([b < keep * 2**32 for b in bits], dtype=bool).reshape(shape)


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.9])
@pytest.mark.parametrize(("shape", "first"), [((5, 7), 0), ((3, 2, 5, 3), 4), ((4, 6), 3), ((9,), 2), ((1, 1), 1)])
def test_keep_mask_is_philox_element_by_element(device: Device, shape, first: int, keep: float) -> None:
    seed, stream, step = 2**62 + 12345, 0xDEADBEEF, 17
    mask = keep_mask(device.xp, shape, keep, seed=seed, stream=stream, step=step, first=first)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(asnumpy(mask), _mask_by_hand(shape, keep, seed, stream, step, first))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 12),
    inner=st.lists(st.integers(1, 5), max_size=3),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    seed=st.integers(0, 2**63 - 1),
)
def test_pieces_of_a_batch_get_the_mask_of_the_whole(rows: int, inner: list[int], cuts: list[int], seed: int) -> None:
    whole = keep_mask(np, (rows, *inner), 0.5, seed=seed, stream=3, step=9)
    edges = sorted({0, rows, *(min(cut, rows) for cut in cuts)})
    pieces = [
        keep_mask(np, (after - before, *inner), 0.5, seed=seed, stream=3, step=9, first=before)
        for before, after in itertools.pairwise(edges)
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_keep_probability(keep: float, seed: int) -> None:
    # A right generator misses 5 standard deviations of the binomial once in 1.7 million draws; the seeds are fixed.
    count = 200_000
    kept = int(keep_mask(np, (100, 2000), keep, seed=seed, stream=1, step=1).sum())
    assert abs(kept - count * keep) <= 5.0 * math.sqrt(count * keep * (1.0 - keep))


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": 1}, {"step": 1}, {"seed": 1 << 32}, {"first": 100}])
def test_masks_of_different_purposes_are_independent(other: dict[str, int]) -> None:
    base = {"seed": 0, "stream": 0, "step": 0}
    one, two = (keep_mask(np, (100, 500), 0.5, **kind) for kind in (base, base | other))
    # Two independent fair masks agree in half of the places: again within 5 standard deviations.
    agreeing, count = int((one == two).sum()), one.size
    assert abs(agreeing - count / 2) <= 5.0 * math.sqrt(count / 4)


def test_keep_all_none_and_empty(device: Device) -> None:
    kind = {"seed": 3, "stream": 1, "step": 4}
    assert bool(keep_mask(device.xp, (50, 40), 1.0, **kind).all())
    assert not bool(keep_mask(device.xp, (50, 40), 0.0, **kind).any())
    assert keep_mask(device.xp, (0, 4), 0.5, **kind).shape == (0, 4)
    assert keep_mask(device.xp, (4, 0), 0.5, first=2, **kind).shape == (4, 0)
    assert keep_mask(device.xp, (), 1.0, **kind).shape == ()


# -------------------------------------------------------------------------------------------------- generator
def test_streams_do_not_depend_on_what_was_drawn_before() -> None:
    forward = {epoch: generator(5, "shuffle", epoch).permutation(50).tolist() for epoch in range(4)}
    backward = {}
    for epoch in reversed(range(4)):
        generator(5, "init", "conv1").standard_normal(1000)
        backward[epoch] = generator(5, "shuffle", epoch).permutation(50).tolist()
    assert forward == backward
    assert len({tuple(order) for order in forward.values()}) == 4


def test_different_seeds_and_streams_differ() -> None:
    kinds = [
        (0,),
        (1,),
        (1 << 32,),
        (2**63 - 1,),
        (0, 0),
        (0, "shuffle"),
        (0, "shuffle", 0),
        (0, "shuffle", 0, 0),
        (0, "shuffle", 1),
        (0, 1, "shuffle"),
        (0, "init", "conv1"),
        (0, "init", "conv2"),
    ]
    draws = {kind: tuple(generator(*kind).integers(0, 2**63, size=4).tolist()) for kind in kinds}
    assert len(set(draws.values())) == len(kinds)


def test_numpy_integers_name_the_same_stream() -> None:
    plain = generator(5, "shuffle", 3).random(4)
    np.testing.assert_array_equal(plain, generator(np.int64(5), "shuffle", np.int64(3)).random(4))


def test_stream_number_is_crc32() -> None:
    assert stream_number("123456789") == 0xCBF43926  # the check value of CRC-32's published definition
    assert [stream_number(word) for word in (0, 7, _LOW)] == [0, 7, _LOW]


def test_words_mean_the_same_in_every_process() -> None:
    # str hashes differ from process to process; the streams must not.
    script = "from xpcnn.rng import generator; print(generator(1, 'shuffle', 2).integers(0, 2**62))"
    root = str(Path(xpcnn.rng.__file__).parents[1])
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert answers == {str(generator(1, "shuffle", 2).integers(0, 2**62))}


def test_fresh_seeds() -> None:
    seeds = {fresh_seed() for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)
