"""Winograd's convolution by compiled kernels, called with NumPy arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcnn.errors import ShapeError
from xpcnn.ops.cpu.compiled.arrays import INDEX, NOTHING, NUMBERS_AT, Bound, Place, flat, place
from xpcnn.ops.cpu.compiled.host import Host, this_host
from xpcnn.ops.cpu.compiled.native import compiled
from xpcnn.ops.cpu.compiled.winograd_ir import Plan, Tiling, plan_for, winograd_ir
from xpcnn.ops.cpu.compiled.winograd_transforms import COEFFICIENTS
from xpcnn.ops.cpu.winograd import TILE, transform_filters

__all__ = ["WinogradKernels"]

Float = NDArray[np.float32]
Index = NDArray[np.uint8]

_TABLE = np.array(COEFFICIENTS, dtype=np.float32)
_LINE = 64  # bytes of a cache line: vectors of V and M should not lie across two
_TYPES = ("i64", "ptr", "i64", "ptr", "ptr", "float", *("ptr", "i64", "i64") * 2, "ptr", "ptr", "ptr", "ptr")


@functools.cache
def _kernel(tiling: Tiling, host: Host, few: bool, store: str) -> Callable[..., None]:
    plan = plan_for(tiling._replace(pool=False), host, few)
    return compiled(winograd_ir(tiling, host, plan, store), _TYPES, host)


class WinogradKernels:
    """3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3), for float32 NHWC pictures of one padded size.

    C channels, FN filters, IH x IW padded pixels; at least 4x4 outputs, pooled ones counted in whole windows. As with
    ConvKernels, arrays called "strided" may be the interior of a padded buffer, calls come back as `Bound`, threads
    may share an object, and equal calls give equal bits. Raises ShapeError and CompileError as those do.

    room: scratch of `room(N)` floats, of one call at a time.
    """

    def __init__(self, C: int, FN: int, IH: int, IW: int, *, host: Host | None = None) -> None:
        if min(C, FN) < 1 or min(IH, IW) < TILE + 2:
            raise ShapeError(
                f"Winograd needs channels, filters and {TILE + 2}x{TILE + 2} padded pixels or more; got C={C}, FN={FN} "
                f"and {IH}x{IW}"
            )
        self.C, self.FN, self.IH, self.IW = C, FN, IH, IW
        self.host = this_host() if host is None else host
        self._no_bias = np.zeros(FN, dtype=np.float32)

    def room(self, N: int) -> int:
        """Floats of scratch for N pictures: bounded, however many and however large they are."""
        plan = self._plan(N)
        return 9 * (plan.step(self.C) + plan.step(self.FN)) + _LINE // 4

    def pack(self, W: Float) -> Float:
        """Filters (FN, C, 3, 3) as the kernels read them: transformed, (36, groups, C, filters in a group)."""
        U = transform_filters(W)
        cut = self._plan(2).filters
        starts = [min(i * cut.size, cut.length - cut.size) for i in range(cut.count)]
        return np.ascontiguousarray(np.stack([U[:, :, s : s + cut.size] for s in starts], axis=1), dtype=np.float32)

    def forward(self, x: Float, u: Float, b: Float | None, out: Float, room: Float, relu: bool = False) -> Bound:
        """out = x convolved with the filters packed in u, + b; then max(., 0) if relu.

        x: (N, IH, IW, C), rows one after another; b: (FN,) or None; out: (N, IH-2, IW-2, FN), strided.
        """
        out_at = place("out", out, (len(x), self.IH - 2, self.IW - 2, self.FN), write=True)
        return self._run("relu", x, u, b, relu, out_at, NOTHING, room, (out,))

    def forward_pool(
        self, x: Float, u: Float, b: Float | None, out: Float, index: Index, room: Float, relu: bool = True
    ) -> Bound:
        """As `forward`, keeping the largest of every 2x2 outputs (stride 2), and in index which it was (0..3).

        out: (N, (IH-2)//2, (IW-2)//2, FN), strided; index: the same in uint8. Of equal sums the first wins, but what
        is equal in exact arithmetic need not be equal here: two places of a tile are rounded differently.
        """
        shape = (len(x), (self.IH - 2) // 2, (self.IW - 2) // 2, self.FN)
        out_at = place("out", out, shape, write=True)
        index_at = place("index", index, shape, INDEX, write=True)
        return self._run("pool", x, u, b, relu, out_at, index_at, room, (out, index))

    def forward_masked(self, x: Float, u: Float, out: Float, mask_y: Float, room: Float) -> Bound:
        """As `forward` without bias and ReLU, 0 where mask_y (of out's shape, strided) is not above 0."""
        shape = (len(x), self.IH - 2, self.IW - 2, self.FN)
        out_at, mask_at = place("out", out, shape, write=True), place("mask_y", mask_y, shape)
        return self._run("mask", x, u, None, False, out_at, mask_at, room, (out, mask_y))

    def _run(
        self, store: str, x: Any, u: Any, b: Any, relu: bool, out: Place, other: Place, room: Any, arrays: Any
    ) -> Bound:
        N, plan = len(x), self._plan(len(x))
        at = place("x", x, (N, self.IH, self.IW, self.C))
        if N and at.row != 4 * self.IW * self.C:
            raise ShapeError(f"x's rows must lie one after another, {4 * self.IW * self.C} bytes apart, not {at.row}")
        u_at = flat("u", u, (36, plan.filters.count, self.C, plan.filters.size))
        bias = self._no_bias if b is None else b
        b_at = flat("b", bias, (self.FN,))
        v_at = -(-flat("room", room, (self.room(N),), write=True) // _LINE) * _LINE
        m_at = v_at + 36 * plan.step(self.C)
        if N == 0:
            return Bound([], ())
        tiling = Tiling(self.C, self.FN, self.IH, self.IW, store == "pool")
        kernel = _kernel(tiling, self.host, N == 1, store)
        numbers = (0.0 if relu else -np.inf, *out, *other, v_at, m_at, _TABLE.ctypes.data, NUMBERS_AT)
        arguments = (N * tiling.tiles, at.address, at.image, u_at, b_at, *numbers)
        call = Bound([(kernel, arguments)], (*arrays, x, u, bias, room))
        call()
        return call

    def _plan(self, N: int) -> Plan:
        # One for all stores, so that they share weights and room: pooling leaves out an odd rest, a tile or two.
        return plan_for(Tiling(self.C, self.FN, self.IH, self.IW, False), self.host, N == 1)
