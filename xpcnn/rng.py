"""Random numbers that depend on what they are for, never on what was drawn before.

Two kinds. `generator` gives a NumPy generator for work on the host (initial weights, shuffling, augmentation),
keyed by a seed and words: the permutation of epoch 7 is the same whether or not epochs 0 to 6 were ever drawn, so
a run resumes without saving any generator. `keep_mask` draws dropout masks by a counter-based generator written in
plain `xp`: the same mask on a CPU and a GPU, and for any piece of a batch on its own.
"""

from __future__ import annotations

import zlib
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["fresh_seed", "generator", "keep_mask", "philox", "stream_number"]

_LOW32 = 0xFFFFFFFF
_MULTIPLY = (0xD2511F53, 0xCD9E8D57)  # Philox4x32's multipliers and Weyl key increments (Salmon et al., table 2)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def fresh_seed() -> int:
    """A seed of 63 random bits from the operating system, for a run that was not given one."""
    entropy = np.random.SeedSequence().entropy
    assert isinstance(entropy, int)
    return entropy & (2**63 - 1)


def stream_number(word: int | str) -> int:
    """A 32-bit number for a word, the same in every process (unlike `hash`)."""
    return zlib.crc32(word.encode()) if isinstance(word, str) else int(word) & _LOW32


def generator(seed: int, *stream: int | str) -> np.random.Generator:
    """A NumPy generator for the purpose that `stream` names, such as `generator(0, "shuffle", epoch)`."""
    low, high = int(seed) & _LOW32, (int(seed) >> 32) & _LOW32
    # SeedSequence fills short keys up with zeros: without the length, ("shuffle",) and ("shuffle", 0) would be one.
    key = (low, high, len(stream), *(stream_number(word) for word in stream))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def philox(xp: ModuleType, first_block: int, blocks: int, words: tuple[int, int], key: int, rounds: int = 10) -> Any:
    """Philox4x32 over counters (block, block >> 32, *words) for consecutive blocks.

    Returns uint32 values held in a uint64 array of shape (blocks, 4).
    Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    block = xp.arange(first_block, first_block + blocks, dtype=xp.uint64)
    c0, c1 = block & _LOW32, block >> 32
    c2, c3 = (xp.full(blocks, int(word) & _LOW32, dtype=xp.uint64) for word in words)
    k0, k1 = int(key) & _LOW32, (int(key) >> 32) & _LOW32  # a NumPy integer would not mix with uint64
    for _ in range(rounds):
        product0, product1 = c0 * _MULTIPLY[0], c2 * _MULTIPLY[1]
        c0, c1, c2, c3 = (product1 >> 32) ^ c1 ^ k0, product1 & _LOW32, (product0 >> 32) ^ c3 ^ k1, product0 & _LOW32
        k0, k1 = (k0 + _WEYL[0]) & _LOW32, (k1 + _WEYL[1]) & _LOW32
    return xp.stack([c0, c1, c2, c3], axis=1)


def keep_mask(
    xp: ModuleType, shape: tuple[int, ...], keep: float, *, seed: int, stream: int, step: int, first: int = 0
) -> Any:
    """Boolean array of `shape`, each element True with probability `keep`.

    Element i of row n is a function of (seed, stream, step, first + n, i) alone: `first` is the index in the batch
    of the piece's first row, so a batch cut into pieces gets the mask of the whole batch.
    """
    count = int(np.prod(shape, dtype=np.int64))
    start = first * (count // shape[0]) if shape and shape[0] else 0
    first_block = start // 4
    blocks = (start + count + 3) // 4 - first_block
    bits = philox(xp, first_block, blocks, (step, stream), seed).reshape(-1)
    return (bits[start - 4 * first_block :][:count] < round(keep * 2**32)).reshape(shape)
