"""An affine layer for a few samples as a compiled kernel: the weights stream by once, the sums stay in registers.

With so few rows the weights cost more to read than to multiply, and BLAS does each row's sums from memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xpcnn.errors import ShapeError
from xpcnn.ops.cpu.compiled.arrays import Bound, Call, flat
from xpcnn.ops.cpu.compiled.blocking import lanes_for, vector_cut
from xpcnn.ops.cpu.compiled.host import Host, this_host
from xpcnn.ops.cpu.compiled.ir import NUMBERS, Function, Value
from xpcnn.ops.cpu.compiled.microkernel import stepping, vector_type
from xpcnn.ops.cpu.compiled.native import compiled
from xpcnn.ops.cpu.compiled.stores import STORES

__all__ = ["AffineKernels", "affine_ir"]

Float = NDArray[np.float32]

_ROWS = 3  # samples at a time: with 100 outputs and AVX-512, 21 sums in registers
_TYPES = ("ptr", "ptr", "ptr", "float", "ptr", "ptr")
_NUMBERS = np.arange(NUMBERS, dtype=np.int32)


@functools.cache
def _kernel(D: int, M: int, channels: int, rows: int, host: Host) -> Callable[..., None]:
    return compiled(affine_ir(D, M, channels, rows, host), _TYPES, host)


class AffineKernels:
    """x @ W + b, and ReLU, for float32: D inputs, M outputs.

    Every sum is added up in the order of W's rows, starting from the bias: a sample's result does not depend on its
    batch. Raises ShapeError for an array that does not fit, CompileError where LLVM is missing or refuses.
    """

    def __init__(self, D: int, M: int, *, host: Host | None = None) -> None:
        if min(D, M) < 1:
            raise ShapeError(f"an affine layer needs sizes of 1 and more; got D={D}, M={M}")
        self.D, self.M = D, M
        self.host = this_host() if host is None else host
        self._no_bias = np.zeros(M, dtype=np.float32)

    def forward(self, x: Float, W: Float, b: Float | None, y: Float, relu: bool = False, channels: int = 1) -> Bound:
        """y (n, M) = x @ W + b; then max(., 0) if relu. Does it, and returns it as a call that does it again.

        x: (n, D); W: (D, M); b: (M,) or None; all C-contiguous. channels: x's rows are pictures with their channels
        last, W's are for channels first: what is row c*P + p of W meets element p*channels + c of x.
        """
        D, M = self.D, self.M
        if channels < 1 or D % channels:
            raise ShapeError(f"{D} inputs are no pictures of {channels} channels")
        n = len(x)
        bias = self._no_bias if b is None else b
        x_at, w_at, b_at = flat("x", x, (n, D)), flat("W", W, (D, M)), flat("b", bias, (M,))
        y_at = flat("y", y, (n, M), write=True)
        blocks = -(-n // _ROWS)
        calls: list[Call] = []
        for i in range(blocks):
            first, last = n * i // blocks, n * (i + 1) // blocks
            kernel = _kernel(D, M, channels, last - first, self.host)
            floor = 0.0 if relu else -np.inf
            places = (x_at + 4 * D * first, w_at, b_at, floor, y_at + 4 * M * first)
            calls.append((kernel, (*places, _NUMBERS.ctypes.data)))
        call = Bound(calls, (x, W, bias, y))
        call()
        return call


def affine_ir(D: int, M: int, channels: int, rows: int, host: Host) -> str:
    """IR of `kernel(x, W, b, floor, y)`: y = max(x @ W + b, floor) for `rows` samples.

    The block of sums is that of microkernel.py: scalar[i] is sample i's input, the vectors are a row of W. W is gone
    through row by row, and x, which lies in the first-level cache, in whatever steps that takes.
    """
    lanes = lanes_for(M, host.lanes)
    vectors, pixels = -(-M // lanes), D // channels
    most = max(Q for Q in range(1, host.registers) if rows * Q + Q + 1 < host.registers)
    groups = -(-vectors // most)
    outputs, offsets = vector_cut(M, lanes, -(-vectors // groups))
    vector_offsets = [4 * offset for offset in offsets]
    kind, save = vector_type(lanes), STORES["relu"]

    f = Function("kernel", _TYPES[:-1])
    x, w, b, floor_, y = f.args
    floor = f.splat(floor_, lanes)

    def group(j: Value, _: list[Value]) -> list[Value]:
        first = f.mul(outputs.start(f, j), 4)
        w_group, b_group, y_group = f.at(w, first), f.at(b, first), f.at(y, first)
        bias = [f.load(kind, b_group, offset) for offset in vector_offsets]

        def channel(c: Value, sums: list[Value]) -> list[Value]:
            x_at, w_at = f.at(x, f.mul(c, 4)), f.at(w_group, f.mul(c, 4 * M * pixels))
            samples = [4 * D * i for i in range(rows)]
            return stepping(f, pixels, sums, (x_at, 4 * channels), samples, (w_at, 4 * M), vector_offsets, lanes)

        sums = f.loop(channels, channel, [(kind, start) for start in bias * rows])
        for i in range(rows):
            for q, offset in enumerate(offsets):
                save(f, lanes, [sums[i * len(offsets) + q]], floor, y_group, y_group, M * i + offset)
        return []

    f.loop(outputs.count, group)
    return f.text(host.attributes)
