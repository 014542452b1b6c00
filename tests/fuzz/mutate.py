"""Damage that strangers' files have, by accident or on purpose: every change is drawn from one random stream."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

__all__ = ["LENGTHS", "NUMBERS", "mutate"]

# What length fields are set to: the edges of every width, and sizes that are large but not absurd.
LENGTHS = (0, 1, 2, 3, 7, 8, 64, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 10**6, 10**7, 2**24, 2**28,
           2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
# What numbers in text are set to.
NUMBERS = (*map(str, LENGTHS), "-1", "-9223372036854775808", "1e9", "1e400", "-0.0", "NaN", "nan", "inf", "Infinity",
           "null", "true", "9" * 30, "9" * 5000, "0x" + "f" * 5000, "1.5", '""', "[]", "{}")  # fmt: skip
_DIGITS = re.compile(rb"\d+")


def mutate(rng: Random, seeds: Sequence[bytes], tokens: Sequence[bytes] = ()) -> bytes:
    """One of `seeds` with one to four changes, mostly one; tokens: words of the format to strew in."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        change = rng.choice(_CHANGES)
        change(rng, data, seeds, tokens)
    return bytes(data)


def _place(rng: Random, data: bytearray) -> int:
    # Half of the time near the beginning, where headers are.
    return rng.randrange(min(len(data), 64) if rng.random() < 0.5 else len(data)) if data else 0


def _flip(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    for _ in range(rng.randint(1, 4) if data else 0):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _overwrite(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    place = _place(rng, data)
    data[place : place + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))


def _length(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    place, width = _place(rng, data), rng.choice((1, 2, 4, 4, 8))
    value = rng.choice(LENGTHS) if rng.random() < 0.8 else rng.getrandbits(8 * width)
    data[place : place + width] = (value % (1 << 8 * width)).to_bytes(width, rng.choice(("big", "little")))


def _nudge(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if data:
        place = _place(rng, data)
        data[place] = (data[place] + rng.choice((-1, 1))) % 256


def _cut(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    del data[_place(rng, data) :]


def _remove(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    place = _place(rng, data)
    del data[place : place + rng.choice((1, 2, 4, 16, 64))]


def _insert(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    place = _place(rng, data)
    data[place:place] = rng.choice(tokens) if tokens and rng.random() < 0.7 else rng.randbytes(rng.randint(1, 16))


def _word(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if tokens:
        word, place = rng.choice(tokens), _place(rng, data)
        data[place : place + len(word)] = word


def _repeat(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    place = _place(rng, data)
    piece = data[place : place + rng.choice((1, 4, 16, 64))]
    data[place:place] = piece * rng.choice((1, 1, 2, 8, 1000))


def _splice(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    del data[_place(rng, data) :]
    data += other[rng.randrange(len(other) + 1) :]


def _append(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    data += rng.choice(seeds) if rng.random() < 0.3 else rng.randbytes(rng.randint(1, 32))


def _number(rng: Random, data: bytearray, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    """Another number for one that stands as text, as in the headers of safetensors, .npy, PPM and TOML."""
    found = list(_DIGITS.finditer(bytes(data[:4096])))
    if found:
        at = rng.choice(found)
        data[at.start() : at.end()] = rng.choice(NUMBERS).encode()


_CHANGES = (_flip, _flip, _overwrite, _length, _length, _nudge, _cut, _remove, _insert, _word, _repeat, _splice,
            _append, _number)  # fmt: skip
