"""What all three formats promise: the same arrays come back, and bad files are named with a reason."""

import numpy as np
import pytest

from xpcnn.errors import CheckpointError, ConfigError, ShapeError
from xpcnn.formats import SUFFIXES, load_arrays, save_arrays

ARRAYS = {
    "W1": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "double": np.array([1e-300, -0.0, np.inf]),
    "half": np.array([1.5], dtype=np.float16),
    "int": np.array([[-(2**62)]]),
    "byte": np.arange(5, dtype=np.uint8),
    "bool": np.array([True, False]),
    "zero-d": np.array(3.25, dtype=np.float32),
    "scalar": np.float64(2.5),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(20, dtype=np.float32)[::3],
    "turned": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
    "backwards": np.arange(4.0)[::-1],
    "big-endian": np.arange(3, dtype=">f4"),
    "file": np.ones(1),
    "allow_pickle": np.ones(1),
    "conv1.W": np.ones(1),
    "a/b": np.ones(1),
    "합성곱": np.ones(1),
}


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".PKL", ""])
def test_arrays_come_back_with_values_shapes_dtypes_and_order_of_names(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save_arrays(path, ARRAYS)
    loaded = load_arrays(path)
    assert set(loaded) == set(ARRAYS)
    for name, array in ARRAYS.items():
        got = loaded[name]
        assert isinstance(got, np.ndarray)
        assert got.shape == array.shape
        assert got.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, array)
        assert np.array_equal(np.signbit(got), np.signbit(array)) or got.dtype.kind not in "f"
        assert got.flags.c_contiguous
        assert got.flags.writeable
        got[...] = 0  # owns its memory: no other array may change with it
    assert not any(array.any() for array in loaded.values())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_arrays_give_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        save_arrays(tmp_path / (name + suffix), ARRAYS)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_arrays_at_all(tmp_path, suffix):
    save_arrays(tmp_path / f"a{suffix}", {})
    assert load_arrays(tmp_path / f"a{suffix}") == {}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("arrays", "error", "word"),
    [
        ({"x": [1.0, 2.0]}, ConfigError, "xpcnn.asnumpy"),
        ({1: np.ones(1)}, ConfigError, "not a string"),
        ({"x": np.array([None])}, ShapeError, "'x' has dtype object"),
        ({"x": np.array(["a"])}, ShapeError, "only numbers"),
    ],
)
def test_what_cannot_be_stored_leaves_no_file(tmp_path, suffix, arrays, error, word):
    with pytest.raises(error, match=word):
        save_arrays(tmp_path / f"a{suffix}", arrays)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["model.pt", "model.tar.gz", "model.onnx"])
def test_an_unknown_suffix_lists_the_known(path):
    for call in (lambda: save_arrays(path, {}), lambda: load_arrays(path)):
        with pytest.raises(ConfigError, match=r"\.safetensors, \.npz, \.pkl"):
            call()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_a_folder_and_a_missing_folder(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(CheckpointError, match="no such file") as caught:
        load_arrays(path)
    assert str(path) in str(caught.value)
    path.mkdir()
    with pytest.raises(CheckpointError, match="is a folder"):
        load_arrays(path)
    with pytest.raises(ConfigError, match="is a folder"):
        save_arrays(path, {"x": np.ones(1)})
    with pytest.raises(ConfigError, match="does not exist"):
        save_arrays(tmp_path / "none" / f"a{suffix}", {"x": np.ones(1)})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncation_is_told(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_arrays(path, {"W1": np.arange(6.0).reshape(2, 3), "b1": np.zeros(2, dtype=np.float32)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            load_arrays(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_gives_arrays_or_our_error_and_nothing_else(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_arrays(path, {"W1": np.arange(6.0).reshape(2, 3), "b1": np.zeros(2, dtype=np.float32)})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), size=rng.integers(1, 4)):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            loaded = load_arrays(path)
        except CheckpointError:
            refused += 1
        else:
            assert all(isinstance(array, np.ndarray) for array in loaded.values())
    assert refused > 80
