"""The dearest files that are still read, small on the disk and large in memory: python -m tests.fuzz.largest.

Prints the processor's time and the memory that each takes; random damage hardly ever makes such files.
"""

from __future__ import annotations

import gzip
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.harness import _memory
from xpcnn.data.cifar_files import members
from xpcnn.data.idx import read_idx
from xpcnn.data.npz import load_npz as load_dataset
from xpcnn.errors import XpcnnError
from xpcnn.formats import load_arrays
from xpcnn.formats.book_pickle import load_pickle
from xpcnn.formats.limits import most_unpacked
from xpcnn.formats.tables import read_toml
from xpcnn.pictures import read_picture

__all__ = ["FILES"]

_SIDE = 4096  # 16.8 million pixels, what a small file may have
_ROOM = most_unpacked(0) - 1000


def _picture(**options) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        values = np.zeros((_SIDE, _SIDE, 4), np.uint8)
        values[::100] = 200
        mode = options.pop("values", lambda a: a)
        Image.fromarray(mode(values)).save(path, **options)

    return write


def _idx(path: Path) -> None:
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, _ROOM) + bytes(_ROOM), 9))


def _tar(path: Path) -> None:
    import tarfile

    member = tarfile.TarInfo("other")
    member.size = 100 << 20
    path.write_bytes(gzip.compress(member.tobuf() + bytes(member.size + 1024), 9))


def _toml(path: Path) -> None:
    path.write_text(
        "".join(".".join("a" * 60) + f".b{number} = 1\n" for number in range(8000))[: 1 << 20][:-200] + "\n"
    )


def _read_picture(path: Path) -> object:
    return read_picture(path, (1, 28, 28))


FILES: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "alpha.png": (_picture(compress_level=9), _read_picture),
    "sixteen-bits.png": (_picture(values=lambda a: a[..., 0].astype(np.uint16), compress_level=9), _read_picture),
    "progressive.jpg": (_picture(values=lambda a: a[..., :3].copy(), progressive=True, quality=10), _read_picture),
    "transparent.gif": (_picture(values=lambda a: a[..., 0].copy(), transparency=0), _read_picture),
    "alpha.webp": (_picture(lossless=True, quality=0, method=0), _read_picture),
    "floats.tif": (
        _picture(values=lambda a: a[..., 0] / np.float32(255), compression="tiff_deflate"),
        _read_picture,
    ),
    "zeros.idx.gz": (_idx, read_idx),
    "zeros.npz": (lambda path: np.savez_compressed(path, x=np.zeros(_ROOM // 16 * 2).reshape(2, -1).T), load_arrays),
    "dataset.npz": (
        lambda path: np.savez_compressed(path, x_train=np.zeros((15_900, 1024, 1)), t_train=np.arange(15_900) % 10),
        load_dataset,
    ),
    "steps.pkl": (lambda path: path.write_bytes(b"(" + b"N" * 520_000 + b"t."), load_pickle),
    "cifar.tar.gz": (_tar, lambda path: list(members(path, {"a"}, 64 << 20))),
    "dots.toml": (_toml, read_toml),
}


def main() -> None:
    """Makes each file and reads it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (write, read) in FILES.items():
            path = Path(folder) / name
            write(path)
            before, started = _memory(reset=True), time.process_time()
            try:
                read(path)
                end = "read"
            except XpcnnError:
                end = "refused"
            seconds, taken = time.process_time() - started, _memory().resident_peak - before.resident
            print(f"{name}: {path.stat().st_size:,} bytes, {end}, {seconds:.2f} s, {taken / 1e6:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
