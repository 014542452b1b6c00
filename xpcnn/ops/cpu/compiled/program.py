"""Many kernels in one call: a kernel that goes through a table of kernels and their arguments.

Python takes 1 to 2 µs to hand a kernel its arguments, which for a small layer is as long as its work.

    table   entry 0:  thunk | kernel | argument 0 | argument 1 | ...        8 bytes each
            entry 1:  thunk | kernel | argument 0 | ...

A thunk, one for every list of argument types, takes an entry's arguments from the table and calls its kernel.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpcnn.ops.cpu.compiled.arrays import Bound, Call
from xpcnn.ops.cpu.compiled.host import Host, this_host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.native import compiled

__all__ = ["ENTRY", "joined", "program_ir", "thunk_ir", "write_entry"]

_SLOT = 8
ENTRY = 32 * _SLOT  # bytes
_TYPES: dict[Any, tuple[str, str]] = {  # of IR, and of struct
    ctypes.c_int64: ("i64", "q"),
    ctypes.c_void_p: ("ptr", "P"),
    ctypes.c_float: ("float", "f"),
}


def joined(bounds: Sequence[Bound]) -> Bound:
    """One call that does all of them, one after the other, without returning to Python in between."""
    calls = [call for bound in bounds for call in bound.calls]
    if len(calls) < 2 or not all(map(_fits, calls)):
        return Bound(calls, [tuple(bound.arrays) for bound in bounds])
    host = this_host()
    table = np.zeros(len(calls) * ENTRY, dtype=np.uint8)
    for number, (kernel, arguments) in enumerate(calls):
        write_entry(table, number * ENTRY, kernel, arguments, host)
    return Bound([(_program(host), (table.ctypes.data, len(calls), 0))], (table, *bounds))


def write_entry(table: Any, at: int, kernel: Callable[..., None], arguments: Sequence[Any], host: Host) -> None:
    """Writes a kernel and its arguments into `table` (uint8), ENTRY bytes from `at` on."""
    kinds = [_TYPES[kind] for kind in kernel.argtypes]  # type: ignore[attr-defined]
    thunk = _thunk(tuple(ir for ir, _ in kinds), host)
    struct.pack_into("PP", table.data, at, _address(thunk), _address(kernel))
    for i, ((_, code), value) in enumerate(zip(kinds, arguments, strict=True)):
        struct.pack_into(code, table.data, at + (2 + i) * _SLOT, value)


def _fits(call: Call) -> bool:
    """Whether it is a compiled kernel, of no more arguments than an entry holds."""
    types = getattr(call[0], "argtypes", None)
    return types is not None and len(types) <= ENTRY // _SLOT - 2


def _address(kernel: Callable[..., None]) -> int:
    return ctypes.cast(kernel, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


@functools.cache
def _thunk(types: tuple[str, ...], host: Host) -> Callable[..., None]:
    return compiled(thunk_ir(types), ("ptr", "ptr"), host)


@functools.cache
def _program(host: Host) -> Callable[..., None]:
    return compiled(program_ir(), ("ptr", "i64", "ptr"), host)


def thunk_ir(types: Sequence[str]) -> str:
    """IR of `kernel(entry)`: the entry's kernel, which takes `types`, with the entry's arguments."""
    f = Function("kernel", ["ptr"])
    (entry,) = f.args
    callee = f.load("ptr", entry, _SLOT, align=_SLOT)
    values = [f.load(kind, entry, (2 + i) * _SLOT, align=4) for i, kind in enumerate(types)]
    f.do(f"call void {callee}({', '.join(f'{kind} {value}' for kind, value in zip(types, values, strict=True))})")
    return f.text("nounwind")


def program_ir() -> str:
    """IR of `kernel(table, count)`: all entries in their order; count is 1 or more."""
    f = Function("kernel", ["ptr", "i64"])
    table, count = f.args

    def entry(_: Value, at: list[Value]) -> list[Value]:
        f.do(f"call void {f.load('ptr', at[0], align=_SLOT)}(ptr {at[0]}, ptr %numbers)")
        return [f.at(at[0], ENTRY)]

    f.loop(count, entry, [("ptr", table)])
    return f.text("nounwind")
