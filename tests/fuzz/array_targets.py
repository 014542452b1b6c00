"""Readers of arrays: parameter files, idx, data sets in .npz, the sample's CSV."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from random import Random

import numpy as np

from tests.fuzz.harness import Target
from tests.fuzz.mutate import LENGTHS, NUMBERS, mutate
from xpcnn.data.idx import read_idx
from xpcnn.data.npz import load_npz as load_dataset
from xpcnn.data.sample import read_table
from xpcnn.formats import load_arrays
from xpcnn.formats.book_pickle import load_pickle
from xpcnn.pictures import read_pictures

__all__ = ["TARGETS", "saved"]

ARRAYS = {
    "W1": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b1": np.zeros(3),
    "n": np.array(7),
    "e": np.zeros((0, 2), np.int16),
}


def saved(save, *arguments, **named) -> bytes:
    """What a function writes into the file that is its first argument."""
    file = io.BytesIO()
    save(file, *arguments, **named)
    return file.getvalue()


# -- safetensors -----------------------------------------------------------------------------------------------------


def _safetensors() -> list[bytes]:
    from safetensors.numpy import save

    return [save({name: np.ascontiguousarray(a) for name, a in ARRAYS.items()}, {"model": "{}"}), save({})]


def _safetensors_header(rng: Random) -> bytes:
    """Damage to the JSON header, its length made right again."""
    data = _safetensors()[0]
    (length,) = struct.unpack("<Q", data[:8])
    header = mutate(rng, [data[8 : 8 + length]], SAFETENSORS)
    if rng.random() < 0.5:  # shapes that fit no bytes, or none at all
        shape = [rng.choice((0, 0, 1, 1, *LENGTHS)) for _ in range(rng.choice((1, 2, 3, 70)))]
        words = {"dtype": rng.choice(DTYPES), "shape": shape, "data_offsets": [0, rng.choice((0, 1, *LENGTHS))]}
        header = json.dumps({rng.choice(("x", "\x1b[2J", "x" * 9999)): words}).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


DTYPES = ("F32", "F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64", "F4", "U16")
SAFETENSORS = tuple(f'"{word}"'.encode() for word in (*DTYPES, "dtype", "shape", "data_offsets", "__metadata__", "W1"))
SAFETENSORS += (b"{", b"}", b"[", b"],", b":", b",", b"[" * 200, b'{"a":' * 200)


# -- .npy and .npz ---------------------------------------------------------------------------------------------------

NPY = (b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00", b"\x93NUMPY\x03\x00", b"'<f4'", b"'|O'", b"'>U9'", b"'|S0'", b"True",
       b"[('a', '<f4')]", b"'shape': (", b"(-1,)", b"(1L, 2)", b"(" * 300, b"'\\d'", b"'V8'", b"'<M8[D]'", b"None",
       b"9**9**9", b"{'a': " * 200, b"'fortran_order'", b"'descr'", b"\\N{BULLET}")  # fmt: skip
ZIP = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"W1.npy", b"x_train.npy")


def _npys() -> list[bytes]:
    arrays = (*ARRAYS.values(), np.asfortranarray(np.eye(3)), np.array(["a", "é"]), np.array([b"ab"]), np.eye(2) > 0)
    return [saved(np.save, array) for array in arrays]


def _zip(members: list[tuple[str, bytes]], kind: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return file.getvalue()


def _npz() -> list[bytes]:
    return [saved(np.savez, **ARRAYS), saved(np.savez_compressed, **ARRAYS), saved(np.savez)]


def _npz_inside(rng: Random) -> bytes:
    """Damaged arrays in a whole zip."""
    members = [(f"{name}.npy", mutate(rng, _NPYS, NPY)) for name in rng.sample(["W1", "b1", "x", "../n", "\x1b"], 2)]
    return _zip(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


_NPYS = _npys()
_DATASET = {
    "x_train": np.arange(160, dtype=np.uint8).reshape(8, 4, 5),
    "t_train": np.arange(8) % 2,
    "x_test": np.arange(40, dtype=np.float32).reshape(2, 1, 4, 5) / 255,
    "t_test": np.array([[0], [1]], np.uint8),
    "classes": np.array(["cat", "dog"]),
}


def _datasets() -> list[bytes]:
    return [saved(np.savez, **_DATASET), saved(np.savez_compressed, x_train=_DATASET["x_train"], y_train=[0, 1] * 4)]


def _dataset_inside(rng: Random) -> bytes:
    """A data set with one array damaged, or one of another shape, dtype or content."""
    members = {name: saved(np.save, array) for name, array in _DATASET.items()}
    name = rng.choice(list(members))
    if rng.random() < 0.5:
        members[name] = mutate(rng, [members[name]], NPY)
    else:
        shape = tuple(rng.choice((0, 1, 2, 3, 4, 8)) for _ in range(rng.randint(0, 5)))
        dtype = np.dtype(rng.choice(("u1", "i8", "f4", "f8", ">f2", "u8", "c8", "?", "U3", "S2", "f8")))
        raw = rng.randbytes(int(np.prod(shape)) * dtype.itemsize)
        members[name] = saved(np.save, np.frombuffer(raw, dtype).reshape(shape))
    for other in rng.sample(list(members), rng.choice((0, 0, 1, 2))):
        del members[other]
    return _zip([(f"{name}.npy", data) for name, data in members.items()], zipfile.ZIP_STORED)


# -- the book's pickles ----------------------------------------------------------------------------------------------


def _pickles() -> list[bytes]:
    values = ({**ARRAYS, "t": np.eye(3).T}, {"a": np.array(["x"]), "s": np.float32(1)}, {"labels": [1, 2], "n": None})
    old = [pickle.dumps(values[0], protocol=p).replace(b"numpy._core", b"numpy.core") for p in (0, 2, 3)]
    return [pickle.dumps(value, protocol=protocol) for value in values for protocol in range(6)] + old


# fmt: off
PICKLE = (b"cos\nsystem\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\nscalar\n",
          b"cnumpy._core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n", b"cnumpy._core.numeric\n_frombuffer\n",
          b"\x8c\x02os\x8c\x06system\x93", b"}", b"]", b")", b"(", b"N", b"K\x01", b"M\x00\x01", b"J\xff\xff\xff\xff",
          b"\x8a\x09" + b"\xff" * 9, b"I1\n", b"L1L\n", b"F1.5\n", b"G" + bytes(8), b"U\x01a", b"S'a'\n", b"V\\u00e9\n",
          b"C\x02ab", b"X\x01\x00\x00\x00a", b"\x8c\x01a", b"\x8e" + bytes(8), b"\x96\x02" + bytes(7) + b"ab", b"R",
          b"b", b"\x81", b"\x92", b"i", b"o", b"s", b"u", b"a", b"e", b"d", b"l", b"t", b"\x85", b"\x86", b"\x87", b"0",
          b"1", b"2", b"q\x01", b"h\x01", b"r\xff\xff\xff\x7f", b"\x94", b"j\x01\x00\x00\x00", b"\x88", b"\x89",
          b"P1\n", b"Q",
          b"\x82\x01", b"\x8f", b"\x90", b"\x91", b"\x97", b"\x98", b"\x95" + bytes(8), b"\x80\x05", b".")
# fmt: on


def _program(rng: Random) -> bytes:
    """Opcodes in a row: mostly nonsense that the unpickler follows for a while."""
    whole = rng.choice(_PICKLES)
    return b"\x80\x02" + b"".join(rng.choices(PICKLE, k=rng.randint(1, 40))) + rng.choice((b".", whole[2:]))


_PICKLES = _pickles()


# -- idx and CSV -----------------------------------------------------------------------------------------------------


def _idx() -> list[bytes]:
    heads = ((8, (2, 3)), (9, (4,)), (11, (2, 1, 2)), (12, (1,)), (13, (3,)), (14, (1, 1)), (8, (0, 5)))
    sizes = {8: 1, 9: 1, 11: 2, 12: 4, 13: 4, 14: 8}
    return [
        struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape) + bytes(int(np.prod(shape)) * sizes[code])
        for code, shape in heads
    ]


def _packed(rng: Random) -> bytes:
    data = gzip.compress(mutate(rng, _idx(), IDX), rng.choice((1, 9)), mtime=0)
    return data if rng.random() < 0.9 else data + gzip.compress(bytes(rng.choice((0, 1, 10**6))), 9)


IDX = (b"\0\0\x08\x03", b"\0\0\x08\x20", b"\0\0\x0e\xff", b"\x1f\x8b\x08\x00", b"\xff\xff\xff\xff", bytes(64))


def _tables() -> list[bytes]:
    return ["".join("1,2,3,255,0,7,8,9,1," + f"{digit % 10}\n" for digit in range(20)).encode()]


def _table_inside(rng: Random) -> bytes:
    return gzip.compress(mutate(rng, _tables(), CSV), 1)


CSV = (b",", b"\n", b"-1", b"256", b"1.0", b"1e2", b"#", b'"', b"\r", b" ", b"\0", b",,", b"\n\n", b"0x1", b"\xff\xfe")
CSV += tuple(number.encode() for number in NUMBERS)


def _pictures(path: Path) -> object:
    return read_pictures(path, (1, 4, 4))


TARGETS = [
    Target("safetensors", _safetensors, load_arrays, ".safetensors", SAFETENSORS, _safetensors_header),
    Target("npz", _npz, load_arrays, ".npz", (*ZIP, *NPY), _npz_inside),
    Target("book-pickle", _pickles, load_pickle, ".pkl", PICKLE, _program),
    Target("idx", _idx, read_idx, "", IDX),
    Target("idx-gz", lambda: [gzip.compress(data, mtime=0) for data in _idx()], read_idx, ".gz", IDX, _packed),
    Target("dataset-npz", _datasets, load_dataset, ".npz", (*ZIP, *NPY), _dataset_inside),
    Target(
        "sample-csv",
        lambda: [gzip.compress(data, mtime=0) for data in _tables()],
        lambda path: read_table(path, 20, 9),
        ".csv.gz",
        CSV,
        _table_inside,
    ),
    Target("npy", lambda: [saved(np.save, np.eye(n) > 0) for n in (2, 5)], _pictures, ".npy", (*NPY, *ZIP)),
]
