"""Readers of pictures, and of the CIFAR sets' files."""

from __future__ import annotations

import dataclasses
import gzip
import io
import pickle
import struct
import tarfile
import zlib
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from tests.fuzz.array_targets import PICKLE, saved
from tests.fuzz.harness import Target
from tests.fuzz.mutate import mutate
from xpcnn.data.cifar import CIFAR10, load_cifar
from xpcnn.data.cifar_files import PIXELS, class_names, read_python
from xpcnn.data.picture_files import MOST_PIXELS
from xpcnn.pictures import read_picture

__all__ = ["TARGETS"]


# -- pictures --------------------------------------------------------------------------------------------------------


def _images() -> list[Image.Image]:
    values = np.random.default_rng(0).integers(0, 256, (7, 6, 4), np.uint8)
    grey = Image.fromarray(values[..., 0])
    return [grey, Image.fromarray(values[..., :3]), Image.fromarray(values), grey.convert("P"), grey.convert("1")]


def _pictures(kind: str, **options) -> list[bytes]:
    """Every mode that the format can hold, and one with a camera's orientation mark."""
    files = []
    exif = Image.Exif()
    exif[0x0112] = 6
    for image in _images():
        for more in ({}, options) if options else ({},):
            try:
                files.append(saved(image.save, format=kind, **more))
                if kind in ("PNG", "JPEG", "WEBP", "TIFF"):
                    files.append(saved(image.save, format=kind, exif=exif, **more))
            except OSError:  # a mode that the format lacks
                continue
    return files


def _deep() -> list[bytes]:
    deep = np.linspace(0, 65535, 42).reshape(7, 6)
    images = [Image.fromarray(deep.astype(np.uint16)), Image.fromarray((deep / 65535).astype(np.float32))]
    films = saved(images[0].convert("L").save, format="GIF", save_all=True, append_images=_images()[:2])
    return [saved(images[0].save, format="PNG"), *(saved(image.save, format="TIFF") for image in images), films]


PNG = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT")


ZEROS = tuple(zlib.compress(bytes(count)) for count in (1, 100, 10**6, 10**8))


def _png_chunks(rng: Random) -> bytes:
    """One chunk changed, doubled, lost or swapped with another; all checksums right."""
    data, place, chunks = rng.choice(_PNGS), 8, []
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(chunks))
        name, body = chunks[at]
        other = rng.choice(PNG)
        packed = rng.choice(ZEROS)
        change = rng.choice(("body", "body", "body", "name", "double", "lose", "new"))
        if change == "body":
            chunks[at] = name, mutate(rng, [body], PNG)
        elif change == "name":
            chunks[at] = other, body
        elif change == "lose" and len(chunks) > 1:
            del chunks[at]
        else:
            chunks.insert(at, chunks[at] if change == "double" else (other, rng.choice((packed, b"a\0\0" + packed))))
    parts = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks]
    return data[:8] + b"".join(parts)


_PNGS = _pictures("PNG")
JPEG = (b"\xff\xd8", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xda", b"\xff\xdb", b"\xff\xe0", b"\xff\xe1",
        b"\xff\xe2MPF\0", b"\xff\xee", b"\xff\xd9", b"Exif\0\0", b"II*\0", b"MM\0*")  # fmt: skip
OTHER = (b"GIF89a", b"!\xf9", b"!\xff", b",", b";", b"BM", b"RIFF", b"WEBPVP8 ", b"WEBPVP8L", b"WEBPVP8X", b"ALPH",
         b"ANMF", b"P1 ", b"P4 ", b"P5 ", b"P6 ", b"Pf ", b"#", b"II*\0", b"MM\0*", b"II+\0", b"%!PS-Adobe-3.0",
         b"\x00\x01\x03\x00", b"\x01\x01\x03\x00", b"\x03\x01\x03\x00\x01\x00\x00\x00\x05\x00")  # fmt: skip


def _others() -> list[bytes]:
    files = [*_pictures("GIF"), *_pictures("BMP"), *_pictures("WEBP", lossless=True), *_pictures("PPM"), *_deep()]
    for packing in ("raw", "tiff_lzw", "tiff_deflate", "packbits"):
        files += [saved(image.save, format="TIFF", compression=packing) for image in _images()]
    return files


def _picture(path: Path) -> object:
    channels = 1 + 2 * (path.stat().st_size % 2)  # in grey and in colour by turns
    return read_picture(path, (channels, 4, 5))


def _pixels(data: bytes) -> int:
    """16 bytes for each pixel that the file announces: Pillow's copies and ours."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            count = image.width * image.height
    except Exception:
        return 0
    return 16 * count if count <= MOST_PIXELS else 0


# -- CIFAR -----------------------------------------------------------------------------------------------------------

TINY = dataclasses.replace(CIFAR10, rows=(1, 1))
WORDS = [f"word{number}" for number in range(10)]


def _batches() -> list[bytes]:
    batch = {"data": np.zeros((1, PIXELS), np.uint8), "labels": [3], "filenames": ["a.png"]}
    files = [pickle.dumps(batch, protocol=protocol) for protocol in (2, 3, 5)]
    return [*files, pickle.dumps({"label_names": WORDS}, protocol=2)]


def _batch(path: Path) -> object:
    content = path.read_bytes()
    if b"label_names" in content:
        return class_names(TINY, "batches.meta", content, str(path))
    return read_python(TINY, content, str(path), 1)


def _tar(binary: bool) -> bytes:
    file = io.BytesIO()
    record = b"\x03" + bytes(PIXELS)
    names = [*TINY.binary, TINY.binary_names] if binary else [*TINY.python, TINY.python_names[0]]
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            content = record if binary else _BATCHES[0]
            if name in (TINY.binary_names, TINY.python_names[0]):
                content = "\n".join(WORDS).encode() if binary else _BATCHES[-1]
            member = tarfile.TarInfo(f"cifar/{name}")
            member.size = len(content)
            member.pax_headers = {"comment": "x" * 20} if name == names[0] else {}
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


_BATCHES = _batches()
_TARS = [_tar(False), _tar(True)]
# fmt: off
TAR = (b"ustar\x0000", b"ustar  \0", b"L", b"K", b"x", b"g", b"S", b"1", b"2", b"5", b"30 size=99999999999\n", b"../",
       b"24 GNU.sparse.major=1\n24 GNU.sparse.minor=0\n", b"16 size=-1000\n", b"\x80\0\0\0\0\0\xff", b"\xff" * 12)
# fmt: on


def _tar_headers(rng: Random) -> bytes:
    """A member's header damaged and its checksum made right; packed now and then."""
    data = bytearray(rng.choice(_TARS))
    headers = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    for at in rng.choices(headers, k=rng.randint(1, 2)):
        header = bytearray(mutate(rng, [bytes(data[at : at + 512])], TAR)[:512].ljust(512, b"\0"))
        header[148:156] = b" " * 8
        header[148:156] = f"{sum(header):06o}\0 ".encode()
        data[at : at + 512] = header
    return gzip.compress(bytes(data), 1) if rng.random() < 0.1 else bytes(data)


TARGETS = [
    Target("png", lambda: _PNGS, _picture, ".png", PNG, _png_chunks, _pixels),
    Target("jpeg", lambda: _pictures("JPEG", progressive=True), _picture, ".jpg", JPEG, need=_pixels),
    Target("other-pictures", _others, _picture, ".gif", OTHER, need=_pixels),
    Target("cifar-pickle", lambda: _BATCHES, _batch, "", PICKLE),
    Target(
        "cifar-tar",
        lambda: [*_TARS, gzip.compress(_TARS[1])],
        lambda path: load_cifar(TINY, path),
        ".tar.gz",
        TAR,
        _tar_headers,
    ),
]
