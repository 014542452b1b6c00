import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest

from xpcnn.data.idx import read_idx, read_idx_header, write_idx
from xpcnn.errors import DataError, XpcnnError

DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]
# Written by hand: int16 [[1, -2], [256, 3]], big-endian.
BY_HAND = bytes.fromhex("00000b02 00000002 00000002 0001 fffe 0100 0003".replace(" ", ""))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (3, 2, 4), (1, 2, 1, 3), (0, 4)])
def test_round_trip(tmp_path, dtype, shape, suffix):
    array = np.random.default_rng(1).integers(-100, 100, shape).astype(dtype)
    path = tmp_path / f"a{suffix}"
    write_idx(path, array)
    back = read_idx(path)
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, array)
    assert read_idx_header(path) == (np.dtype(dtype), shape)


@pytest.mark.parametrize("packed", [False, True])
def test_bytes_by_hand(tmp_path, packed):
    path = tmp_path / "wrong-suffix.gz"  # content decides, not the name
    path.write_bytes(gzip.compress(BY_HAND) if packed else BY_HAND)
    np.testing.assert_array_equal(read_idx(path), np.array([[1, -2], [256, 3]], np.int16))


def test_writes_bytes_by_hand(tmp_path):
    # Not contiguous and little-endian in memory, which the file must not show.
    write_idx(tmp_path / "a", np.array([[1, 256], [-2, 3]], np.int16).T)
    assert (tmp_path / "a").read_bytes() == BY_HAND
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_gzip_is_reproducible(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_idx(tmp_path / name, np.arange(9, dtype=np.uint8))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cut short"),
        (BY_HAND[:3], "cut short"),
        (BY_HAND[:9], "header ends"),
        (BY_HAND[:-1], "promises 8 bytes but 7"),
        (BY_HAND[:12], "promises 8 bytes but 0"),
        (BY_HAND + b"\0", "too long"),
        (b"\x01" + BY_HAND[1:], "not an idx file"),
        (b"\0\0\x07\x01" + BY_HAND[4:], "not an idx file"),
        (b"\0\0\x08\x00", "not an idx file"),
        (b"\0\0\x08\xff" + bytes(4 * 255), "not an idx file"),
        (b"<!DOCTYPE html><html>", "not an idx file"),
    ],
)
def test_wrong_content(tmp_path, content, reason, packed):
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=reason) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_damaged_gzip(tmp_path):
    whole = gzip.compress(BY_HAND * 1)
    path = tmp_path / "a.gz"
    for end in range(2, len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match="cut short"):
            read_idx(path)
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])  # the checksum
    with pytest.raises(DataError, match="damaged"):
        read_idx(path)
    path.write_bytes(whole[:12] + b"\xff\xff\xff" + whole[15:])  # the packed bytes
    with pytest.raises(DataError, match=r"damaged|cut short"):
        read_idx(path)


@pytest.mark.parametrize("packed", [False, True])
def test_lying_header_takes_no_memory(tmp_path, packed):
    content = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"x" * 50
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="promises"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_bomb_is_not_unpacked(tmp_path):
    # 64 MiB of zeros behind a header that promises one byte.
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 1) + bytes(64 << 20), 9))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="too long"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_missing_and_folder(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(path)


@pytest.mark.parametrize("array", [np.zeros(3, np.int64), np.zeros(3, bool), np.uint8(3), np.array(["a"])])
def test_refuses_to_write(tmp_path, array):
    with pytest.raises(DataError, match="idx cannot hold"):
        write_idx(tmp_path / "a", array)
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file(tmp_path):
    write_idx(tmp_path / "a", np.arange(3, dtype=np.uint8))
    with pytest.raises(XpcnnError):
        write_idx(tmp_path / "no-folder" / "a", np.arange(3, dtype=np.uint8))
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), [0, 1, 2])


def test_an_empty_axis_beside_others_too_long(tmp_path):
    """Nothing is promised, but NumPy makes no such array."""
    path = tmp_path / "a"
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 0, 2**32 - 1, 2**32 - 1))
    with pytest.raises(DataError, match="no room"):
        read_idx(path)


def test_a_bomb_that_tells_its_size(tmp_path):
    """256 MiB of zeros, honestly announced, in 256 KiB."""
    path = tmp_path / "a.gz"
    with gzip.open(path, "wb", 9) as file:
        file.write(struct.pack(">HBBI", 0, 8, 1, 2**28))
        for _ in range(256):
            file.write(bytes(2**20))
    with pytest.raises(DataError, match="promises 268,435,456 bytes out of"):
        read_idx(path)


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(DataError, match="device or pipe"):
        read_idx(tmp_path / "a")
