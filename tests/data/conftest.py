"""Every test here sees an empty cache, no XPCNN_DATA and no network; tiny data sets are built in tmp_path."""

import dataclasses

import numpy as np
import platformdirs
import pytest

from xpcnn.data.idx import write_idx
from xpcnn.data.mnist import MNIST, load_idx_set
from xpcnn.data.places import DataMissingError

# Port 9 (discard) of this machine: nothing listens there, so a connection is refused at once.
NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path_factory):
    """Returns the folder that stands for the user's cache folder."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.delenv("XPCNN_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *args, **kwargs: cache)
    return cache / "data"


@pytest.fixture(scope="session")
def real_mnist():
    """The real MNIST as the user's own settings find it; set up before `isolated`, for its scope is wider."""
    try:
        return load_idx_set(MNIST, allow_download=False)
    except DataMissingError:
        pytest.skip("no MNIST here: set XPCNN_DATA to a folder that has it")


@pytest.fixture
def tiny():
    """MNIST's description cut down to 30 and 10 pictures, with mirrors that refuse."""
    files = tuple(dataclasses.replace(file, urls=(NOWHERE + file.name,), sha256=None) for file in MNIST.files)
    return dataclasses.replace(MNIST, counts=(30, 10), files=files)


@pytest.fixture
def tiny_arrays():
    rng = np.random.default_rng(7)
    return {
        "train-images": rng.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        "train-labels": np.arange(30, dtype=np.uint8) % 10,
        "t10k-images": rng.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "t10k-labels": np.arange(10, dtype=np.uint8),
    }


@pytest.fixture
def write_tiny(tiny_arrays):
    """write_tiny(folder, mark="-", suffix=".gz", **replaced parts with _ for -): the four files, or without None."""

    def write(folder, mark="-", suffix=".gz", **replaced):
        folder.mkdir(parents=True, exist_ok=True)
        for part, array in tiny_arrays.items():
            array = replaced.get(part.replace("-", "_"), array)
            if array is not None:
                rank = 3 if "images" in part else 1
                write_idx(folder / f"{part}{mark}idx{rank}-ubyte{suffix}", array)
        return folder

    return write
