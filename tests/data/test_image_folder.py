import warnings

import numpy as np
import pytest
from PIL import Image

from xpcnn.data.dataset import as_float
from xpcnn.data.image_folder import load_image_folder
from xpcnn.errors import DataError
from xpcnn.pictures import read_picture


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


@pytest.fixture
def grey(tmp_path):
    """Ten pictures in each of two classes, 4x6, picture i of class c filled with 100 c + i."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(10):
            save(tmp_path / name / f"{number}.png", np.full((4, 6), 100 * label + number, np.uint8))
    return tmp_path


def test_split_by_seed(grey):
    data = load_image_folder(grey)
    assert data.classes == ("cat", "dog")
    assert data.image_shape == (1, 4, 6)
    assert data.name == grey.name
    assert np.bincount(data.t_test).tolist() == [2, 2]
    values = np.concatenate([data.x_train[:, 0, 0, 0], data.x_test[:, 0, 0, 0]])
    assert sorted(values.tolist()) == [*range(10), *range(100, 110)]
    np.testing.assert_array_equal(data.x_train[:, 0, 0, 0] // 100, data.t_train)
    np.testing.assert_array_equal(data.x_test[:, 0, 0, 0] // 100, data.t_test)
    np.testing.assert_array_equal(load_image_folder(grey).x_test, data.x_test)
    others = [load_image_folder(grey, seed=seed).x_test[:, 0, 0, 0].tolist() for seed in range(1, 5)]
    assert any(other != data.x_test[:, 0, 0, 0].tolist() for other in others)


def test_train_and_test_folders(tmp_path):
    for part, name, value in [("train", "9", 1), ("train", "10", 2), ("test", "9", 3), ("test", "10", 4)]:
        save(tmp_path / part / name / "a.png", np.full((2, 2), value, np.uint8))
    data = load_image_folder(tmp_path)
    assert data.classes == ("9", "10")  # as numbers
    assert data.x_train[:, 0, 0, 0].tolist() == [1, 2]
    assert data.x_test[:, 0, 0, 0].tolist() == [3, 4]
    assert data.t_test.tolist() == [0, 1]


@pytest.mark.parametrize(("suffix", "exact"), [("png", True), ("bmp", True), ("tif", True), ("JPG", False)])
def test_formats_in_colour(tmp_path, suffix, exact):
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 0], picture[..., 2] = 200, 30
    for number in range(2):
        save(tmp_path / "a" / f"{number}.{suffix}", picture)
    data = load_image_folder(tmp_path)
    # JPEG rounds in YCbCr: a flat colour comes back within 3.
    np.testing.assert_allclose(data.x_train[0].astype(int), picture.transpose(2, 0, 1), atol=0 if exact else 3)


def test_colour_option(grey):
    save(grey / "dog" / "colour.png", np.full((4, 6, 3), [255, 0, 0], np.uint8))
    assert load_image_folder(grey).image_shape == (3, 4, 6)  # one picture in colour makes all
    data = load_image_folder(grey, colour=False)
    assert data.image_shape == (1, 4, 6)
    # ITU-R 601 luma of pure red, which Pillow documents for convert("L"): 299/1000 of 255.
    assert 76 in np.concatenate([data.x_train, data.x_test])[:, 0, 0, 0]
    assert load_image_folder(grey, colour=True).image_shape == (3, 4, 6)


def test_size(grey):
    save(grey / "cat" / "z.png", np.full((50, 20), 77, np.uint8))
    with pytest.raises(DataError, match=r"z\.png: 50x20 pixels, but the first picture has 4x6"):
        load_image_folder(grey)
    data = load_image_folder(grey, size=(5, 3))
    assert data.image_shape == (1, 5, 3)
    # A flat picture stays flat when it is resized.
    assert 77 in np.concatenate([data.x_train, data.x_test])[:, 0, 2, 1]
    assert load_image_folder(grey, size=8).image_shape == (1, 8, 8)
    with pytest.raises(DataError, match="size"):
        load_image_folder(grey, size=0)


@pytest.mark.parametrize(
    ("shape", "size", "box"),  # box: the rows and columns that the picture itself takes up
    [
        ((40, 20), 12, (slice(0, 12), slice(3, 9))),
        ((10, 30), (9, 12), (slice(2, 6), slice(0, 12))),
        ((3, 6), 12, (slice(3, 9), slice(0, 12))),  # enlarged
    ],
)
def test_proportions_are_kept_and_the_rest_is_background(tmp_path, shape, size, box):
    picture = np.full((*shape, 3), [10, 200, 90], np.uint8)
    picture[1:-1, 1:-1] = [250, 0, 0]
    for number in range(2):
        save(tmp_path / "a" / f"{number}.png", picture)
    x = load_image_folder(tmp_path, size=size).x_train[0]
    inside = np.zeros(x.shape[1:], bool)
    inside[box] = True
    assert (x[:, ~inside].T == [10, 200, 90]).all()
    red = x[0] > 130  # all of the patch but what is smoothed away at its edge
    assert red.any()
    assert not red[~inside].any()
    rows, columns = np.nonzero(red)
    # The patch is the picture less one pixel on each side, so its extent scales by the same factor both ways.
    scale = (box[0].stop - box[0].start) / shape[0]
    assert np.ptp(rows) + 1 == pytest.approx((shape[0] - 2) * scale, abs=1.01)
    assert np.ptp(columns) + 1 == pytest.approx((shape[1] - 2) * scale, abs=1.01)


@pytest.fixture
def odd_ones(tmp_path):
    """A folder with pictures of differing sizes and kinds, and their paths in the order of x_train."""
    rng = np.random.default_rng(0)
    arrays = {
        "1.png": rng.integers(0, 256, (30, 17, 3), np.uint8),
        "2.png": rng.integers(0, 256, (9, 21), np.uint8),
        "3.png": rng.integers(0, 256, (25, 20, 4), np.uint8),
        "4.png": rng.integers(0, 65536, (20, 31), np.uint16),
        "5.png": np.dstack([np.full((13, 40), 255, np.uint8), rng.integers(0, 256, (13, 40), np.uint8)]),
        "6.jpg": rng.integers(0, 256, (40, 10, 3), np.uint8),
        "7.gif": rng.integers(0, 256, (5, 6), np.uint8),
        "8.tif": rng.random((11, 12), np.float32),
        "9.png": rng.integers(0, 256, (12, 16), np.uint8),  # of the very size that is asked for
    }
    paths = [save(tmp_path / "train" / "a" / name, array) for name, array in arrays.items()]
    save(tmp_path / "test" / "a" / "1.png", np.zeros((2, 2), np.uint8))
    return tmp_path, paths


@pytest.mark.parametrize("colour", [False, True])
def test_training_and_predicting_see_the_same_bits(odd_ones, colour):
    folder, paths = odd_ones
    data = load_image_folder(folder, size=(12, 16), colour=colour)
    for x, path in zip(data.x_train, paths, strict=True):
        np.testing.assert_array_equal(read_picture(path, data.image_shape, invert="no"), as_float(x), str(path))


def test_light_ink_on_nothing_is_not_lost_in_grey(tmp_path):
    ink = np.full((4, 4, 2), 255, np.uint8)
    ink[:, :2, 1] = 0
    for number in range(2):
        save(tmp_path / "a" / f"{number}.png", ink)
    assert load_image_folder(tmp_path).x_train[0, 0, 0].tolist() == [0, 0, 255, 255]
    assert (load_image_folder(tmp_path, colour=True).x_train == 255).all()


def test_deep_pixels_without_a_known_white(grey):
    save(grey / "cat" / "z.tif", np.full((4, 6), 2.5, np.float32))
    with pytest.raises(DataError, match=r"z\.tif: its pixels lie outside 0\.\.1"):
        load_image_folder(grey)


def test_remarks_on_metadata_are_kept_silent(grey):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\0\0\0\xf0\0\0\0"  # points behind its end
    path = save(grey / "cat" / "z.png", np.full((4, 6), 77, np.uint8), exif=exif)
    with pytest.warns(UserWarning, match="(?i)tag|exif"), Image.open(path) as image:  # Pillow by itself would speak
        image.getexif()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_image_folder(grey)
    assert caught == []


def test_transparent_deep_and_turned(tmp_path):
    clear = np.zeros((2, 4, 4), np.uint8)
    clear[:, 0] = [10, 20, 30, 255]  # one opaque column, the rest clear black
    save(tmp_path / "a" / "1.png", clear)
    save(tmp_path / "a" / "2.png", np.full((2, 4), 257 * 9, np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    turned = np.zeros((4, 2), np.uint8)
    turned[-1] = 200  # its last row becomes the first column
    save(tmp_path / "a" / "3.png", turned, exif=exif)
    save(tmp_path / "a" / "4.png", np.zeros((2, 4), np.uint8))
    data = load_image_folder(tmp_path, colour=True)
    pictures = {tuple(picture[:, 0, 0]): picture for picture in np.concatenate([data.x_train, data.x_test])}
    assert (pictures[10, 20, 30][:, :, 1:] == 255).all()
    assert (pictures[9, 9, 9] == 9).all()
    assert (pictures[200, 200, 200][:, :, 0] == 200).all()
    assert (pictures[200, 200, 200][:, :, 1:] == 0).all()


def test_passes_over(grey):
    before = load_image_folder(grey)
    (grey / "cat" / "Thumbs.db").write_bytes(b"x")
    (grey / "cat" / ".hidden.png").write_bytes(b"x")
    (grey / ".git").mkdir()
    (grey / "readme.txt").write_text("x")
    np.testing.assert_array_equal(load_image_folder(grey).x_train, before.x_train)


def test_damaged(grey):
    path = grey / "dog" / "5.png"
    whole = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)
    for content in (b"", b"no picture", whole[:20], whole[:50], save(path, noise).read_bytes()[:-30]):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            load_image_folder(grey)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("limit", [20, 10])  # 24 pixels: over the limit (a warning in Pillow), over twice the limit
def test_decompression_bomb(grey, monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"0\.png: suspiciously large"):
        load_image_folder(grey)


def test_wrong_folders(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        load_image_folder(tmp_path / "none")
    with pytest.raises(DataError, match="no subfolders"):
        load_image_folder(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="a: no pictures"):
        load_image_folder(tmp_path)
    save(tmp_path / "a" / "1.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match="too few"):
        load_image_folder(tmp_path)


def test_classes_must_match(tmp_path):
    for name in ("train/a", "train/b", "test/a", "test/c"):
        save(tmp_path / name / "1.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match="c: the training folder has no class"):
        load_image_folder(tmp_path)


def test_formats_that_are_not_read(tmp_path):
    """Pillow would hand an EPS to Ghostscript, whatever its file is called."""
    path = save(tmp_path / "a" / "1.eps", np.zeros((8, 8, 3), np.uint8))
    path = path.rename(path.with_suffix(".png"))
    with pytest.raises(DataError, match=r"1\.png: not a picture of a kind that is read \(BMP, GIF, JPEG"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("size", [0, -1, (1, 0), 10**6, (2**40, 2**40)])
def test_sizes_that_no_picture_has(grey, size):
    with pytest.raises(DataError, match="sizes are 1 or more, and at most"):
        load_image_folder(grey, size=size)


def test_devices_among_the_pictures(grey):
    (grey / "cat" / "zero.png").symlink_to("/dev/zero")
    assert len(load_image_folder(grey).x_train) == 16  # passed over, as what is no file
