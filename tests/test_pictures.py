"""Pictures from files; the files are written here, by Pillow or byte by byte."""

import contextlib
import os
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from xpcnn.data import picture_files
from xpcnn.errors import ConfigError, DataError
from xpcnn.pictures import open_picture, read_picture, read_pictures

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
STEP = 0.51 / 255  # what rounding to 8 bits can change


@pytest.fixture
def digit():
    """Light ink on dark paper, (28, 28), like a slanted 7."""
    a = np.zeros((28, 28), np.uint8)
    a[6:9, 7:21] = 255
    for row in range(9, 23):
        left = 18 - (row - 9) // 2
        a[row, left : left + 3] = 200
    return a


def save(tmp_path, array, name="p.png", **options):
    path = tmp_path / name
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["p.png", "p.bmp", "p.gif", "p.tif", "P.PNG", "p.pgm", "p.webp"])
def test_exact_size_and_lossless_format_keep_every_pixel(tmp_path, digit, name):
    path = save(tmp_path, digit, name, **({"lossless": True} if name.endswith("webp") else {}))
    picture = read_picture(path, GREY)
    assert picture.dtype == np.float32
    assert picture.shape == GREY
    np.testing.assert_allclose(picture[0], digit / 255.0, atol=1e-6)  # float32's rounding


def test_jpeg_is_close(tmp_path, digit):
    picture = read_picture(save(tmp_path, digit, "p.jpg", quality=95), GREY)
    assert np.abs(picture[0] - digit / 255.0).mean() < 0.02  # JPEG loses a little by its nature


@pytest.mark.parametrize(
    ("invert", "dark_ink", "inverted"),
    [("auto", True, True), ("auto", False, False), ("yes", False, True), ("no", True, False)],
)
def test_invert(tmp_path, digit, invert, dark_ink, inverted):
    stored = 255 - digit if dark_ink else digit
    picture = read_picture(save(tmp_path, stored), GREY, invert=invert)
    want = 1 - stored / 255.0 if inverted else stored / 255.0
    np.testing.assert_allclose(picture[0], want, atol=1e-6)


@pytest.mark.parametrize("paper", [90, 128, 160, 250])
def test_auto_recognises_dark_ink_on_paper_of_any_brightness(tmp_path, digit, paper):
    noise = np.random.default_rng(0).integers(-8, 9, digit.shape)
    photo = np.where(digit > 0, 20, paper + noise).clip(0, 255).astype(np.uint8)
    picture = read_picture(save(tmp_path, photo), GREY)
    assert picture[0][digit > 0].min() > picture[0][digit == 0].max()


def test_auto_leaves_photographs_alone(tmp_path):
    light = np.full((64, 64), 240, np.uint8)
    light[20:40, 20:40] = 10
    path = save(tmp_path, light)
    np.testing.assert_allclose(read_picture(path, (1, 64, 64))[0], light / 255.0, atol=1e-6)
    colour = read_picture(path, (3, 64, 64))
    np.testing.assert_allclose(colour, np.stack([light] * 3) / 255.0, atol=1e-6)


def test_colour_to_grey_by_luma(tmp_path):
    rgb = np.random.default_rng(1).integers(0, 256, (28, 28, 3), np.uint8)
    path = save(tmp_path, rgb)
    want = np.asarray(Image.fromarray(rgb).convert("L")) / 255.0  # Pillow's own luma as the oracle, rounded to 8 bits
    np.testing.assert_allclose(read_picture(path, GREY, invert="no")[0], want, atol=2 * STEP)


def test_palette_and_one_bit(tmp_path, digit):
    one_bit = tmp_path / "b.png"
    Image.fromarray(digit).convert("1", dither=Image.Dither.NONE).save(one_bit)
    np.testing.assert_array_equal(read_picture(one_bit, GREY)[0], (digit > 127).astype(np.float32))
    palette = tmp_path / "pal.png"
    Image.fromarray(np.stack([digit] * 3, 2)).convert("P", palette=Image.Palette.ADAPTIVE).save(palette)
    np.testing.assert_allclose(read_picture(palette, GREY)[0], digit / 255.0, atol=2 * STEP)


@pytest.mark.parametrize(("ink", "auto"), [(0, 1.0), (255, 1.0)])
def test_drawing_on_nothing_is_seen_whatever_its_ink(tmp_path, digit, ink, auto):
    rgba = np.full((28, 28, 4), ink, np.uint8)
    rgba[..., 3] = np.where(digit > 0, 255, 0)
    picture = read_picture(save(tmp_path, rgba), GREY)
    assert (picture[0][digit > 0] == auto).all()
    assert (picture[0][digit == 0] == 0).all()


def test_colour_with_opacity_goes_on_white(tmp_path):
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 51  # a fifth opaque
    picture = read_picture(save(tmp_path, rgba), COLOUR)
    np.testing.assert_allclose(picture[:, 5, 5], [0.8 + 0.2 * 200 / 255, 0.8, 0.8], atol=1e-6)


def test_sixteen_bits_become_the_nearest_eight(tmp_path):
    deep = np.arange(28 * 28, dtype=np.uint16).reshape(28, 28) * 80
    picture = read_picture(save(tmp_path, deep), GREY, invert="no")
    np.testing.assert_allclose(picture[0], deep / 65535.0, atol=STEP)
    np.testing.assert_array_equal(picture, np.rint(picture * 255) / np.float32(255))


def test_float_pixels(tmp_path, digit):
    share = (digit / 255.0).astype(np.float32)
    np.testing.assert_array_equal(read_picture(save(tmp_path, share, "p.tif"), GREY)[0], share)
    for wrong in (share * 9, share - 1, np.full_like(share, np.nan)):
        with pytest.raises(DataError, match=r"q\.tif: its pixels lie outside 0\.\.1"):
            read_picture(save(tmp_path, wrong, "q.tif"), GREY)


@pytest.mark.parametrize(("name", "more"), [("p.png", {}), ("p.tif", {}), ("p.webp", {"lossless": True})])
def test_camera_orientation(tmp_path, digit, name, more):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    path = save(tmp_path, digit, name, exif=exif, **more)
    np.testing.assert_allclose(read_picture(path, GREY)[0], np.rot90(digit, -1) / 255.0, atol=1e-6)


def test_proportions_kept_and_filled_with_background(tmp_path):
    tall = np.full((120, 30, 3), (10, 200, 90), np.uint8)
    tall[40:80, 10:20] = (250, 0, 0)
    picture = read_picture(save(tmp_path, tall), COLOUR)
    for c, value in enumerate((10, 200, 90)):
        np.testing.assert_allclose(picture[c, :, :11], value / 255.0, atol=1e-6)
        np.testing.assert_allclose(picture[c, :, -11:], value / 255.0, atol=1e-6)
    red = picture[0] > 0.5
    rows, columns = np.nonzero(red)
    # 120x30 becomes 32x8: the 40x10 patch becomes about 10.7x2.7.
    assert np.ptp(rows) + 1 == pytest.approx(10.7, abs=1.5)
    assert np.ptp(columns) + 1 == pytest.approx(2.7, abs=1.5)


def test_shrinking_averages(tmp_path):
    board = (np.indices((280, 280)).sum(axis=0) % 2 * 255).astype(np.uint8)
    picture = read_picture(save(tmp_path, board), GREY, invert="no")
    # Without smoothing a fine chequerboard gives some pattern of 0 and 1; edges of the filter reach a little further.
    np.testing.assert_allclose(picture[0, 2:-2, 2:-2], 0.5, atol=0.02)


def test_extreme_proportions(tmp_path):
    assert read_picture(save(tmp_path, np.zeros((1, 500), np.uint8)), GREY).shape == GREY
    assert read_picture(save(tmp_path, np.zeros((1, 1), np.uint8)), GREY).shape == GREY


@pytest.mark.parametrize("side", [60, 200, 777])
@pytest.mark.parametrize("dark", [False, True])
def test_center_places_ink_as_mnist_does(tmp_path, side, dark):
    drawing = np.full((side, side * 2), 12, np.uint8)
    drawing[side // 8 : side // 2, side // 9 : side // 4] = 180
    picture = read_picture(save(tmp_path, 255 - drawing if dark else drawing), GREY, center=True)[0]
    rows, columns = np.nonzero(picture > 0.5)
    assert np.ptp(rows) + 1 == 20  # the longer side fills the box
    want = 20 * (side // 4 - side // 9) / (side // 2 - side // 8)
    assert np.ptp(columns) + 1 == pytest.approx(want, abs=1)
    assert picture.max() == pytest.approx(1.0, abs=1e-5)
    assert picture[0, 0] == 0
    mass = [(picture.sum(axis=1 - a) * (np.arange(28) + 0.5)).sum() / picture.sum() for a in (0, 1)]
    assert mass == pytest.approx([14, 14], abs=0.51)  # whole pixels: half a pixel is the best one can promise


def test_center_keeps_lopsided_ink_inside(tmp_path):
    drawing = np.zeros((120, 120), np.uint8)
    drawing[100:110, 10:110] = 255  # an L whose mass lies in its foot
    drawing[10:100, 10:14] = 90
    picture = read_picture(save(tmp_path, drawing), GREY, center=True, invert="no")[0]
    rows = np.nonzero(picture.max(axis=1) > 0.02)[0]
    assert np.ptp(rows) + 1 == 20
    assert rows.min() == 0  # as far up as the frame lets it


def test_center_leaves_28x28_and_blank_pictures(tmp_path, digit):
    np.testing.assert_allclose(read_picture(save(tmp_path, digit), GREY, center=True)[0], digit / 255.0, atol=1e-6)
    blank = read_picture(save(tmp_path, np.full((50, 50), 77, np.uint8), "blank.png"), GREY, center=True)
    assert not blank.any()


# -- arrays ----------------------------------------------------------------------------------------------------------

LAYOUTS = [
    ((28, 28), GREY, 1),
    ((1, 28, 28), GREY, 1),
    ((28, 28, 1), GREY, 1),
    ((5, 28, 28), GREY, 5),
    ((3, 28, 28), GREY, 3),
    ((5, 1, 28, 28), GREY, 5),
    ((5, 28, 28, 1), GREY, 5),
    ((784,), GREY, 1),
    ((5, 784), GREY, 5),
    ((32, 32, 3), COLOUR, 1),
    ((3, 32, 32), COLOUR, 1),
    ((2, 3, 32, 32), COLOUR, 2),
    ((2, 32, 32, 3), COLOUR, 2),
    ((2, 3072), COLOUR, 2),
    ((2, 3, 40, 30), GREY, 2),
    ((40, 30), COLOUR, 1),
    ((7, 40, 30), COLOUR, 7),
    ((2, 40, 30, 4), COLOUR, 2),
]


@pytest.mark.parametrize(("shape", "network", "count"), LAYOUTS)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_array_layouts(tmp_path, shape, network, count, suffix):
    a = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    path = tmp_path / f"a{suffix}"
    np.save(path, a) if suffix == ".npy" else np.savez(path, a)
    pictures = read_pictures(path, network)
    assert pictures.shape == (count, *network)
    assert pictures.dtype == np.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    if a.size == count * np.prod(network):  # nothing to resize: every value must be where it was
        a = a.transpose(0, 3, 1, 2) if shape[-1] == 3 and a.ndim == 4 else a
        a = a.transpose(2, 0, 1) if shape == (32, 32, 3) else a
        np.testing.assert_array_equal(pictures.ravel(), a.ravel().astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    "a",
    [
        np.array([[0, 51], [102, 255]], np.uint8),
        np.array([[0, 51], [102, 255]], np.int64),
        np.array([[0, 51], [102, 255]], np.float64),
        np.array([[0, 0.2], [0.4, 1.0]], np.float32),
        np.array([[0, 0.2 * 65535], [0.4 * 65535, 65535]]).astype(np.uint16),
    ],
    ids=["uint8", "int64", "whole floats", "shares", "uint16"],
)
def test_array_values(tmp_path, a):
    path = tmp_path / "a.npy"
    np.save(path, a)
    np.testing.assert_allclose(read_picture(path, (1, 2, 2))[0], [[0, 0.2], [0.4, 1]], atol=1e-6)


def test_array_of_the_networks_shape_is_not_inverted_unless_forced(tmp_path, digit):
    path = tmp_path / "a.npy"
    np.save(path, 255 - digit)
    np.testing.assert_allclose(read_picture(path, GREY)[0], 1 - digit / 255.0, atol=1e-6)
    np.testing.assert_allclose(read_picture(path, GREY, invert="yes")[0], digit / 255.0, atol=1e-6)


def test_npz_of_several_arrays_wants_an_x(tmp_path, digit):
    path = tmp_path / "a.npz"
    np.savez(path, x=digit, t=3)
    assert read_picture(path, GREY).max() == 1
    np.savez(path, first=digit, second=digit)
    with pytest.raises(DataError, match="holds first, second; wanted one array, or one named x"):
        read_picture(path, GREY)


def test_one_picture_wanted(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((5, 28, 28), np.uint8))
    for read in (lambda: read_picture(path, GREY), lambda: open_picture(path)):
        with pytest.raises(DataError, match=r"a\.npy: holds 5 pictures where one is wanted"):
            read()


@pytest.mark.parametrize(
    ("a", "message"),
    [
        (np.array([[np.nan, 1]]), "wanted whole numbers"),
        (np.array([[-1, 1]]), "from -1 to 1"),
        (np.array([[0.5, 3.0]]), "floats of 0..1"),
        (np.array([[0, 256]]), "wanted whole numbers of 0..255"),
        (np.array([["a"]]), "not a picture"),
        (np.zeros((0, 28, 28)), "not a picture"),
        (np.zeros((2, 5, 6, 7, 8)), "nor several"),
        (np.zeros((2, 5, 6, 7)), "nor several"),
        (np.array(3.0), "nor several"),
        (np.array([{"a": 1}], dtype=object), "cannot be read"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path, a, message):
    path = tmp_path / "a.npy"
    np.save(path, a, allow_pickle=a.dtype == object)
    with pytest.raises(DataError, match=rf"a\.npy.*{message}"):
        read_picture(path, GREY)


# -- what cannot be read ---------------------------------------------------------------------------------------------


def bomb():
    """A PNG of 57 bytes that says it has 20,000 x 20,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, b"IDAT", b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("suffix", [".png", ".npy", ".npz"])
def test_missing_and_folder(tmp_path, suffix):
    path = tmp_path / f"none{suffix}"
    with pytest.raises(DataError, match=f"none{suffix}.*there is no such file"):
        read_picture(path, GREY)
    path.mkdir()
    with pytest.raises(DataError, match=f"none{suffix}"):
        read_picture(path, GREY)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"", "not a picture"),
        ("a.png", b"hello", "not a picture"),
        pytest.param("a.png", bomb(), "suspiciously large", id="bomb"),
        ("a.npy", b"", "cannot be read"),
        ("a.npy", b"\x93NUMPY\x01\x00\x05\x00abcde", "cannot be read"),
        ("a.npz", b"PK", "damaged"),
    ],
)
def test_damaged(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}.*{message}"):
        read_picture(tmp_path / name, GREY)


def test_array_cut_short_or_claiming_too_much(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((28, 28)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="cannot be read"):
        read_picture(path, GREY)
    path.write_bytes(whole.replace(b"(28, 28), }      ", b"(9999999, 99999)}"))
    assert path.read_bytes() != whole
    with pytest.raises(DataError, match="cannot be read"):
        read_picture(path, GREY)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp"])
def test_damage_anywhere_gives_a_picture_or_a_data_error(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for trial in range(60):
            damaged = bytearray(whole[: rng.integers(1, len(whole))] if trial % 2 else whole)
            for place in rng.integers(0, min(len(damaged), 400), 8):
                damaged[place] = rng.integers(0, 256)
            path.write_bytes(damaged)
            try:
                picture = read_picture(path, GREY)
            except DataError:
                refused += 1
            else:
                assert np.isfinite(picture).all()
    assert refused >= 10


# An Exif block whose second entry points behind its end.
ODD_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\x0f\x01\x02\0\xff\0\0\0\xf0\0\0\0"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_remarks_on_metadata_are_kept_silent(tmp_path, digit, suffix):
    path = save(tmp_path, digit, f"p.{suffix}", exif=ODD_EXIF)
    with pytest.warns(UserWarning, match="(?i)tag|exif"), Image.open(path) as image:  # Pillow by itself would speak
        image.getexif()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_picture(path, GREY).shape == GREY
    assert caught == []


def test_bad_arguments(tmp_path, digit):
    path = save(tmp_path, digit)
    with pytest.raises(ConfigError, match="invert is one of auto, yes, no, got 'maybe'"):
        read_picture(path, GREY, invert="maybe")
    for shape in [(784,), (2, 28, 28)]:
        with pytest.raises(ConfigError, match="pictures have the shape"):
            read_picture(path, shape)


def test_open_picture_keeps_size_and_shades(tmp_path):
    light = np.random.default_rng(4).integers(100, 256, (50, 70), np.uint8)
    path = save(tmp_path, light)
    np.testing.assert_allclose(open_picture(path)[0], light / 255.0, atol=1e-6)
    assert open_picture(path, 3).shape == (3, 50, 70)
    np.save(tmp_path / "a.npy", light)
    np.testing.assert_allclose(open_picture(tmp_path / "a.npy")[0], light / 255.0, atol=1e-6)


def chunked(width, height, body):
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + body, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", chunked(8000, 8000, b""), "large, 8,000 x 8,000 pixels in 57 bytes, where at most 16,777,216"),
        ("a.png", chunked(8193, 8192, bytes(10**6)), "large, 8,193 x 8,192 .* at most 67,108,864"),
        ("a.png", chunked(4096, 4096, b""), "damaged or cut short"),
        ("a.webp", b"RIFF\x1a\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0" + b"\xff" * 6, "large, 16,777,216 x 16,777,216"),
        ("a.webp", b"RIFF\x1a\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + b"\xff" * 4, "large, 16,384 x 16,384"),
        ("a.webp", b"RIFF\x1a\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a" + b"\xff" * 4, "large, 16,383 x 16,383"),
        ("a.gif", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n", "not a picture of a kind that is read"),
        ("a.npy", b"PK\x03\x04", "cannot be read as a .npy array"),
        ("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{", "claims 2,147,483,647 bytes"),
    ],
)
def test_traps(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}.*{message}"):
        read_picture(path, GREY)


def test_chunks_that_claim_to_be_long(tmp_path, digit):
    """Pillow asks for a chunk whole, and Python would make room for its 2 GiB before it reads."""
    path = save(tmp_path, digit)
    data = path.read_bytes()
    at = data.index(b"IDAT") - 4
    for place in (at, 8 + 25):  # the pixels' chunk, or a new one before it
        claimed = struct.pack(">I", 2**31 - 1)
        path.write_bytes(data[:place] + claimed + (data[at + 4 :] if place == at else b"zTXt" + data[place:]))
        tracemalloc.start()
        try:
            with contextlib.suppress(DataError):
                read_picture(path, GREY)
            assert tracemalloc.get_traced_memory()[1] < 10e6
        finally:
            tracemalloc.stop()


def test_announced_sizes_are_the_real_ones(tmp_path, digit):
    for number, options in enumerate(({"lossless": True}, {"quality": 50}, {"exif": ODD_EXIF})):
        path = save(tmp_path, digit[:20], f"{number}.webp", **options)
        assert picture_files._announced(path.read_bytes()[:64]) == (28, 20)


def test_pictures_that_would_grow(tmp_path):
    """A million pixels, each a picture of its own, would be 3 GB at 28x28."""
    np.save(tmp_path / "a.npy", np.zeros((10**6, 1, 1, 1), np.uint8))
    with pytest.raises(DataError, match=r"1,000,000 pictures would become far larger at \(1, 28, 28\); split"):
        read_pictures(tmp_path / "a.npy", GREY)


def test_a_network_of_impossible_pictures(tmp_path, digit):
    with pytest.raises(ConfigError, match="larger than any that are read"):
        read_picture(save(tmp_path, digit), (1, 10**6, 10**6))


def test_a_pipe(tmp_path):
    for name in ("a.png", "a.npy"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match="device or pipe"):
            read_picture(tmp_path / name, GREY)
