"""safetensors: metadata, the library's trap with strided arrays, and dtypes it lacks."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy

from xpcnn.errors import CheckpointError, ConfigError, ShapeError
from xpcnn.formats import load_arrays, save_arrays
from xpcnn.formats.safetensors import load_safetensors, save_safetensors


def test_metadata_comes_back(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": np.ones(2)}, {"model": "SimpleConvNet", "config": '{"합성곱": 1}'})
    arrays, metadata = load_safetensors(path)
    assert metadata == {"model": "SimpleConvNet", "config": '{"합성곱": 1}'}
    assert list(arrays) == ["x"]
    save_arrays(path, {"x": np.ones(2)})
    assert load_safetensors(path)[1] == {}


def test_the_file_is_what_the_format_says(tmp_path):
    """Read here by hand: header length, JSON header, raw little-endian bytes of a C-ordered array."""
    path = tmp_path / "a.safetensors"
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    save_safetensors(path, {"turned": turned})
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])["turned"]
    assert (header["dtype"], header["shape"]) == ("F32", [3, 2])
    begin, end = header["data_offsets"]
    body = data[8 + length :][begin:end]
    assert struct.unpack("<6f", body) == (0.0, 3.0, 1.0, 4.0, 2.0, 5.0)


def test_the_library_reads_it(tmp_path):
    path = tmp_path / "a.safetensors"
    array = np.arange(12.0).reshape(3, 4)[:, ::2]
    save_safetensors(path, {"a": array})
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["a"], array)


@pytest.mark.parametrize("metadata", [{"epoch": 3}, {1: "a"}])
def test_metadata_of_other_kinds(tmp_path, metadata):
    with pytest.raises(ConfigError, match="pair of strings"):
        save_safetensors(tmp_path / "a", {"x": np.ones(1)}, metadata)


def test_a_reserved_name(tmp_path):
    with pytest.raises(ConfigError, match="__metadata__"):
        save_safetensors(tmp_path / "a", {"__metadata__": np.ones(1)})


def test_a_dtype_the_format_lacks(tmp_path):
    with pytest.raises(ShapeError, match="complex128"):
        save_safetensors(tmp_path / "a", {"x": np.ones(1, dtype=np.complex128)})
    assert list(tmp_path.iterdir()) == []


def test_a_dtype_that_numpy_lacks(tmp_path):
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    with pytest.raises(CheckpointError, match="dtypes"):
        load_arrays(path)


def test_a_header_that_claims_more_than_there_is(tmp_path):
    path = tmp_path / "a.safetensors"
    for shape, end in (([2**40], 2**42), ([2**40], 4), ([4], 16)):
        header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0\0\0")
        with pytest.raises(CheckpointError):
            load_arrays(path)
    path.write_bytes(struct.pack("<Q", 2**62))
    with pytest.raises(CheckpointError):
        load_arrays(path)


def test_headers_of_impossible_length(tmp_path):
    path = tmp_path / "a.safetensors"
    for content, reason in (
        (b"", "0 bytes long"),
        (struct.pack("<Q", 100) + b"{}", "10 bytes long"),
        (struct.pack("<Q", 17 << 20) + bytes(17 << 20), "at most 16,777,216"),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=reason):
            load_arrays(path)


@pytest.mark.parametrize("shape", [[0, 2**64 - 1], [0] * 70, [1] * 70])
def test_shapes_that_numpy_lacks(tmp_path, shape):
    size = int(shape[0] == 1)
    header = json.dumps({"x": {"dtype": "U8", "shape": shape, "data_offsets": [0, size]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with pytest.raises(CheckpointError, match="dimension"):
        load_arrays(path)


def test_a_message_shows_no_more_than_a_line(tmp_path):
    header = json.dumps({"\x1b[2J" + "x" * 10_000: {"dtype": "\x1b[2J" + "U" * 10_000}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError) as caught:
        load_arrays(path)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()
