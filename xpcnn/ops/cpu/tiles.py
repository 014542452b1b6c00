"""Winograd's convolution (winograd.py) by NumPy's matrix products alone, a block of tiles at a time, for float32.

    x (n, H, W, C)         --along the rows, by bands-->      h (6, n, H, tiles across, C)
    h                      --down the columns, by bands-->    v (6, 6, n, tiles down, tiles across, C)
    v (36, tiles, C) . U (36, C, FN)  =                       m (36, tiles, FN)
    m                      --down the columns, by A'-->       h (n, 4 * tiles down, 6, tiles across, FN)
    h                      --along the rows, by A'-->         z (n, OH, OW, FN)

Bands hold B' once for every tile of a line: one product does for all tiles what six small ones would do for each.
Pixels outside the picture have no place in the bands, so nobody need pad.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np

from xpcnn.device import Array
from xpcnn.ops.cpu.products import at_once, cuts
from xpcnn.ops.cpu.winograd import TILE, matrices

__all__ = ["Place", "TileBlock", "tile_blocks"]

BUDGET = 2**21  # bytes of v and m that are made at a time
SIDE = 4  # tiles across and down a block at most: the longer a line, the more of its bands are zeros
LEAST = 16  # tiles in a block, if there are as many, however many channels

Place = tuple[slice, slice, slice]  # pictures, rows and columns of outputs


def tile_blocks(n: int, OH: int, OW: int, numbers: int) -> list[Place]:
    """n pictures' outputs cut into blocks of whole tiles. numbers: channels and filters together."""
    high, wide = (list(_equal(-(-size // TILE), SIDE)) for size in (OH, OW))
    tiles = max(LEAST, BUDGET // (36 * 4 * numbers))
    together = max(1, tiles // (max(map(_length, high)) * max(map(_length, wide))))
    return [
        (images, _outputs(rows, OH), _outputs(columns, OW))
        for images in _equal(n, together)
        for rows in high
        for columns in wide
    ]


def _equal(length: int, most: int) -> Iterator[slice]:
    """`length` in as few parts of at most `most` as will do, as equal as can be."""
    count = -(-length // most)
    return (slice(length * i // count, length * (i + 1) // count) for i in range(count))


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _outputs(tiles: slice, size: int) -> slice:
    return slice(TILE * tiles.start, min(TILE * tiles.stop, size))


@cache
def _bands(tiles: int, before: int, length: int) -> Array:
    """(6, tiles, length): B' for each of the tiles along a line of pixels, the first tile beginning `before` it."""
    bands = np.zeros((6, tiles, TILE * tiles + 2 + length), dtype=np.float32)
    for t in range(tiles):
        bands[:, t, TILE * t : TILE * t + 6] = matrices()[0]
    return np.ascontiguousarray(bands[:, :, before : before + length])


@cache
def _joins(tiles: int, length: int, phases: int) -> Array:
    """(length, 6 * tiles): A' for every tile of a line; of 2 phases: even outputs first, then odd ones."""
    joins = np.zeros((TILE * tiles, 6, tiles), dtype=np.float32)
    for t in range(tiles):
        joins[TILE * t : TILE * (t + 1), :, t] = matrices()[2]
    ordered = [joins[phase:length:phases] for phase in range(phases)]
    return np.concatenate(ordered).reshape(length, 6 * tiles)


class TileBlock:
    """The convolution of a block; it keeps views of its arrays, so that doing it again takes few calls.

    place: the block; shape, pad: of the pictures, (H, W, C), and how much is to be thought above and to the left.
    rooms: flat scratch of `sizes`; z: where the block's outputs go, (n, rows, columns, FN). phases: 1, or 2 where the
    even columns are to come before the odd ones, whose number must be the same.
    """

    def __init__(
        self,
        place: Place,
        shape: tuple[int, int, int],
        pad: tuple[int, int],
        rooms: tuple[Array, Array, Array],
        z: Array,
        phases: int = 1,
    ) -> None:
        H, W, C = shape
        n, OH, OW, FN = z.shape
        images, rows, columns = place
        down, across = -(-OH // TILE), -(-OW // TILE)
        seen_down, above = _seen(rows.start - pad[0], down, H)
        seen_across, before = _seen(columns.start - pad[1], across, W)
        self.seen = images, seen_down, seen_across
        high, wide, tiles = _length(seen_down), _length(seen_across), n * down * across

        def room(number: int, *shape: int) -> Array:
            return rooms[number][: math.prod(shape)].reshape(shape)

        h = room(0, 6, n, high, across * C)
        v, m = room(1, 6, 6, n, down, across * C), room(2, 6, 6, n, down, across * FN)
        back = room(0, n, down, TILE, 6, across * FN)
        self._across = _bands(across, before, wide)[:, None, None], h.reshape(6, n, high, across, C)
        self._down = _bands(down, above, high)[:, None, None], h, v
        self._products = list(_products(v.reshape(36, tiles, C), m.reshape(36, tiles, FN)))
        self._up = matrices()[2].astype(np.float32), m.transpose(1, 2, 3, 0, 4), back.transpose(3, 0, 1, 2, 4)
        lines = back.reshape(n, TILE * down, 6 * across, FN)[:, :OH]
        self._out = _joins(across, OW, phases), lines, z

    @staticmethod
    def sizes(place: Place, C: int, FN: int) -> tuple[int, int, int]:
        """Numbers in the three rooms."""
        n, down, across = (-(-_length(part) // size) for part, size in zip(place, (1, TILE, TILE), strict=True))
        tiles = n * down * across
        return 6 * n * across * max((TILE * down + 2) * C, TILE * down * FN), 36 * tiles * C, 36 * tiles * FN

    def run(self, x: Array, U: Array) -> None:
        """Fills z from the pictures x (n, H, W, C), C-contiguous, and filters from `transform_filters`."""
        bands, h = self._across
        np.matmul(bands, x[self.seen], out=h)
        bands, h, v = self._down
        np.matmul(bands, h, out=v)
        for pixels, filters, out in self._products:
            np.matmul(pixels, U[:, None, :, filters], out=out)
        for left, right, out in (self._up, self._out):
            np.matmul(left, right, out=out)


def _seen(start: int, tiles: int, length: int) -> tuple[slice, int]:
    """The pixels that the tiles see from `start` on, and how far before the first of them they begin."""
    first, last = max(0, start), min(length, start + TILE * tiles + 2)
    return slice(first, last), first - start


def _products(v: Array, m: Array) -> Iterator[tuple[Array, slice, Array]]:
    """The 36 products in lots of the size that BLAS likes: pixels (36, lots, tiles a lot, C), filters, outputs."""
    points, tiles, C = v.shape
    FN = m.shape[2]
    most, wide = at_once(C, FN)
    for first, lots, many in cuts(tiles, max(most, TILE)):
        here = slice(first, first + lots * many)
        pixels = v[:, here].reshape(points, lots, many, C)
        out = m[:, here].reshape(points, lots, many, FN)
        for f in range(0, FN, wide):
            yield pixels, slice(f, f + wide), out[..., f : f + wide]
