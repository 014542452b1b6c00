"""xpcnn.datasets, the façade over xpcnn.data."""

import dataclasses

import numpy as np
import pytest

from xpcnn import datasets
from xpcnn.data import registry
from xpcnn.data.cifar import CIFAR10
from xpcnn.data.dataset import Dataset
from xpcnn.datasets import load_cifar10, load_cifar100, load_fashion_mnist, load_mnist
from xpcnn.errors import DataError


@pytest.fixture(autouse=True)
def tiny_registry(monkeypatch, tiny):
    monkeypatch.setitem(registry._IDX, "mnist", tiny)
    monkeypatch.setitem(registry._IDX, "fashion-mnist", dataclasses.replace(tiny, name="fashion-mnist"))


@pytest.mark.parametrize("load", [load_mnist, load_fashion_mnist])
@pytest.mark.parametrize("one_hot_label", [False, True])
@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_options(tmp_path, write_tiny, tiny_arrays, load, normalize, flatten, one_hot_label):
    write_tiny(tmp_path)
    train, test = load(normalize, flatten, one_hot_label, data_dir=tmp_path)
    for (x, t), part in ((train, "train"), (test, "t10k")):
        images, labels = tiny_arrays[f"{part}-images"], tiny_arrays[f"{part}-labels"]
        n = len(images)
        assert x.shape == ((n, 784) if flatten else (n, 1, 28, 28))
        if normalize:
            assert x.dtype == np.float32
            np.testing.assert_array_equal(x.ravel(), images.ravel().astype(np.float32) / np.float32(255))
        else:
            assert x.dtype == np.uint8
            np.testing.assert_array_equal(x.ravel(), images.ravel())
        if one_hot_label:
            assert t.shape == (n, 10)
            assert t.dtype == np.float32
            np.testing.assert_array_equal(t.sum(axis=1), np.ones(n))
            np.testing.assert_array_equal(t.argmax(axis=1), labels)
        else:
            assert t.dtype == np.int64
            np.testing.assert_array_equal(t, labels)


def test_defaults_are_the_books(tmp_path, write_tiny):
    write_tiny(tmp_path)
    (x, t), _ = load_mnist(data_dir=tmp_path)
    assert (x.shape, x.dtype, t.shape) == ((30, 784), np.float32, (30,))


def test_sample_with_a_warning(tmp_path, monkeypatch):
    x = np.zeros((2, 1, 28, 28), np.uint8)
    stand_in = Dataset("mnist-5k", x, np.array([0, 1]), x, np.array([0, 1]), tuple("0123456789"), "stand-in")
    monkeypatch.setattr(registry, "load_sample", lambda: stand_in)
    with pytest.warns(UserWarning, match="using mnist-5k instead: 4,000 real MNIST digits") as caught:
        (x, _), _ = load_mnist(data_dir=tmp_path)
    assert x.shape == (2, 784)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__  # it points at the caller


def test_cifar(tmp_path, monkeypatch):
    monkeypatch.setitem(registry._CIFAR, "cifar10", dataclasses.replace(CIFAR10, rows=(2, 2)))
    for name in CIFAR10.binary:
        (tmp_path / name).write_bytes(bytes(2 * 3073))
    (x, t), (x_test, _) = load_cifar10(data_dir=tmp_path)
    assert (x.shape, x.dtype, t.dtype, x_test.shape) == ((10, 3072), np.float32, np.int64, (2, 3072))
    (x, t), _ = load_cifar10(normalize=False, flatten=False, one_hot_label=True, data_dir=tmp_path)
    assert (x.shape, x.dtype, t.shape) == ((10, 3, 32, 32), np.uint8, (10, 10))


def test_cifar100_is_asked_for_by_its_name(monkeypatch):
    asked = []

    def note(name, *args, **kwargs):
        asked.append(name)
        raise DataError("enough")

    monkeypatch.setattr(datasets, "load_dataset", note)
    for load in (load_mnist, load_fashion_mnist, load_cifar10, load_cifar100):
        with pytest.raises(DataError, match="enough"):
            load()
    assert asked == ["mnist", "fashion-mnist", "cifar10", "cifar100"]
