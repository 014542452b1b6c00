"""A digest of an array's bytes at the speed of memory: whether parameters are what they were, without a copy of them.

64 lanes of 32 bits take every 64th number each: h = factor * h + x, then h ^= h >> 15, both of which can be undone, so
that a change of one number always changes its lane. Where several of a lane's numbers change, it stays the same once in
4 thousand million times; the shift is for highest bits: without it two changed signs would undo each other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.native import compiled

__all__ = ["DIGEST", "FACTOR", "digest_kernel"]

DIGEST = 256  # bytes of a digest
FACTOR = 0x01000193
_LANES = 16
_SHIFT = 15
_TYPES = ("i64", "i64", "i64", "ptr", "ptr")


@functools.cache
def digest_kernel(host: Host) -> Callable[..., None]:
    """kernel(FACTOR, whole blocks of 256 bytes, further numbers of 4 bytes, from, to)."""
    f = Function("kernel", _TYPES)
    factor_, blocks, rest, source, target = f.args
    kind, vectors = f"<{_LANES} x i32>", DIGEST // (4 * _LANES)
    one_factor = f.let(f"trunc i64 {factor_} to i32")  # an argument: code must have no constants of its own
    one_place = f.load("i32", f.at("%numbers", 4 * _SHIFT))
    factor, places = f.splat(one_factor, _LANES, "i32"), f.splat(one_place, _LANES, "i32")
    for v in range(vectors):
        f.store(kind, factor, target, 4 * _LANES * v)

    def block(_: Value, at: list[Value]) -> list[Value]:
        here, *sums = at
        new = []
        for v, total in enumerate(sums):
            value = f.load(kind, here, 4 * _LANES * v)
            new.append(_mixed(f, kind, total, factor, value, places))
        return [f.at(here, DIGEST), *new]

    after, *sums = f.loop_or_none(blocks, block, [("ptr", source), *((kind, factor) for _ in range(vectors))])
    for v, total in enumerate(sums):
        f.store(kind, total, target, 4 * _LANES * v)

    def one(_: Value, at: list[Value]) -> list[Value]:
        mixed = _mixed(f, "i32", f.load("i32", at[1]), one_factor, f.load("i32", at[0]), one_place)
        f.store("i32", mixed, at[1])
        return [f.at(p, 4) for p in at]

    f.loop_or_none(rest, one, [("ptr", after), ("ptr", target)])
    return compiled(f.text(host.attributes), (*_TYPES, "ptr"), host)


def _mixed(f: Function, kind: str, total: Value, factor: Value, value: Value, places: Value) -> Value:
    """The next state of a lane, or of a vector of them."""
    product = f.let(f"mul {kind} {total}, {factor}")
    new = f.let(f"add {kind} {product}, {value}")
    return f.let(f"xor {kind} {new}, {f.let(f'lshr {kind} {new}, {places}')}")
