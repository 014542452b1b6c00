"""The cache of machine code: used when whole, healed when damaged, never needed; and the switch."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import xpcnn.ops.cpu.compiled as room
from xpcnn.errors import XpcnnError
from xpcnn.ops.cpu.compiled import cache, llvm, native
from xpcnn.ops.cpu.compiled.blocking import Shape
from xpcnn.ops.cpu.compiled.elementwise import unpool_ir
from xpcnn.ops.cpu.compiled.forward import forward_ir
from xpcnn.ops.cpu.compiled.grad_w import grad_w_ir
from xpcnn.ops.cpu.compiled.host import Host, this_host
from xpcnn.ops.cpu.compiled.ir import Function

llvmlite = pytest.importorskip(
    "llvmlite.binding", reason="the compiled kernels need llvmlite (extra fast)", exc_type=ImportError
)

ROOT = str(Path(room.__file__).parents[4])
TYPES = ["ptr", "float"]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="code is mapped from its file on Linux only")


def doubling() -> str:
    """A small kernel: stores twice its number."""
    f = Function("kernel", TYPES)
    f.store("float", f.let(f"fadd float {f.args[1]}, {f.args[1]}"), f.args[0])
    return f.text("nounwind")


def doubled(value: float) -> float:
    """As in a new process, as far as this one's memory of kernels goes."""
    native._functions.clear()
    out = np.zeros(1, np.float32)
    native.compiled(doubling(), TYPES, this_host())(out.ctypes.data, value)
    return float(out[0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, not made yet."""
    this_host()  # kept in memory from here on, so that only kernels' files appear
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "xpcnn" / "kernels")
    monkeypatch.setattr(native, "_functions", {})
    return tmp_path / "xpcnn" / "kernels"


def refuse(*_: object, **__: object) -> object:
    raise RuntimeError("this was not to be called")


def test_the_second_time_nothing_is_compiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubled(21.0) == 42.0
    assert [path.suffix for path in folder.iterdir()] == [".kernel"]  # and no temporary file left
    monkeypatch.setattr(llvm, "compile_ir", refuse)
    assert doubled(4.0) == 8.0


@linux_only
def test_the_second_time_nothing_is_linked_either(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm, "link", refuse)
    assert doubled(21.0) == 42.0
    assert doubled(4.0) == 8.0


def test_where_files_may_not_be_run_llvm_links_and_objects_are_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache on a disk mounted noexec, or a system other than Linux."""

    def forbidden(*_: object, **__: object) -> object:
        raise PermissionError(1, "Operation not permitted")

    assert doubled(1.0) == 2.0
    monkeypatch.setattr(mmap, "mmap", forbidden)
    assert doubled(3.0) == 6.0
    (path,) = folder.iterdir()
    kept = cache.read(path)
    assert kept is not None
    assert kept[0] == cache.OBJECT
    monkeypatch.setattr(llvm, "compile_ir", refuse)
    assert doubled(4.0) == 8.0


@linux_only
def test_a_file_replaced_between_reading_and_mapping_is_not_run(folder: Path) -> None:
    doubled(1.0)
    (path,) = folder.iterdir()
    kept = cache.read(path)
    assert kept is not None
    assert native._map(path, kept[1])
    assert native._map(path, kept[1] + b"\x90") is None


def test_other_text_processor_or_compiler_is_another_file(folder: Path) -> None:
    this = this_host()
    others = [
        this,
        this._replace(cpu="x86-64" if this.cpu != "x86-64" else "generic"),
        this._replace(features=""),
        this._replace(compiler="llvmlite 0.0"),
    ]
    for host in others:
        native.compiled(doubling(), TYPES, host)
    native.compiled(doubling() + "\n", TYPES, this)
    assert len(list(folder.iterdir())) == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:40],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\x7fELF" + data[4:],
        lambda data: data[:15] + cache.OBJECT + data[16:],
        lambda data: data[:70] + bytes([data[70] ^ 1]) + data[71:],
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
    ],
    ids=["empty", "no header", "cut short", "longer", "magic", "kind", "a bit of the code", "a bit of the checksum"],
)
def test_a_damaged_file_is_compiled_anew_and_healed(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    doubled(1.0)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.unlink()  # a new file: the old one is mapped, and runs on as it was
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    assert doubled(3.0) == 6.0
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_or_read_is_no_error(folder: Path) -> None:
    """A file in the place of the folder; then a folder in the place of the file. (Root may write read-only ones.)"""
    folder.parent.mkdir()
    folder.write_text("")
    assert doubled(1.0) == 2.0
    folder.unlink()
    this = this_host()
    cache.path_for(".kernel", doubling(), this.cpu, this.features, this.compiler).mkdir(parents=True)
    assert doubled(2.0) == 4.0


def test_a_read_only_folder_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "open", forbidden)  # what atomic_write makes files with
    assert doubled(5.0) == 10.0
    assert list(folder.iterdir()) == []


PROCESS = """
import sys
from pathlib import Path
import numpy as np
from xpcnn.ops.cpu.compiled import ConvKernels, available, cache
cache.cache_folder = lambda: Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
assert available()
for FN in (3, 16, 33):
    x, w = np.ones((1, 5, 9, 2), "f"), np.ones((3, 3, 2, FN), "f")
    out, index, dw = np.empty((1, 1, 3, FN), "f"), np.empty((1, 1, 3, FN), "B"), np.zeros_like(w)
    kernels = ConvKernels(2, FN, 3, 3, IW=9)
    kernels.forward_pool(x, w, None, out, index)
    kernels.grad_w(x, np.ones((1, 3, 7, FN), "f"), dw)
    assert (out == 18.0).all() and (index == 0).all() and (dw == 21.0).all()
print("llvmlite" in sys.modules)
"""


def processes(folder: Path, count: int) -> list[tuple[str, int]]:
    """What so many processes say, started on the kernels within a moment of each other."""
    command = [sys.executable, "-c", PROCESS, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = [subprocess.Popen(command, text=True, cwd=ROOT, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    return [(process.communicate(timeout=60)[0].strip(), process.returncode) for process in running]


def test_two_processes_at_once_fill_one_cache_and_a_third_never_loads_llvm(folder: Path) -> None:
    assert processes(folder, 2) == [("True", 0)] * 2
    files = sorted(folder.iterdir())
    described = [".host"] if Path("/proc/cpuinfo").exists() else []
    assert sorted(path.suffix for path in files) == described + [".kernel"] * 7
    assert all(cache.read(path) for path in files)
    assert processes(folder, 1) == [("False" if sys.platform == "linux" else "True", 0)]


@linux_only
def test_a_described_machine_is_not_described_again_unless_the_file_is_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = this_host.__wrapped__()
    assert here == this_host()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert this_host.__wrapped__() == here
    assert path.read_bytes() == whole
    monkeypatch.setattr(llvm, "describe_host", refuse)
    assert this_host.__wrapped__() == here


def test_what_llvm_refuses_is_a_compile_error(folder: Path) -> None:
    with pytest.raises(room.CompileError, match="LLVM could not make a kernel"):
        native.compiled("this is no IR", [], this_host())
    assert issubclass(room.CompileError, XpcnnError)
    assert not folder.exists()


@pytest.fixture
def unknown_host(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing known of this machine yet, in memory or cache."""
    monkeypatch.delenv("XPCNN_COMPILED", raising=False)
    monkeypatch.setattr("xpcnn.ops.cpu.compiled.kernels.this_host", this_host.__wrapped__)
    monkeypatch.setattr(room, "_trial", room._trial.__wrapped__)
    return monkeypatch


def test_it_is_available_and_can_be_switched_off(unknown_host: pytest.MonkeyPatch) -> None:
    assert room.available()
    assert room.why_not() == ""
    unknown_host.setenv("XPCNN_COMPILED", "0")
    assert not room.available()
    assert "XPCNN_COMPILED=0" in room.why_not()


def test_a_missing_or_old_llvmlite_is_said(unknown_host: pytest.MonkeyPatch) -> None:
    import llvmlite as package

    unknown_host.setattr(package, "__version__", "0.44.0")
    assert "llvmlite 0.44.0 is too old" in room.why_not()
    for name in ("llvmlite", "llvmlite.binding"):
        unknown_host.setitem(sys.modules, name, None)
    assert "pip install 'xpcnn[fast]'" in room.why_not()
    assert not room.available()


def test_importing_the_room_imports_no_llvm() -> None:
    code = "import sys, xpcnn.ops.cpu.compiled; print('llvmlite' in sys.modules, 'platformdirs' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("triple", "host", "register"),
    [
        ("aarch64-apple-darwin", Host("apple-m1", "", 4, 32), "fmla.4s"),
        ("aarch64-unknown-linux-gnu", Host("neoverse-n1", "", 4, 32), "fmla"),
        ("x86_64-unknown-linux-gnu", Host("haswell", "", 8, 16), "ymm"),
        ("x86_64-unknown-linux-gnu", Host("skylake-avx512", "", 16, 32), "zmm"),
        ("x86_64-unknown-linux-gnu", Host("x86-64", "", 4, 16), "xmm"),
    ],
    ids=["apple-m1", "neoverse-n1", "haswell", "skylake-avx512", "x86-64"],
)
def test_other_processors_get_their_own_vectors_and_code_that_needs_no_linker(
    triple: str, host: Host, register: str
) -> None:
    llvmlite.initialize_all_targets()
    llvmlite.initialize_all_asmprinters()
    try:
        target = llvmlite.Target.from_triple(triple)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite makes no code for {triple}: {error}")
    machine = target.create_target_machine(cpu=host.cpu, features=host.features, opt=2)
    shape = Shape(16, 37, 3, 3, 1, 1, 16)
    texts = [forward_ir(shape, host, store) for store in ("relu", "pool", "mask")]
    for text in (*texts, grad_w_ir(shape, host), unpool_ir(shape.FN, host, relu=True)):
        module = llvmlite.parse_assembly(text)
        module.triple = triple
        assembly = machine.emit_assembly(module)
        assert assembly.count(register) >= 24 or "fmuladd" not in text
        assert not any(line.split()[:1] in (["call"], ["callq"], ["bl"]) for line in assembly.splitlines())
        plain = llvm.plain_code(machine.emit_object(module)) is not None
        if "linux" not in triple:
            assert not plain
        elif llvmlite.llvm_version_info[0] >= 22:  # older ones put a mask of the AVX2 pooling kernel apart
            assert plain
