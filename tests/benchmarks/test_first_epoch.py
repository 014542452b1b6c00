"""What a cold start runs, in this process and on a data set of some hundred pictures."""

from __future__ import annotations

import dataclasses
import gzip
import sys

import numpy as np
import pytest
from mnist_files import read_mnist
from peers import PEERS

from xpcnn.data import registry
from xpcnn.data.idx import write_idx
from xpcnn.data.mnist import MNIST


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """300 and 100 pictures as MNIST's four files, one of them gzipped: class k has a bright bar in row 2k + 4."""
    monkeypatch.setitem(registry._IDX, "mnist", dataclasses.replace(MNIST, counts=(3000, 100)))
    rng = np.random.default_rng(0)
    for part, count in (("train", 3000), ("t10k", 100)):
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        x = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        x[np.arange(count), 2 * labels + 4, 6:22] = 255
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", x)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    plain = tmp_path / "train-images-idx3-ubyte"
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(plain.read_bytes(), 1))
    plain.unlink()
    return tmp_path


def test_files_are_read_as_xpcnn_reads_them(folder):
    x_train, t_train, x_test, t_test = read_mnist(str(folder))
    data = registry.load_dataset("mnist", folder, download=False)
    np.testing.assert_array_equal(x_train, data.x_train / np.float32(255.0))
    np.testing.assert_array_equal(x_test, data.x_test / np.float32(255.0))
    np.testing.assert_array_equal(t_train, data.t_train)
    np.testing.assert_array_equal(t_test, data.t_test)
    assert (x_train.dtype, t_train.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(
    "name",
    ["ours", "ours-numpy", "book", *(pytest.param(n, marks=pytest.mark.parity) for n in ("torch", "torch-cl"))],
)
def test_an_epoch_learns(name, folder, monkeypatch):
    if name.startswith("torch"):
        torch = pytest.importorskip("torch")
        threads = torch.get_num_threads()
    peer = PEERS[name]
    for key, value in peer.environment.items():
        monkeypatch.setenv(key, value)
    if peer.options.get("compiled"):
        pytest.importorskip("llvmlite")
    accuracy = peer.load().first_epoch(str(folder), 1, **peer.options)
    # Thirty steps on bars that a single row tells apart; guessing gives 0.1.
    assert accuracy > 0.5
    if name.startswith("torch"):
        sys.modules["torch"].set_num_threads(threads)
