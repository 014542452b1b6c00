"""What the processor's vector unit looks like, and how LLVM is told to use all of it."""

from __future__ import annotations

import functools
import importlib.util
import json
import platform
from pathlib import Path
from typing import NamedTuple

from xpcnn.ops.cpu.compiled import cache, llvm

__all__ = ["Host", "this_host"]


class Host(NamedTuple):
    """cpu, features: as LLVM names them; lanes: float32 in one vector register; registers: how many of those.

    compiler: what makes the code, with its versions.
    """

    cpu: str
    features: str
    lanes: int
    registers: int
    compiler: str = ""

    @property
    def attributes(self) -> str:
        """Function attributes. Without them LLVM halves AVX-512 vectors on processors that once clocked down."""
        bits = 32 * self.lanes
        return f'nounwind "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'


@functools.cache
def this_host() -> Host:
    """This machine: from the cache where it has been described before, else from LLVM. Raises CompileError."""
    fingerprint = _fingerprint()
    path = cache.path_for(".host", fingerprint)
    known = cache.read(path) if fingerprint else None
    if known is not None:
        return Host(*json.loads(known[1]))
    cpu, features, compiler = llvm.describe_host()
    host = Host(cpu, features, *_registers(features.split(","), compiler), compiler)
    if fingerprint:
        cache.write(path, b"h", json.dumps(host).encode())
    return host


def _registers(features: list[str], compiler: str) -> tuple[int, int]:
    """Lanes and registers."""
    if {"+avx512f", "+avx512bw", "+avx512vl", "+avx512dq"} <= set(features):
        return 16, 32
    if "+avx" in features:
        return 8, 16
    return 4, 32 if compiler.startswith(("aarch64", "arm64")) else 16


def _fingerprint() -> str:
    """Whatever could change `this_host`, read without loading LLVM; "" where the system does not tell."""
    spec = importlib.util.find_spec("llvmlite")
    if spec is None or spec.origin is None:
        return ""
    try:
        compiler = (Path(spec.origin).parent / "_version.py").read_text("utf-8")
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            first = file.read().partition("\n\n")[0]
    except (OSError, UnicodeDecodeError):
        return ""
    # Of the first core, what tells one model from another: not its number, clock and caches.
    telling = ("vendor", "cpu family", "model", "stepping", "flags", "features", "cpu impl", "cpu arch", "cpu part")
    lines = [line for line in first.splitlines() if line.lower().startswith(telling)]
    return "\n".join([platform.machine(), compiler, *lines]) if lines else ""
