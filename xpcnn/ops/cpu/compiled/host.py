"""What the processor's vector unit looks like, and how LLVM is told to use all of it."""

from __future__ import annotations

import functools
from typing import NamedTuple

__all__ = ["Host", "this_host"]


class Host(NamedTuple):
    """cpu, features: as LLVM names them; lanes: float32 in one vector register; registers: how many of those."""

    cpu: str
    features: str
    lanes: int
    registers: int

    @property
    def attributes(self) -> str:
        """Function attributes. Without them LLVM halves AVX-512 vectors on processors that once clocked down."""
        bits = 32 * self.lanes
        return f'nounwind "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'


@functools.cache
def this_host() -> Host:
    """This machine. Imports llvmlite."""
    import llvmlite.binding as llvm

    found = llvm.get_host_cpu_features()
    names = {name for name, has in found.items() if has}
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= names:
        lanes, registers = 16, 32
    elif "avx2" in names or "avx" in names:
        lanes, registers = 8, 16
    elif llvm.get_process_triple().startswith(("aarch64", "arm64")):
        lanes, registers = 4, 32
    else:
        lanes, registers = 4, 16
    return Host(llvm.get_host_cpu_name(), found.flatten(), lanes, registers)
