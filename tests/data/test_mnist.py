import gzip
import hashlib
import tracemalloc

import numpy as np
import pytest

from xpcnn.data import mnist
from xpcnn.data.mnist import FASHION_MNIST, MNIST, find_idx_files, load_idx_folder, load_idx_set
from xpcnn.data.places import DataMissingError
from xpcnn.errors import DataError


def check(data, arrays):
    np.testing.assert_array_equal(data.x_train, arrays["train-images"][:, None])
    np.testing.assert_array_equal(data.x_test, arrays["t10k-images"][:, None])
    np.testing.assert_array_equal(data.t_train, arrays["train-labels"])
    np.testing.assert_array_equal(data.t_test, arrays["t10k-labels"])
    assert data.t_train.dtype == np.int64
    assert data.image_shape == (1, 28, 28)


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw"])
def test_spellings_and_folders(tmp_path, tiny, tiny_arrays, write_tiny, mark, suffix, folder):
    where = write_tiny(tmp_path / folder, mark, suffix)
    data = load_idx_set(tiny, tmp_path, allow_download=False)
    check(data, tiny_arrays)
    assert data.source == str(where)


def test_order_of_places(tmp_path, tiny, tiny_arrays, write_tiny, monkeypatch, isolated):
    cache = write_tiny(isolated / "mnist")
    assert load_idx_set(tiny, None, allow_download=False).source == str(cache)
    named = write_tiny(tmp_path / "named")
    monkeypatch.setenv("XPCNN_DATA", str(named))
    assert load_idx_set(tiny, None, allow_download=False).source == str(named)
    given = write_tiny(tmp_path / "given" / "mnist")
    assert load_idx_set(tiny, tmp_path / "given", allow_download=False).source == str(given)
    # A folder without the set, or no folder at all, does not end the search.
    assert load_idx_set(tiny, tmp_path / "none", allow_download=False).source == str(named)


def test_missing(tmp_path, tiny):
    with pytest.raises(DataMissingError, match="MNIST was not found") as caught:
        load_idx_set(tiny, tmp_path / "none", allow_download=False)
    assert f"{tmp_path / 'none'} (no such folder)" in str(caught.value)


def test_no_mirror_answers(tmp_path, tiny):
    messages = []
    with pytest.raises(DataMissingError, match=r"could not download train-images.*127\.0\.0\.1:9"):
        load_idx_set(tiny, tmp_path, on_message=messages.append)
    assert len(messages) == 1


def test_incomplete(tmp_path, tiny, write_tiny, isolated):
    write_tiny(tmp_path / "mnist", t10k_labels=None)
    with pytest.raises(DataError, match="incomplete, without t10k-labels"):
        load_idx_set(tiny, tmp_path, allow_download=False)
    # In the cache it is a download that was broken off, not the user's fault.
    write_tiny(isolated / "mnist", t10k_labels=None)
    with pytest.raises(DataMissingError):
        load_idx_set(tiny, None, allow_download=False)
    assert find_idx_files(tiny, isolated)[1] == ["t10k-labels-idx1-ubyte(.gz)"]


def test_broken_off_download_goes_on(tiny, tiny_arrays, write_tiny, isolated, tmp_path, monkeypatch):
    write_tiny(isolated / "mnist", t10k_labels=None)
    whole = write_tiny(tmp_path)
    asked = []

    def fake(remote, folder, progress=None):
        asked.append(remote.name)
        (folder / remote.name).write_bytes((whole / remote.name).read_bytes())

    monkeypatch.setattr(mnist, "download", fake)
    check(load_idx_set(tiny), tiny_arrays)
    assert asked == ["t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({"train_images": np.zeros(30, np.uint8)}, "these are labels"),
        ({"train_labels": np.zeros((30, 28, 28), np.uint8)}, "these are pictures"),
        ({"train_images": np.zeros((10, 28, 28), np.uint8)}, "this is the test set"),
        ({"t10k_labels": np.zeros(30, np.uint8)}, "this is the training set"),
        ({"train_images": np.zeros((30, 32, 32), np.uint8)}, r"\(30, 28, 28\).*\(30, 32, 32\)"),
        ({"train_images": np.zeros((29, 28, 28), np.uint8)}, r"found uint8 \(29, 28, 28\)"),
        ({"train_labels": np.zeros(30, np.int32)}, "found int32"),
        ({"t10k_labels": np.array([0] * 7 + [11, 0, 0], np.uint8)}, "label 7 is 11"),
    ],
)
def test_mislabelled(tmp_path, tiny, write_tiny, replaced, reason):
    write_tiny(tmp_path, **replaced)
    with pytest.raises(DataError, match=reason) as caught:
        load_idx_set(tiny, tmp_path, allow_download=False)
    assert next(iter(replaced)).replace("_", "-") in str(caught.value)


def test_damaged_file_is_not_passed_over(tmp_path, tiny, write_tiny, isolated):
    write_tiny(isolated / "mnist")
    write_tiny(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cut short"):
        load_idx_set(tiny, tmp_path, allow_download=False)


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_not_taken_for_fashion(tmp_path, write_tiny, monkeypatch, packed):
    """Both sets' files are named alike; the labels tell them apart, packed by anyone or not at all."""
    folder = write_tiny(tmp_path / "fashion", suffix=".gz" if packed else "")
    labels = (folder / f"train-labels-idx1-ubyte{'.gz' if packed else ''}").read_bytes()
    digest = hashlib.sha256(gzip.decompress(labels) if packed else labels).hexdigest()
    known = mnist.MNIST.files
    as_if = (known[0], mnist.RemoteFile(known[1].name, (), sha256=digest), *known[2:])
    monkeypatch.setattr(mnist, "IDX_SETS", (mnist.IdxSet("mnist", "MNIST", (), MNIST.classes, as_if), FASHION_MNIST))
    with pytest.raises(DataError, match="these are MNIST's labels"):
        load_idx_set(FASHION_MNIST, tmp_path, allow_download=False)
    # Lying loose in the folder itself they are simply not the set looked for.
    with pytest.raises(DataMissingError):
        load_idx_set(FASHION_MNIST, folder, allow_download=False)


def test_folder_alone(tmp_path, write_tiny):
    write_tiny(tmp_path, train_labels=None)
    with pytest.raises(DataError, match="train-labels-idx1-ubyte"):
        load_idx_folder(tmp_path)
    write_tiny(tmp_path)
    with pytest.raises(DataError, match=r"expected MNIST's train-images as uint8 \(60000, 28, 28\)"):
        load_idx_folder(tmp_path)


def test_tables():
    for spec in (MNIST, FASHION_MNIST):
        assert len(spec.files) == 4
        assert len(spec.classes) == 10
        assert all(len(file.urls) == 2 for file in spec.files)
        assert all((file.sha256 is None) != (file.md5 is None) for file in spec.files)


def test_real_mnist(real_mnist):
    """Known facts of the published set (Y. LeCun's page; the class counts are in many papers)."""
    assert real_mnist.x_train.shape == (60_000, 1, 28, 28)
    assert real_mnist.x_test.shape == (10_000, 1, 28, 28)
    assert np.bincount(real_mnist.t_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(real_mnist.t_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    header = b"\0\0\x08\x03" + (60_000).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
    assert hashlib.sha256(header + real_mnist.x_train.tobytes()).hexdigest() == MNIST.files[0].sha256


def test_labels_that_are_a_bomb_are_not_unpacked(tmp_path, write_tiny):
    """They are looked at before the headers are checked: only what can be labels is read."""
    write_tiny(tmp_path, train_labels=np.zeros(50_000_000, np.uint8))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="expected MNIST's"):
            load_idx_folder(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
