"""Winograd's two transforms of one tile as IR, for one vector of channels or filters; see xpcnn/ops/cpu/winograd.py.

Rows and columns of 6 numbers belong to the points 0, a, -a, b, -b and infinity, where a * b = 1. What is even in the
point and what is odd are made once for a point and its negative.
"""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.ops.cpu.compiled.ir import Function, Value
from xpcnn.ops.cpu.compiled.microkernel import vector_type
from xpcnn.ops.cpu.winograd import POINTS, TILE

__all__ = ["COEFFICIENTS", "Transforms"]

_A, _B = POINTS
# The kernel reads them from a table: code with constants of its own could not be mapped from a file.
COEFFICIENTS = (_A, _B, _A**2, _B**2, _A**3, _B**3, _A**2 + _B**2)
# Points whose rows are made together, and the pixels they need: one or two at a time, so that few registers do.
_TOGETHER = (((0,), (0, 2, 4)), ((1, 2), (1, 2, 3, 4)), ((3, 4), (1, 2, 3, 4)), ((5,), (1, 3, 5)))


class Transforms:
    """Writes into `f`, in vectors of `lanes`. table: the address of COEFFICIENTS as float32."""

    def __init__(self, f: Function, table: Value, lanes: int) -> None:
        self.f, self.kind, self.lanes = f, vector_type(lanes), lanes
        values = [f.splat(f.load("float", table, 4 * i), lanes) for i in range(len(COEFFICIENTS))]
        self.a, self.b, self.aa, self.bb, self.aaa, self.bbb, self.both = values

    def into(self, x: Value, row: Value | int, pixel: int, v: Value, step: int) -> None:
        """B' d B of 6x6 pixels at x, `row` and `pixel` bytes apart, to 36 places at v, `step` bytes apart."""
        if isinstance(row, int):
            lines, down = [x] * 6, [row * r for r in range(6)]
        else:
            lines, down = [self.f.at(x, self.f.mul(row, r)) for r in range(6)], [0] * 6
        for points, needed in _TOGETHER:
            halfway: list[dict[int, Value]] = []
            for column in range(6):
                d = {r: self.f.load(self.kind, lines[r], down[r] + pixel * column) for r in needed}
                halfway.append(self._at_points(d, points))
            for p in points:
                line = self._at_points({c: halfway[c][p] for c in range(6)}, range(6))
                for q, value in line.items():
                    self.f.store(self.kind, value, v, (6 * p + q) * step)

    def out_of(self, m: Value, step: int) -> list[list[Value]]:
        """The 4x4 outputs A' m A, row by row, of 36 numbers at m, `step` bytes apart."""
        columns = [self._outputs([self.f.load(self.kind, m, (6 * p + q) * step) for p in range(6)]) for q in range(6)]
        return [self._outputs([column[r] for column in columns]) for r in range(TILE)]

    def _at_points(self, d: dict[int, Value], points: Sequence[int]) -> dict[int, Value]:
        """The rows `points` of B' d, for those of the six numbers d that they need."""
        values: dict[int, Value] = {}
        for end in (0, 5):
            if end in points:
                first = end % 2  # the row is d0 - (aa+bb) d2 + d4, or d1 - (aa+bb) d3 + d5
                values[end] = self._minus(self._add(d[first], d[first + 4]), self.both, d[first + 2])
        for plus, point, other in ((1, self.a, self.bb), (3, self.b, self.aa)):
            if plus in points:
                even = self._minus(d[4], other, d[2])
                odd = self._minus(d[3], other, d[1])
                values[plus] = self._plus(even, point, odd)
                values[plus + 1] = self._minus(even, point, odd)
        return values

    def _outputs(self, m: list[Value]) -> list[Value]:
        """A' m, for six numbers m."""
        even_a, odd_a = self._add(m[1], m[2]), self._subtract(m[1], m[2])
        even_b, odd_b = self._add(m[3], m[4]), self._subtract(m[3], m[4])
        return [
            self._add(self._add(m[0], even_a), even_b),
            self._plus(self._multiply(odd_a, self.a), self.b, odd_b),
            self._plus(self._multiply(even_a, self.aa), self.bb, even_b),
            self._plus(self._plus(m[5], self.aaa, odd_a), self.bbb, odd_b),
        ]

    # -- arithmetic --------------------------------------------------------------------------------------------
    def _add(self, x: Value, y: Value) -> Value:
        return self.f.let(f"fadd {self.kind} {x}, {y}")

    def _subtract(self, x: Value, y: Value) -> Value:
        return self.f.let(f"fsub {self.kind} {x}, {y}")

    def _multiply(self, x: Value, y: Value) -> Value:
        return self.f.let(f"fmul {self.kind} {x}, {y}")

    def _plus(self, x: Value, factor: Value, y: Value) -> Value:
        """x + factor * y."""
        kind = self.kind
        return self.f.let(f"call {kind} @llvm.fmuladd.v{self.lanes}f32({kind} {factor}, {kind} {y}, {kind} {x})")

    def _minus(self, x: Value, factor: Value, y: Value) -> Value:
        """x - factor * y."""
        return self._plus(x, self.f.let(f"fneg {self.kind} {factor}"), y)
