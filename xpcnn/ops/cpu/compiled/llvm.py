"""All that is asked of LLVM: the processor's name, machine code for a kernel, and to link what needs linking.

Only this module imports llvmlite (a shared library of 170 MB, 50 MB of which stay in memory), and only inside
functions: where everything needed is in the cache, a process never loads it.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

from xpcnn.errors import XpcnnError

__all__ = ["CompileError", "compile_ir", "describe_host", "link", "plain_code"]

_OLDEST = (0, 45)  # llvmlite; before it pointers in the text had types

_keep: list[Any] = []  # what must live as long as the linked code
_numbers = itertools.count()


class CompileError(XpcnnError):
    """LLVM is missing, or would not compile or load a kernel: take the NumPy path."""


def describe_host() -> tuple[str, str, str]:
    """The processor's name, its features, and what compiles for it."""
    try:
        import llvmlite
        import llvmlite.binding as llvm
    except (ImportError, OSError) as error:  # OSError: its shared library does not load
        raise CompileError(f"llvmlite is not usable ({error}); pip install 'xpcnn[fast]'") from error
    if tuple(int(part) for part in llvmlite.__version__.split(".")[:2]) < _OLDEST:
        raise CompileError(f"llvmlite {llvmlite.__version__} is too old; pip install --upgrade 'xpcnn[fast]'")
    compiler = f"{llvm.get_process_triple()}, llvmlite {llvmlite.__version__}, LLVM {llvm.llvm_version_info}"
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), compiler


@functools.cache
def _target_machine(cpu: str, features: str) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=2)


def compile_ir(ir: str, cpu: str, features: str) -> bytes:
    """An object file. No optimisation passes run: the text is written as it should be. Raises RuntimeError."""
    import llvmlite.binding as llvm

    machine = _target_machine(cpu, features)
    module = llvm.parse_assembly(ir)
    module.verify()
    return bytes(machine.emit_object(module))


def plain_code(code: bytes) -> bytes | None:
    """The machine code of an ELF object that is all there is to it: one function, no constants, nothing to link."""
    import llvmlite.binding as llvm

    if not code.startswith(b"\x7fELF"):
        return None
    sections = {section.name() or b"": section.data() for section in llvm.ObjectFileRef.from_data(code).sections()}
    if any(name.startswith((b".rel", b".rodata", b".data", b".bss")) for name in sections):
        return None
    texts = [bytes(data) for name, data in sections.items() if name in (b".text", b".ltext") and data]
    return texts[0] if len(texts) == 1 else None


@functools.cache
def _linker() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_lljit_compiler()


def link(code: bytes) -> int:
    """The address of `kernel` in an object file, loaded into this process. Raises RuntimeError."""
    import llvmlite.binding as llvm

    library = llvm.JITLibraryBuilder().add_object_img(code).export_symbol("kernel")
    tracker = library.link(_linker(), f"kernel{next(_numbers)}")
    _keep.append(tracker)
    return int(tracker["kernel"])
