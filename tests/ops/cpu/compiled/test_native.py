"""The cache of object code: used when whole, healed when damaged, never needed; and the switch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xpcnn.ops.cpu.compiled as room
from xpcnn.errors import XpcnnError

pytest.importorskip("llvmlite", reason="the compiled kernels need llvmlite (extra fast)")

from xpcnn.ops.cpu.compiled import native
from xpcnn.ops.cpu.compiled.blocking import Shape
from xpcnn.ops.cpu.compiled.forward import forward_ir
from xpcnn.ops.cpu.compiled.grad_w import grad_w_ir
from xpcnn.ops.cpu.compiled.host import Host, this_host
from xpcnn.ops.cpu.compiled.ir import Function

pytestmark = pytest.mark.skipif(bool(room.why_not()), reason=room.why_not())

TYPES = ["ptr", "float"]


def doubling() -> str:
    """A kernel of its own: stores twice its number."""
    f = Function("kernel", TYPES)
    f.store("float", f.let(f"fadd float {f.args[1]}, {f.args[1]}"), f.args[0])
    return f.text("nounwind")


def doubled(value: float) -> float:
    """Through a fresh process, as far as this module's memory goes."""
    native._functions.clear()
    out = np.zeros(1, np.float32)
    native.compiled(doubling(), TYPES, this_host())(out.ctypes.data, value)
    return float(out[0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, not made yet."""
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path / "xpcnn" / "kernels")
    monkeypatch.setattr(native, "_functions", {})
    return tmp_path / "xpcnn" / "kernels"


def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise RuntimeError("the compiler was called")

    monkeypatch.setattr(native, "_compile", refuse)


def test_the_second_process_does_not_compile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubled(21.0) == 42.0
    assert [path.suffix for path in folder.iterdir()] == [".o"]  # and no temporary file left
    no_compiler(monkeypatch)
    assert doubled(4.0) == 8.0


def test_other_text_processor_or_version_is_another_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite

    this = this_host()
    paths = [
        native._cached_path(doubling(), this),
        native._cached_path(doubling() + " ", this),
        native._cached_path(doubling(), this._replace(cpu="generic")),
        native._cached_path(doubling(), this._replace(features=this.features + ",+sse")),
    ]
    monkeypatch.setattr(llvmlite, "__version__", "0.0.1")
    paths.append(native._cached_path(doubling(), this))
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\x7fELF" + data,
        lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
    ],
    ids=["empty", "cut short", "longer", "other magic", "a bit of the code", "a bit of the checksum"],
)
def test_a_damaged_file_is_compiled_anew_and_healed(
    folder: Path, damage: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubled(1.0)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))  # type: ignore[operator]
    assert doubled(3.0) == 6.0
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_or_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the place of the folder; a folder in the place of the file. (Root may write read-only folders.)"""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path / "file" / "kernels")
    assert doubled(1.0) == 2.0
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path)
    native._cached_path(doubling(), this_host()).mkdir()
    assert doubled(2.0) == 4.0


def test_a_read_only_folder_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "open", refuse)
    assert doubled(5.0) == 10.0
    assert list(folder.iterdir()) == []


PROCESS = """
import sys
from pathlib import Path
import numpy as np
from xpcnn.ops.cpu.compiled import ConvKernels, native
native.cache_folder = lambda: Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for FN in (3, 16, 33):
    x, w, out = np.ones((1, 5, 9, 2), "f"), np.ones((3, 3, 2, FN), "f"), np.empty((1, 3, 7, FN), "f")
    ConvKernels(2, FN, 3, 3, IW=9).forward(x, w, None, out)
    assert (out == 18.0).all()
print("done")
"""


def test_two_processes_at_once_fill_one_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", PROCESS, str(folder)]
    root = str(Path(room.__file__).parents[4])
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    results = []
    for process in both:  # both wait for this line: they start within a moment of each other
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        results.append((process.communicate(timeout=60)[0], process.returncode))
    assert results == [("done\n", 0)] * 2
    assert sorted(path.suffix for path in folder.iterdir()) == [".o"] * 3
    assert all(native._read(path) for path in folder.iterdir())


def test_what_llvm_refuses_is_a_compile_error(folder: Path) -> None:
    with pytest.raises(room.CompileError, match="LLVM could not make a kernel"):
        native.compiled("this is no IR", [], this_host())
    assert issubclass(room.CompileError, XpcnnError)


def test_the_switch_and_a_missing_llvmlite_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XPCNN_COMPILED", raising=False)
    assert room.available()
    assert room.why_not() == ""
    monkeypatch.setenv("XPCNN_COMPILED", "0")
    assert not room.available()
    assert "XPCNN_COMPILED=0" in room.why_not()
    monkeypatch.setenv("XPCNN_COMPILED", "1")
    for name in ("llvmlite", "llvmlite.binding"):
        monkeypatch.setitem(sys.modules, name, None)
    room._trial.cache_clear()
    assert "xpcnn[fast]" in room.why_not()
    monkeypatch.undo()
    room._trial.cache_clear()
    assert room.available()


def test_importing_the_room_imports_no_llvm() -> None:
    code = "import sys, xpcnn.ops.cpu.compiled; print('llvmlite' in sys.modules, 'platformdirs' in sys.modules)"
    root = str(Path(room.__file__).parents[4])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("triple", "host", "word", "least"),
    [
        ("aarch64-apple-darwin", Host("apple-m1", "", 4, 32), "fmla", 24),
        ("x86_64-unknown-linux-gnu", Host("haswell", "", 8, 16), "ymm", 24),
        ("x86_64-unknown-linux-gnu", Host("skylake-avx512", "", 16, 32), "zmm", 24),
        ("x86_64-unknown-linux-gnu", Host("x86-64", "", 4, 16), "xmm", 24),
    ],
    ids=lambda value: value.cpu if isinstance(value, Host) else "",
)
def test_other_processors_get_their_own_vectors_and_no_library_calls(
    triple: str, host: Host, word: str, least: int
) -> None:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite makes no code for {triple}: {error}")
    machine = target.create_target_machine(cpu=host.cpu, features=host.features, opt=2)
    shape = Shape(16, 32, 3, 3, 1, 1, 16)
    for ir in (*(forward_ir(shape, host, store) for store in ("relu", "pool", "mask")), grad_w_ir(shape, host)):
        module = llvm.parse_assembly(ir)
        module.triple = triple
        assembly = machine.emit_assembly(module)
        assert assembly.count(word) >= least
        assert not any(line.split()[:1] in (["call"], ["callq"], ["bl"]) for line in assembly.splitlines())
