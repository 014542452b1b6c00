import math

import numpy as np
import pytest

from xpcnn.data.augment import (
    Compose,
    RandomCrop,
    RandomFlip,
    RandomRotate,
    RandomShift,
    RandomWarp,
    parse_augment,
    rotate,
)
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.rng import generator

ALL = [
    RandomShift(2),
    RandomCrop(3),
    RandomRotate(30),
    RandomWarp(30, 0.3, 20, 1.5),
    RandomFlip(),
    Compose([RandomShift(1), RandomRotate(5)]),
    Compose([]),
]


def pictures(n=40, channels=2, height=6, width=7, dtype="float32"):
    # Never zero, so that zeros in a result are the filling.
    return np.random.default_rng(8).uniform(0.1, 1, (n, channels, height, width)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("augment", ALL, ids=repr)
def test_contract(augment, dtype):
    x = pictures(dtype=dtype)
    kept = x.copy()
    y = augment(x, generator(1, "a"))
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(augment(x, generator(1, "a")), y)
    y[...] = 0  # its own, writable
    np.testing.assert_array_equal(x, kept)


def shifted(picture, down, across):
    """The slow way, pixel by pixel."""
    result = np.zeros_like(picture)
    _, height, width = picture.shape
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - across < width:
                result[:, i, j] = picture[:, i - down, j - across]
    return result


@pytest.mark.parametrize("kind", [RandomShift, RandomCrop])
def test_shift(kind):
    x = pictures(n=400)
    y = kind(2)(x, generator(0))
    seen = set()
    for before, after in zip(x, y, strict=True):
        moves = [
            (down, across)
            for down in range(-2, 3)
            for across in range(-2, 3)
            if np.array_equal(shifted(before, down, across), after)
        ]
        assert len(moves) == 1
        seen.add(moves[0])
    # 400 draws of 25 moves: the chance to miss one is 25 (24/25)**400 = 2e-6, and the seed is fixed.
    assert len(seen) == 25


def test_shift_by_nothing_and_far():
    x = pictures()
    np.testing.assert_array_equal(RandomShift(0)(x, generator(0)), x)
    far = RandomShift(50)(x, generator(0))
    assert far.shape == x.shape


def test_flip():
    x = pictures(n=1000)
    y = RandomFlip(0.3)(x, generator(0))
    mirrored = (y == x[..., ::-1]).all(axis=(1, 2, 3))
    same = (y == x).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    # Binomial(1000, 0.3): standard deviation 14.5; five of them.
    assert abs(mirrored.sum() - 300) < 73
    np.testing.assert_array_equal(RandomFlip(0)(x, generator(0)), x)
    np.testing.assert_array_equal(RandomFlip(1)(x, generator(0)), x[..., ::-1])


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("quarter", [-2, -1, 0, 1, 2])
def test_quarter_turns(size, quarter):
    x = pictures(height=size, width=size, dtype="float64")
    y = rotate(x, np.full(len(x), 90.0 * quarter))
    # rot90 turns anticlockwise; cos(90 degrees) is 6e-17, not 0, hence rounding and no more.
    np.testing.assert_allclose(y, np.rot90(x, quarter, axes=(2, 3)), rtol=0, atol=1e-13)


def rotated(picture, degrees):
    """The slow way: every pixel fetched from where it lay before the turn, with y upwards, as in school."""
    _, height, width = picture.shape
    result = np.zeros_like(picture)
    angle = math.radians(-degrees)
    for i in range(height):
        for j in range(width):
            right, up = j - (width - 1) / 2, (height - 1) / 2 - i
            column = right * math.cos(angle) - up * math.sin(angle) + (width - 1) / 2
            row = (height - 1) / 2 - (right * math.sin(angle) + up * math.cos(angle))
            for m in (math.floor(row), math.floor(row) + 1):
                for n in (math.floor(column), math.floor(column) + 1):
                    if 0 <= m < height and 0 <= n < width:
                        result[:, i, j] += picture[:, m, n] * (1 - abs(row - m)) * (1 - abs(column - n))
    return result


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_rotation_against_the_slow_way(dtype, tolerance):
    x = pictures(n=8, dtype=dtype)
    degrees = np.array([0.0, 10, -10, 33.3, -77, 135, 180, 5])
    expected = np.stack([rotated(picture, angle) for picture, angle in zip(x, degrees, strict=True)])
    # Weights are rounded to dtype: a few units in the last place of values up to 1.
    np.testing.assert_allclose(rotate(x, degrees), expected, rtol=0, atol=tolerance)


def test_random_angles():
    x = pictures(n=200)
    np.testing.assert_array_equal(RandomRotate(0)(x, generator(0)), x)
    y = RandomRotate(20)(x, generator(0))
    angles = generator(0).uniform(-20, 20, 200)
    np.testing.assert_array_equal(y, rotate(x, angles))
    assert angles.min() < -15
    assert angles.max() > 15


@pytest.mark.parametrize(
    ("kind", "same"),
    [
        (RandomWarp(), lambda x, rng: x),
        (RandomWarp(rotate=20), lambda x, rng: rotate(x, rng.uniform(-20, 20, len(x)))),
    ],
)
def test_warps_that_others_do_too(kind, same):
    x = pictures()
    np.testing.assert_array_equal(kind(x, generator(4)), same(x, generator(4)))


def middle_and_spread(picture):
    """Centre of mass (down, across) and standard deviations about it: what a zoom multiplies."""
    weight = picture / picture.sum()
    rows, columns = np.indices(picture.shape)
    down, across = (weight * rows).sum(), (weight * columns).sum()
    spread = math.sqrt((weight * (rows - down) ** 2).sum()), math.sqrt((weight * (columns - across) ** 2).sum())
    return (down, across), spread


def blob(n, size=41):
    """n pictures of one smooth hill in the middle, far from the edge."""
    place = np.arange(size) - (size - 1) / 2
    hill = np.exp(-(place[:, None] ** 2) / (2 * 3.0**2) - place**2 / (2 * 4.0**2))
    return np.tile(hill, (n, 1, 1, 1))


def test_zoom_multiplies_height_and_width():
    n = 200
    y = RandomWarp(zoom=0.3)(blob(n), generator(0))
    spreads = np.array([middle_and_spread(picture[0])[1] for picture in y])
    factors = spreads / (3.0, 4.0)
    # Bilinear sampling of a hill 3 pixels wide widens it by about 1 % (variance + 1/6 of 9).
    assert factors.min() > 0.7 * 0.99
    assert factors.max() < 1.3 * 1.02
    assert (factors.min(axis=0) < 0.75).all()  # both directions, and most of the range
    assert (factors.max(axis=0) > 1.25).all()
    # Two uniform draws that have nothing to do with each other: correlation 0 +- 1/sqrt(200); four of these.
    assert abs(np.corrcoef(factors.T)[0, 1]) < 4 / math.sqrt(n)


def test_slant_moves_rows_sideways():
    size, n = 41, 50
    bars = np.zeros((n, 1, size, size))
    bars[..., 18:23] = 1.0  # upright
    y = RandomWarp(slant=15)(bars, generator(3))
    centre = (y[:, 0] * np.arange(size)).sum(axis=2) / y[:, 0].sum(axis=2)  # of each row
    angles = generator(3)
    angles.uniform(0, 0, n), angles.uniform(1, 1, (2, n))  # what rotation and zoom draw
    lean = np.tan(np.deg2rad(angles.uniform(-15, 15, n)))
    expected = (size - 1) / 2 - lean[:, None] * (np.arange(size) - (size - 1) / 2)
    # A bar between two pixels is shared out linearly, which leaves its centre of mass where it was.
    np.testing.assert_allclose(centre, expected, rtol=0, atol=1e-9)


def test_order_of_the_parts_of_a_warp():
    """As matrices: a picture is first zoomed, then slanted, then turned; the place in it goes the other way."""
    x = pictures(n=5, channels=1, height=9, width=9, dtype="float64")
    y = RandomWarp(30, 0.2, 20)(x, generator(6))
    rng = generator(6)
    turn = np.deg2rad(rng.uniform(-30, 30, 5))
    factor, lean = rng.uniform(0.8, 1.2, (2, 5)), np.tan(np.deg2rad(rng.uniform(-20, 20, 5)))
    for n in range(5):
        back = np.array([[math.cos(turn[n]), math.sin(turn[n])], [-math.sin(turn[n]), math.cos(turn[n])]])
        upright = np.array([[1, 0], [lean[n], 1]])
        unzoom = np.diag(1 / factor[:, n])
        np.testing.assert_allclose(y[n, 0], fetched(x[n, 0], unzoom @ upright @ back), rtol=0, atol=1e-12)


def fetched(picture, matrix):
    """The slow way: each pixel from `matrix` times its place from the centre."""
    result = np.zeros_like(picture)
    height, width = picture.shape
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    for i, j in np.ndindex(picture.shape):
        row, column = matrix @ (np.array([i, j]) - middle) + middle
        for m in (math.floor(row), math.floor(row) + 1):
            for n in (math.floor(column), math.floor(column) + 1):
                if 0 <= m < height and 0 <= n < width:
                    result[i, j] += picture[m, n] * (1 - abs(row - m)) * (1 - abs(column - n))
    return result


def test_bends_move_no_further_than_they_may():
    # The picture's value is its row: what comes out tells from where it came, away from the edge.
    size, most = 40, 1.5
    x = np.broadcast_to(np.arange(size, dtype=np.float64)[:, None], (60, 1, size, size)).copy()
    inner = slice(5, -5)
    moved = (RandomWarp(bend=most)(x, generator(5)) - x)[:, 0, inner, inner]
    assert np.abs(moved).max() < 2 * most  # a wave along the rows and one along the columns
    assert np.abs(moved).max() > most
    by_row, by_column = np.ptp(moved, axis=1).max(), np.ptp(moved, axis=2).max()
    assert min(by_row, by_column) > most / 2  # it bends both ways
    # Smooth: a wave of that height is nowhere steeper than 2 pi 1.5 / 40 of it, two of them twice that.
    assert np.abs(np.diff(moved, axis=2)).max() <= 2 * math.pi * 1.5 / size * most * (1 + 1e-12)


def test_compose_in_order():
    x = pictures()
    rng = generator(2)
    expected = RandomFlip()(RandomShift(1)(x, rng), rng)
    np.testing.assert_array_equal(Compose([RandomShift(1), RandomFlip()])(x, generator(2)), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shift=2,rotate=10,flip", "Compose([RandomShift(2), RandomRotate(10), RandomFlip(0.5)])"),
        (" crop = 4 , flip=0.25 ", "Compose([RandomCrop(4), RandomFlip(0.25)])"),
        ("rotate=7.5", "Compose([RandomRotate(7.5)])"),
        (
            "rotate=12,zoom=0.1,shift=2,slant=5,bend=1",
            "Compose([RandomWarp(rotate=12, zoom=0.1), RandomShift(2), RandomWarp(slant=5, bend=1)])",
        ),
        ("zoom=0.1,rotate=0", "Compose([RandomWarp(zoom=0.1)])"),
        ("", "Compose([])"),
        ("none", "Compose([])"),
    ],
)
def test_parse(text, expected):
    assert repr(parse_augment(text)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("blur=2", "known are shift, crop, rotate, flip"),
        ("shift", "needs a number"),
        ("shift=", "needs a number"),
        ("flip=", "needs a number"),
        ("shift=a", "needs a number"),
        ("shift=1.5", "whole number"),
        ("shift=-1", "whole number"),
        ("crop=inf", "whole number"),
        ("shift=nan", "whole number"),
        ("rotate=181", "0 to 180"),
        ("rotate=nan", "0 to 180"),
        ("flip=2", "0 to 1"),
        ("flip,,shift=1", "known are"),
        ("zoom=1", "0 to below 1"),
        ("zoom=-0.1", "0 to below 1"),
        ("zoom=nan", "0 to below 1"),
        ("slant=90", "0 to below 90"),
        ("bend=-1", "0 or more"),
        ("bend=inf", "0 or more"),
        ("rotate=200,zoom=0.1", "0 to 180"),
        ("bend", "needs a number"),
        ("rotate=5,zoom=0.1,rotate=3", "rotate stands there twice"),
    ],
)
def test_parse_refuses(text, reason):
    with pytest.raises(ConfigError, match=reason):
        parse_augment(text)


@pytest.mark.parametrize("augment", ALL, ids=repr)
@pytest.mark.parametrize("x", [np.zeros((3, 4, 5), np.float32), np.zeros((3, 1, 4, 5), np.uint8)])
def test_wrong_pictures(augment, x):
    with pytest.raises(ShapeError, match="float pictures"):
        augment(x, generator(0))
