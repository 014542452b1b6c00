"""From the text of a .cu file to a shared library (or a program) made by g++, kept by the hash of all it depends on."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHIM = Path(__file__).with_name("shim")
_FLAGS = ["-std=c++17", "-O1", "-fno-strict-aliasing", "-ffp-contract=off", "-Wno-unknown-pragmas"]
SANITIZERS = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
# Words that make the threads of a block wait for each other.
_WAITS = re.compile(r"fake::(?:barrier|exchange|shuffle|ballot|reduce_add)\b")
_KERNEL = re.compile(r"__global__\s+(?:__attribute__\S*\s+)?void\s+(\w+)\s*\(")
_DYNAMIC_SHARED = re.compile(
    r"extern\s+__shared__\s+((?:__align__\s*\(\s*\d+\s*\)\s*)?)([\w:]+(?:\s+\w+)*?)\s+(\w+)\s*\[\s*\]\s*;"
)


class CompileError(Exception):
    """What g++ says of a kernel's text."""


@functools.cache
def compiler() -> str | None:
    """The C++ compiler, or None where there is none. The shim is written for Linux's linker."""
    return shutil.which(os.environ.get("CXX", "g++")) if sys.platform == "linux" else None


@functools.cache
def folder() -> Path:
    """Where built kernels lie: a folder of this user's in the temporary folder, which nobody else may write to."""
    path = Path(tempfile.gettempdir()) / f"fake_cupy-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o022:
        path = Path(tempfile.mkdtemp(prefix="fake_cupy-"))
    return path


@functools.cache
def _own_text() -> str:
    return "".join(path.read_text() for path in (Path(__file__), *sorted(SHIM.iterdir())))


def _with_dynamic_shared(text: str) -> str:
    """`extern __shared__ float a[];` names memory whose size the launch says: a pointer here, on the same line."""
    return _DYNAMIC_SHARED.sub(r"\2* const \3 = reinterpret_cast<\2*>(fake::dynamic_shared);", text)


def _run(arguments: list[str], text: str) -> str:
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompileError(done.stderr.strip())
    return done.stdout


def _options(options: tuple[str, ...]) -> list[str]:
    """NVRTC's options as g++ understands them; those about the device's code mean nothing here."""
    kept = []
    for option in options:
        if option.startswith(("-D", "-I", "-U", "--define-macro=")):
            kept.append(option.replace("--define-macro=", "-D"))
        elif not re.match(
            r"--?(use_fast_math|std=c\+\+(11|14|17|20)|lineinfo|fmad=|ftz=|prec-div=|prec-sqrt=|maxrregcount=|default-device"
            r"|extra-device-vectorization|restrict|arch=|gpu-architecture=)",
            option,
        ):
            raise CompileError(f"the double does not know the compiler option {option!r}")
    return kept


def _bodies(text: str) -> dict[str, str]:
    """The functions of preprocessed text: name and body (overloads together)."""
    found: dict[str, str] = {}
    for match in re.finditer(r"\b(\w+)\s*\([^;{}]*\)\s*\{", text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        found[match[1]] = found.get(match[1], "") + text[match.end() : end]
    return found


def _reach(bodies: dict[str, str], name: str) -> set[str]:
    """The function itself and those of the text that it calls, directly or not."""
    reached, todo = {name}, [name]
    while todo:
        called = set(re.findall(r"\b(\w+)\s*(?:<[^;()]*>)?\s*\(", bodies.get(todo.pop(), "")))
        new = (called & bodies.keys()) - reached
        reached |= new
        todo += new
    return reached


def source(code: str) -> str:
    """The text that g++ gets: the shim, then the kernel's own lines under their own numbers."""
    return f'#include "cuda_shim.h"\n#line 1 "kernel.cu"\n{_with_dynamic_shared(code)}\n'


def _bounds(preprocessed: str, name: str) -> int:
    found = re.search(rf"__launch_bounds__\s*\(\s*(\d+)[^)]*\)[^;{{}}()]*\b{name}\s*\(", preprocessed)
    return int(found[1]) if found else 1024


def build(code: str, options: tuple[str, ...] = (), expressions: tuple[str, ...] = ()) -> tuple[Path, dict[str, Any]]:
    """The library of a text, and what is known of each kernel: whether its threads wait for each other, how many
    threads its launch bounds allow, its static shared bytes.

    expressions: names such as `kernel<float>` that are wanted besides the kernels which the text declares.
    """
    cxx = compiler()
    assert cxx is not None
    key = json.dumps([code, options, expressions, _FLAGS, _own_text(), cxx])
    base = folder() / hashlib.sha256(key.encode()).hexdigest()[:32]
    facts_file, library = base.with_suffix(".json"), base.with_suffix(".so")
    if facts_file.exists():
        return library, json.loads(facts_file.read_text())
    flags = [*_FLAGS, *_options(options), "-x", "c++", "-I", str(SHIM), "-"]
    seen = _run([cxx, *flags, "-E", "-DFAKE_ONLY_NAMES"], source(code))
    own = "\n".join(seen.split('"kernel.cu"')[1:])
    plain = re.sub(r"__launch_bounds__\s*\([^)]*\)", "", own)
    template = {m[1] for m in re.finditer(r"template\s*<[^;{}]*?>\s*__global__\s+void\s+(\w+)", plain)}
    kernels = [name for name in dict.fromkeys(_KERNEL.findall(plain)) if name not in template]
    wrappers = [(name, name) for name in kernels]
    wrappers += [(f"expression{i}", expression) for i, expression in enumerate(expressions)]
    text = source(code) + '#include "launch.h"\n' + "".join(f"FAKE_KERNEL({s}, {e})\n" for s, e in wrappers)
    partial = base.with_suffix(f".{os.getpid()}.tmp")
    _run([cxx, *flags, "-fPIC", "-shared", "-fno-gnu-unique", "-o", str(partial)], text)
    bodies, shared = _bodies(plain), _shared_bytes(partial)
    facts = {}
    for symbol, expression in wrappers:
        name = re.split(r"[<:]", expression)[0]
        reached = _reach(bodies, name)
        facts[expression] = {
            "symbol": symbol,
            "waits": any(_WAITS.search(bodies.get(n, "")) for n in reached),
            "threads": _bounds(own, name),
            "shared": sum(shared.get(n, 0) for n in reached),
        }
    partial.replace(library)
    facts_partial = base.with_suffix(f".{os.getpid()}.json.tmp")
    facts_partial.write_text(json.dumps(facts))
    facts_partial.replace(facts_file)
    return library, facts


def build_program(code: str, options: tuple[str, ...], expression: str) -> Path:
    """A program that runs one kernel under sanitizers (see sanitize.py)."""
    cxx = compiler()
    assert cxx is not None
    key = json.dumps([code, options, expression, _FLAGS, SANITIZERS, _own_text(), cxx])
    program = folder() / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not program.exists():
        text = (
            source(code)
            + f"""#include "program.h"
FAKE_KERNEL(kernel, {expression})
int main(int, char** words) {{ return fake::run_program(words, fake_run_kernel); }}
"""
        )
        partial = program.with_suffix(f".{os.getpid()}.tmp")
        flags = [*_FLAGS, *SANITIZERS, *_options(options), "-x", "c++", "-I", str(SHIM), "-o", str(partial), "-"]
        _run([cxx, *flags], text)
        partial.replace(program)
    return program


def _shared_bytes(library: Path) -> dict[str, int]:
    """Bytes of static shared memory, by the (mangled) function that declares them."""
    nm = shutil.which("nm")
    if nm is None:
        return {}
    sizes: dict[str, int] = {}
    for line in _run([nm, "-S", "--defined-only", str(library)], "").splitlines():
        # _ZZ5totalE4tile: the static `tile` of the function `total`.
        found = re.fullmatch(r"\w+ (\w+) \w _ZZN?(\d+)(\w+)", line)
        if found is not None:
            owner = found[3][: int(found[2])]
            sizes[owner] = sizes.get(owner, 0) + int(found[1], 16)
    return sizes
