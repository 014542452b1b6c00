"""Files in the user's cache folder: what a kernel became, by its text, processor and compiler.

A file is a header of 64 bytes (magic, kind, SHA-256 of kind and code) and the code, so that one that is damaged is
known for it. Nothing here is ever an error: what cannot be read is made again, what cannot be written is not kept.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from xpcnn.atomic import atomic_write
from xpcnn.errors import ConfigError
from xpcnn.ops.cpu.compiled.llvm import CompileError

__all__ = ["HEADER", "OBJECT", "PLAIN", "cache_folder", "path_for", "read", "write"]

PLAIN = b"p"  # machine code that may stand anywhere in memory and needs nothing but itself
OBJECT = b"o"  # an object file for LLVM's linker
HEADER = 64
_MAGIC = b"xpcnn kernel 2\n"


def cache_folder() -> Path:
    """Where compiled kernels are kept between processes (not made here)."""
    try:
        import platformdirs
    except ImportError as error:  # a checkout run with NumPy alone
        raise CompileError("platformdirs is missing; pip install 'xpcnn[fast]'") from error
    return platformdirs.user_cache_path("xpcnn", appauthor=False) / "kernels"


def path_for(suffix: str, *identity: str) -> Path:
    """The file for what has this identity."""
    return cache_folder() / (hashlib.sha256("\0".join(identity).encode()).hexdigest()[:40] + suffix)


def read(path: Path) -> tuple[bytes, bytes] | None:
    """Kind and code, of a file that is whole."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    kind, code = data[len(_MAGIC) : len(_MAGIC) + 1], data[HEADER:]
    return (kind, code) if data[:HEADER] == _header(kind, code) else None


def write(path: Path, kind: bytes, code: bytes) -> bool:
    """Whether the file is now there."""
    try:
        os.makedirs(path.parent, exist_ok=True)
        with atomic_write(path) as file:
            file.write(_header(kind, code) + code)
    except (ConfigError, OSError):
        return False
    return True


def _header(kind: bytes, code: bytes) -> bytes:
    return (_MAGIC + kind + hashlib.sha256(kind + code).digest()).ljust(HEADER, b"\0")
