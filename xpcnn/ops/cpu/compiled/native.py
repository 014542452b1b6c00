"""From IR text to a function that ctypes can call: compiled by LLVM once, kept as object code in the cache folder."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xpcnn.atomic import atomic_write
from xpcnn.errors import ConfigError, XpcnnError
from xpcnn.ops.cpu.compiled.host import Host

__all__ = ["CompileError", "cache_folder", "compiled"]

_CODES = {"i64": ctypes.c_int64, "ptr": ctypes.c_void_p, "float": ctypes.c_float}
_MAGIC = b"xpcnn kernel 1\n"
_lock = threading.RLock()  # LLVM's linker is entered by one thread at a time; kernels run outside it
_functions: dict[tuple[str, Host], Callable[..., None]] = {}
_keep: list[Any] = []  # what must live as long as the machine code
_numbers = itertools.count()


def cache_folder() -> Path:
    """Where object code is kept between processes (not made here)."""
    import platformdirs

    return platformdirs.user_cache_path("xpcnn", appauthor=False) / "kernels"


class CompileError(XpcnnError):
    """LLVM is missing, or would not compile or load a kernel: take the NumPy path."""


def compiled(ir: str, types: Sequence[str], host: Host) -> Callable[..., None]:
    """The function `kernel` of `ir`, with arguments of `types`; calling it frees the GIL. Thread-safe.

    Raises CompileError where LLVM refuses. A cache that is damaged, unreadable or unwritable costs time only.
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
    path = _cached_path(ir, host)
    code = _read(path)
    if code is None:
        code = _compile(ir, host)
        _write(path, code)
    return _link(code)


# --------------------------------------------------------------------------------------------------------- LLVM
@functools.cache
def _target_machine(host: Host) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(cpu=host.cpu, features=host.features, opt=2)


def _compile(ir: str, host: Host) -> bytes:
    """IR to an object file. No optimisation passes run: the IR is written as it should be; code generation only."""
    import llvmlite.binding as llvm

    machine = _target_machine(host)
    module = llvm.parse_assembly(ir)
    module.verify()
    return bytes(machine.emit_object(module))


@functools.cache
def _linker() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_lljit_compiler()


def _link(code: bytes) -> int:
    """The address of `kernel` in an object file, loaded into this process."""
    import llvmlite.binding as llvm

    library = llvm.JITLibraryBuilder().add_object_img(code).export_symbol("kernel")
    tracker = library.link(_linker(), f"kernel{next(_numbers)}")
    _keep.append(tracker)
    return int(tracker["kernel"])


# ------------------------------------------------------------------------------------------------------ the cache
def _cached_path(ir: str, host: Host) -> Path:
    import llvmlite
    import llvmlite.binding as llvm

    identity = "\0".join(
        [ir, host.cpu, host.features, llvm.get_process_triple(), llvmlite.__version__, str(llvm.llvm_version_info)]
    )
    return cache_folder() / f"{hashlib.sha256(identity.encode()).hexdigest()[:40]}.o"


def _read(path: Path) -> bytes | None:
    """The object code in a file that is whole: after a line of magic, its SHA-256, then the code."""
    try:
        data = path.read_bytes()
    except OSError:
        return None  # not there yet, or not ours to read: it is compiled again
    code = data[len(_MAGIC) + 32 :]
    return code if data == _MAGIC + hashlib.sha256(code).digest() + code else None


def _write(path: Path, code: bytes) -> None:
    try:
        os.makedirs(path.parent, exist_ok=True)
        with atomic_write(path) as file:
            file.write(_MAGIC + hashlib.sha256(code).digest() + code)
    except (ConfigError, OSError):
        return  # a cache that cannot be written: the kernel works all the same, the next process compiles again
