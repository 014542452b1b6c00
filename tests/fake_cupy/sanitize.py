"""Kernels under AddressSanitizer and UndefinedBehaviorSanitizer: each launch in a program of its own.

with installed() as cupy, sanitized():
    ...                                # every RawKernel launch in here
"""

from __future__ import annotations

import functools
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.fake_cupy import build, launching
from tests.fake_cupy.array import ndarray
from tests.fake_cupy.memory import Memory

_OPTIONS = {"ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


class SanitizerError(RuntimeError):
    """What a sanitizer found in a kernel."""


@contextmanager
def sanitized() -> Iterator[None]:
    """Inside the block, launches run under the sanitizers; SanitizerError tells what they find."""
    if not available():
        import pytest

        pytest.skip("no g++ with -fsanitize=address,undefined here")
    with launching.running_by(_run):
        yield


@functools.cache
def available() -> bool:
    """True where g++ has the sanitizers and what it builds with them runs."""
    if build.compiler() is None:
        return False
    try:
        program = build.build_program('extern "C" __global__ void nothing() {}', (), "nothing")
    except build.CompileError:
        return False
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "in"
        into.write_bytes(struct.pack("<6IQ2iII", 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0))
        return _start(program, into, Path(folder) / "out").returncode == 0


def _start(program: Path, into: Path, out: Path) -> subprocess.CompletedProcess[str]:
    words = [str(program), str(into), str(out)]
    return subprocess.run(words, env={**os.environ, **_OPTIONS}, capture_output=True, text=True, check=False)


def _stretches(arrays: list[tuple[int, Any]]) -> tuple[list[tuple[Memory, int, int]], dict[int, tuple[int, int]]]:
    """Stretches of memory (allocation, start, end), arrays that overlap in one; and for each argument its stretch and
    its offset in it."""
    spans = []
    for i, a in arrays:
        start = a.data._offset if isinstance(a, ndarray) else a._offset
        # What lies behind a bare address is whatever its allocation still holds.
        size, memory = (a.nbytes, a._memory) if isinstance(a, ndarray) else (a.mem.size - start, a.mem)
        spans.append((memory, start, start + size, i))
    spans.sort(key=lambda span: (id(span[0]), span[1], span[2]))
    stretches: list[tuple[Memory, int, int]] = []
    places = {}
    for memory, start, end, i in spans:
        if stretches and stretches[-1][0] is memory and start < stretches[-1][2]:
            stretches[-1] = (memory, stretches[-1][1], max(end, stretches[-1][2]))
        else:
            stretches.append((memory, start, end))
        places[i] = (len(stretches) - 1, start - stretches[-1][1])
    return stretches, places


def _run(
    library: Any,
    facts: dict[str, Any],
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    shared_mem: int,
    arguments: launching.Arguments,
) -> None:
    expression = next(e for e, f in library.facts.items() if f is facts)
    program = build.build_program(library.code, library.options, expression)
    stretches, places = _stretches(_with_memory(arguments))
    told = [struct.pack("<6IQ2iI", *grid, *block, shared_mem, int(facts["waits"]), launching.order(), len(stretches))]
    for memory, start, end in stretches:
        told += [struct.pack("<QQ", end - start, (memory.ptr + start) % 256), memory.bytes[start:end].tobytes()]
    told.append(struct.pack("<I", len(arguments.values)))
    for i, value in enumerate(arguments.values):
        which, offset = places.get(i, (-1, 0))
        bytes_ = struct.pack("<Q", offset) if which >= 0 else value.tobytes()
        told.append(struct.pack("<i", which) + bytes_.ljust(16, b"\0"))
    with tempfile.TemporaryDirectory() as folder:
        into, out = Path(folder) / "in", Path(folder) / "out"
        into.write_bytes(b"".join(told))
        done = _start(program, into, out)
        if done.returncode == 4:
            raise launching.KernelError(f"kernel {expression}: {done.stderr.strip()}")
        if done.returncode != 0:
            raise SanitizerError(f"kernel {expression}: {_essence(done.stderr)}")
        result = np.frombuffer(out.read_bytes(), np.uint8)
    at = 0
    for memory, start, end in stretches:
        memory.bytes[start:end] = result[at : at + end - start]
        at += end - start


def _with_memory(arguments: launching.Arguments) -> list[tuple[int, Any]]:
    """The arguments that point to something: an empty array's address is 0."""
    found = []
    for i, a in arguments.arrays:
        if (a._memory if isinstance(a, ndarray) else a.mem).size and (not isinstance(a, ndarray) or a.size):
            found.append((i, a))
    return found


def _essence(words: str) -> str:
    """A report's own lines: what happened, and where in the kernel's text."""
    lines = [line.strip() for line in words.splitlines()]
    kept = [
        line for line in lines if "runtime error" in line or "ERROR: AddressSanitizer" in line or "kernel.cu:" in line
    ]
    return "\n".join(kept[:6]) or words[-2000:]
