import io
import zipfile

import numpy as np
import pytest

from xpcnn.data import npz
from xpcnn.data.dataset import Dataset
from xpcnn.data.npz import load_npz, save_npz
from xpcnn.errors import DataError

X = np.random.default_rng(2).integers(0, 256, (20, 1, 4, 5), dtype=np.uint8)
T = np.arange(20) % 4


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.npz"


def test_round_trip(path):
    data = Dataset("mine", X[:15], T[:15], X[15:], T[15:], ("a", "b", "c", "d é"), "here")
    save_npz(path, data)
    back = load_npz(path)
    for name in ("x_train", "t_train", "x_test", "t_test"):
        np.testing.assert_array_equal(getattr(back, name), getattr(data, name))
    assert (back.name, back.classes, back.source) == ("mine", data.classes, str(path))


@pytest.mark.parametrize("letter", ["t", "y"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_spellings_and_shapes(path, letter, dtype):
    labels = {f"{letter}_train": T.astype(dtype)[:, None], f"{letter}_test": T[:5].astype(dtype)}
    data = load_npz(save(path, x_train=X[:, 0], x_test=X[:5], **labels))
    np.testing.assert_array_equal(data.x_train, X)
    np.testing.assert_array_equal(data.t_train, T)
    assert data.classes == ("0", "1", "2", "3")


def test_channels_last(path):
    x = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 9), dtype=np.uint8)
    data = load_npz(save(path, x_train=x.transpose(0, 2, 3, 1), t_train=T[:6], x_test=x, t_test=T[:6]))
    np.testing.assert_array_equal(data.x_train, x)
    np.testing.assert_array_equal(data.x_test, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint16])
def test_other_numbers(path, dtype):
    data = load_npz(save(path, x_train=X.astype(dtype), t_train=T, x_test=X, t_test=T))
    np.testing.assert_array_equal(data.x_train, X)
    if np.dtype(dtype).kind == "f":
        data = load_npz(save(path, x_train=X.astype(dtype) / 255, t_train=T, x_test=X, t_test=T))
        np.testing.assert_array_equal(data.x_train, X)


def test_held_out(path):
    save(path, x_train=X, t_train=T)
    data = load_npz(path, seed=3)
    assert np.bincount(data.t_test).tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(load_npz(path, seed=3).x_test, data.x_test)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x_train": X}, "without t_train; it has x_train"),
        ({}, "without x_train, t_train; it has nothing"),
        ({"x_train": X, "t_train": T, "y_train": T}, "both t_train and y_train"),
        ({"x_train": X, "t_train": T, "x_test": X}, "without t_test"),
        ({"x_train": X, "t_train": T, "y_test": T}, "without x_test"),
        ({"x_train": X, "t_train": T[:-1]}, "20 training pictures but 19"),
        ({"x_train": X, "t_train": T, "x_test": X, "t_test": T[:-1]}, "20 test pictures but 19"),
        ({"x_train": X[:, 0, 0], "t_train": T}, r"x_train is \(20, 5\)"),
        ({"x_train": X * 1.5, "t_train": T}, "x_train holds float64"),
        ({"x_train": X / 300, "t_train": T}, "x_train holds float64"),
        ({"x_train": X.astype(np.int16) - 100, "t_train": T}, "x_train holds int16"),
        ({"x_train": X * 1.0 + np.nan, "t_train": T}, "x_train holds float64"),
        ({"x_train": X.astype(bool), "t_train": T}, "x_train is bool"),
        ({"x_train": X, "t_train": T * 1.0}, "t_train is float64"),
        ({"x_train": X, "t_train": np.eye(20, dtype=int)}, "t_train is int64"),
        ({"x_train": X, "t_train": T - 1, "x_test": X, "t_test": T}, "label 0 is -1"),
        ({"x_train": X, "t_train": T, "classes": np.array(["a", "b"])}, "is [23], but with 2 classes"),
        ({"x_train": np.array([None]), "t_train": T}, "only numbers"),
    ],
)
def test_faults(path, arrays, reason):
    with pytest.raises(DataError, match=reason) as caught:
        load_npz(save(path, **arrays))
    assert str(path) in str(caught.value)


def test_damaged(path):
    whole = save(path, x_train=X, t_train=T).read_bytes()
    at = whole.index(X.tobytes()[:50])
    for content in (whole[:-50], b"", b"PK", whole[:at] + b"\x01\x02" + whole[at + 2 :], b"no zip"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cannot be read.*(damaged|no such file|not a .npz)"):
            load_npz(path)
    with pytest.raises(DataError, match="cannot be read"):
        load_npz(path.with_name("none.npz"))
    np.save(path.with_suffix(".npy"), X)
    with pytest.raises(DataError, match=r"not a \.npz"):
        load_npz(path.with_suffix(".npy"))


def test_lying_array_header(path):
    """An entry whose header promises 2**60 bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**30, 2**30)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x_train.npy", header.getvalue())
        file.writestr("t_train.npy", header.getvalue())
    with pytest.raises(DataError, match="cannot be read"):
        load_npz(path)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x_train": X, "t_train": T.astype(np.int64) * 10**15}, "classes; labels are indices of at most 65,536"),
        ({"x_train": X, "t_train": T, "classes": np.zeros(70_000)}, "70,000 classes"),
        ({"x_train": X, "t_train": T, "classes": np.frombuffer(b"\xff" * 16, "<U4")}, "no characters"),
        ({"x_train": X, "t_train": T, "classes": np.array(["\ud800"] * 4)}, "names that are no text"),
        ({"x_train": X[:0].astype(complex), "t_train": T[:0]}, "x_train is complex128"),
        ({"x_train": X + np.inf, "t_train": T}, "x_train holds float64 from inf"),
    ],
)
def test_more_faults(path, arrays, reason):
    with pytest.raises(DataError, match=reason):
        load_npz(save(path, **arrays))


def test_a_name_of_another_array_is_shown_on_one_line(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("\x1b[2J" + "x" * 5000, b"")
    with pytest.raises(DataError, match="without x_train") as caught:
        load_npz(path)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_what_is_not_asked_for_is_left_alone(path):
    save(path, x_train=X, t_train=T, notes=np.array([{}], dtype=object))
    assert len(load_npz(path).x_train) + len(load_npz(path).x_test) == 20


def test_whole_numbers_are_made_block_by_block(path, monkeypatch):
    monkeypatch.setattr(npz, "_BLOCK", 50)
    np.testing.assert_array_equal(load_npz(save(path, x_train=X / 255, t_train=T, x_test=X, t_test=T)).x_train, X)
    wrong = X.astype(float)
    wrong[-1, 0, 0, 0] = 0.5
    with pytest.raises(DataError, match="x_train holds"):
        load_npz(save(path, x_train=wrong, t_train=T))


def test_a_bomb(path):
    np.savez_compressed(path, x_train=np.zeros((2**18, 32, 32), np.uint8), t_train=np.zeros(2**18, np.uint8))
    with pytest.raises(DataError, match="looks like a trap"):
        load_npz(path)
