"""npz: NumPy reads ours, we read NumPy's, and no pickle is ever opened."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from xpcnn.errors import CheckpointError
from xpcnn.formats.npz import load_npy, load_npz, save_npz


def _zip(path, members, **kind):
    with zipfile.ZipFile(path, "w", **kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _npy(array, allow_pickle=False):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def test_numpy_reads_ours(tmp_path):
    path = tmp_path / "a.npz"
    save_npz(path, {"W1": np.arange(6.0).reshape(2, 3).T, "s": np.float32(1)})
    with np.load(path, allow_pickle=False) as loaded:
        assert loaded.files == ["W1", "s"]
        np.testing.assert_array_equal(loaded["W1"], np.arange(6.0).reshape(2, 3).T)
        assert loaded["s"].shape == ()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_we_read_numpys(tmp_path, save):
    path = tmp_path / "a.npz"
    arrays = {
        "x": np.zeros((300, 300)),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "t": np.array(["one", "이"]),
    }
    save(path, **arrays)
    loaded = load_npz(path)
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].flags.c_contiguous


@pytest.mark.parametrize("array", [np.array([{}], dtype=object), np.zeros(2, dtype=[("a", "f4")])])
def test_objects_and_records_are_refused(tmp_path, array):
    path = tmp_path / "a.npz"
    np.savez(path, x=array)
    with pytest.raises(CheckpointError, match="only numbers"):
        load_npz(path)


def test_members_that_are_not_arrays(tmp_path):
    path = tmp_path / "a.npz"
    _zip(path, {"notes.txt": b"hello"})
    with pytest.raises(CheckpointError, match=r"notes\.txt"):
        load_npz(path)
    _zip(path, {"x.npy": b"hello"})
    with pytest.raises(CheckpointError, match="magic"):
        load_npz(path)


def test_a_header_that_claims_more_than_there_is(tmp_path):
    """2**50 float64 would be 8 petabytes: refused before memory is set aside."""
    honest = _npy(np.zeros(4))
    lying = honest.replace(b"(4,), }" + b" " * 15, b"(1125899906842624,), }")
    assert lying != honest
    assert len(lying) == len(honest)
    path = tmp_path / "a.npz"
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _zip(path, {"x.npy": lying}, compression=kind)
        with pytest.raises(CheckpointError, match="1125899906842624"):
            load_npz(path)


def test_a_directory_that_claims_more_than_deflate_can_do(tmp_path):
    path = tmp_path / "a.npz"
    _zip(path, {"x.npy": _npy(np.zeros(4))}, compression=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = (2**31 - 1).to_bytes(4, "little")  # uncompressed size
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="more than the file can hold"):
        load_npz(path)


def test_packing_that_numpy_does_not_use(tmp_path):
    path = tmp_path / "a.npz"
    _zip(path, {"x.npy": _npy(np.zeros(4))}, compression=zipfile.ZIP_BZIP2)
    with pytest.raises(CheckpointError, match="packed"):
        load_npz(path)


def test_a_file_that_is_no_zip(tmp_path):
    path = tmp_path / "a.npz"
    np.save(tmp_path / "a.npy", np.zeros(3))
    path.write_bytes((tmp_path / "a.npy").read_bytes())
    with pytest.raises(CheckpointError, match=r"not a \.npz"):
        load_npz(path)


def test_members_that_share_their_bytes(tmp_path):
    """Many names for one deflated member are how a small zip unpacks to petabytes (Fifield 2019)."""
    path = tmp_path / "a.npz"
    _zip(path, {"x.npy": _npy(np.zeros(10_000)), "y.npy": _npy(np.zeros(10_000))}, compression=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)  # where the second member begins: at the first
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="lies over another"):
        load_npz(path)


def test_two_of_one_name(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", _npy(np.zeros(1)))
        archive.writestr("x", b"")
    with pytest.raises(CheckpointError, match="'x' twice"):
        load_npz(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros(2**28, np.uint8))  # 256 MiB in 256 KiB
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"268,435,\d+ bytes, which looks like a trap.*not compressed"):
            load_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


LONG_HEADER = b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"{"


def test_a_header_that_claims_to_be_long(tmp_path):
    """NumPy would set 2 GiB aside for it."""
    (tmp_path / "a.npy").write_bytes(LONG_HEADER)
    _zip(tmp_path / "a.npz", {"x.npy": LONG_HEADER})
    for load, name in ((load_npy, "a.npy"), (load_npz, "a.npz")):
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError, match="claims 2,147,483,648 bytes"):
                load(tmp_path / name)
            assert tracemalloc.get_traced_memory()[1] < 10e6
        finally:
            tracemalloc.stop()


def test_chosen_members_only(tmp_path):
    path = tmp_path / "a.npz"
    _zip(path, {"x.npy": _npy(np.arange(3)), "notes.txt": b"hello", "o.npy": b"no array"})
    seen = []
    got = load_npz(path, lambda names: seen.extend(names) or ["x"])
    assert list(got) == ["x"]
    assert seen == ["x", "notes.txt", "o"]


def test_npy(tmp_path):
    path = tmp_path / "a.npy"
    for array in (np.arange(6.0).reshape(2, 3).T, np.array(3), np.zeros((0, 2)), np.arange(3, dtype=">i2")):
        np.save(path, array)
        np.testing.assert_array_equal(load_npy(path), array)
        assert load_npy(path).dtype.isnative
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"\0", b"", b"PK\x03\x04", whole[:20]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"a\.npy"):
            load_npy(path)
