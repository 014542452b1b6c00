"""From IR text to a function that ctypes can call: compiled once a machine, from then on mapped from the cache."""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.ops.cpu.compiled import cache, llvm
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.llvm import CompileError

__all__ = ["compiled"]

_CODES = {"i64": ctypes.c_int64, "ptr": ctypes.c_void_p, "float": ctypes.c_float}
_lock = threading.RLock()  # one thread at a time makes kernels; any number runs them
_functions: dict[tuple[str, Host], Callable[..., None]] = {}
_keep: list[Any] = []  # mapped files, for as long as the process lives


def compiled(ir: str, types: Sequence[str], host: Host) -> Callable[..., None]:
    """The function `kernel` of `ir`, with arguments of `types`; calling it frees the GIL. Thread-safe.

    Raises CompileError where LLVM is missing or refuses. A cache that is damaged, unreadable or unwritable costs
    time only.
    """
    with _lock:
        found = _functions.get((ir, host))
        if found is None:
            try:
                address = _address(ir, host)
            except (RuntimeError, OSError, ImportError) as error:  # what llvmlite raises
                raise CompileError(f"LLVM could not make a kernel for {host.cpu}: {error}") from error
            found = _functions[ir, host] = ctypes.CFUNCTYPE(None, *(_CODES[kind] for kind in types))(address)
        return found


def _address(ir: str, host: Host) -> int:
    path = cache.path_for(".kernel", ir, host.cpu, host.features, host.compiler)
    kind, code = cache.read(path) or (b"", b"")
    if kind == cache.OBJECT:
        return llvm.link(code)
    address = _map(path, code) if kind == cache.PLAIN else None
    if address is None:
        code = llvm.compile_ir(ir, host.cpu, host.features)
        plain = llvm.plain_code(code)
        if plain is not None and cache.write(path, cache.PLAIN, plain):
            address = _map(path, plain)
        if address is None:  # not such a system, or a folder whose files may not be run: LLVM places the code
            cache.write(path, cache.OBJECT, code)
            address = llvm.link(code)
    return address


def _map(path: Path, code: bytes) -> int | None:
    """The address of plain code, run from its file as a shared library is; None where the system does not allow it."""
    if sys.platform != "linux":
        return None
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
    except (OSError, ValueError):  # not there, empty, or on a disk that runs nothing (noexec)
        return None
    if mapped[cache.HEADER :] != code:  # replaced since it was read
        return None
    _keep.append(mapped)
    return int(np.frombuffer(mapped, dtype=np.uint8).ctypes.data) + cache.HEADER
