"""Where values lie: branches that are joined lie side by side from the start, and memory is used again.

A value is a picture with its channels last, amid a margin as wide as any convolution's pad that reads it; vectors are
pictures of one pixel. Several values may be slices of one Region's channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.inference.rewrite import Op
from xpcnn.graph import INPUT
from xpcnn.layers.base import Shape
from xpcnn.layers.convolution import Convolution

__all__ = ["Layout", "Region", "Value", "laid_out"]

_LINE = 64
_CROWDED = 2048  # bytes from pixel to pixel whose multiples are bad for the caches


@dataclass(eq=False)
class Region:
    """Memory of n pictures, `C` floats from pixel to pixel. first, last: levels between which somebody needs it.

    start: bytes into the arena.
    """

    n: int
    C: int
    H: int
    W: int
    margin: tuple[int, int, int, int] = (0, 0, 0, 0)
    first: int = 2**30
    last: int = -1
    start: int = 0

    @property
    def row(self) -> int:
        return 4 * self.C * (self.W + self.margin[1] + self.margin[3])

    @property
    def image(self) -> int:
        return self.row * (self.H + self.margin[0] + self.margin[2])

    @property
    def bytes(self) -> int:
        return -(-self.n * self.image // _LINE) * _LINE

    def needed(self, level: int) -> None:
        self.first, self.last = min(self.first, level), max(self.last, level)


@dataclass(eq=False)
class Value:
    """A slice of a region's channels. shape: as the network has it."""

    shape: Shape
    region: Region
    offset: int = 0  # in channels

    @property
    def C(self) -> int:
        return self.shape[0] if len(self.shape) == 3 else math.prod(self.shape)

    @property
    def pixel(self) -> int:
        """Floats from one pixel to the next."""
        return self.region.C

    def at(self, arena: int, pad: tuple[int, int] = (0, 0)) -> int:
        """The address of the pixel `pad` rows above and columns left of the first one."""
        r = self.region
        down, right = r.margin[0] - pad[0], r.margin[1] - pad[1]
        return arena + r.start + down * r.row + 4 * (right * r.C + self.offset)

    def view(self, arena: Array) -> Array:
        """(n, *shape), on the memory itself."""
        r = self.region
        size = r.n * r.image
        whole = arena[r.start : r.start + size].view(np.float32).reshape(r.n, -1, r.row // 4 // r.C, r.C)
        top, left = r.margin[:2]
        inner = whole[:, top : top + r.H, left : left + r.W, self.offset : self.offset + self.C]
        if len(self.shape) == 3:
            return inner.transpose(0, 3, 1, 2)
        return inner.reshape(r.n, *self.shape)


@dataclass
class Layout:
    """values: by name. levels: of each op; ops of one level do not depend on each other. size: bytes of the arena."""

    values: dict[str, Value] = field(default_factory=dict)
    levels: dict[Op, int] = field(default_factory=dict)
    copies: dict[Op, list[str]] = field(default_factory=dict)  # inputs of a join that lie elsewhere
    spare: dict[Op, Region] = field(default_factory=dict)  # room that an op wants while it runs
    size: int = 0

    @property
    def regions(self) -> list[Region]:
        seen = {id(v.region): v.region for v in self.values.values()}
        return [*seen.values(), *self.spare.values()]


def laid_out(ops: Sequence[Op], input_shape: Shape, n: int, spare: dict[Op, int]) -> Layout:
    """spare: bytes that an op wants for itself while it runs."""
    layout = Layout()
    shapes = {INPUT: input_shape, **{op.name: op.shape for op in ops}}
    _place(layout, ops, shapes, n)
    made: dict[str, int] = {INPUT: 0}
    for op in ops:
        level = layout.levels[op] = max(made[name] for name in op.inputs) + (0 if _is_free(layout, op) else 1)
        made[op.name] = level
    _widen(layout, ops)
    layout.values[INPUT].region.needed(0)
    for op in ops:
        for name in (*op.inputs, op.name):
            layout.values[name].region.needed(layout.levels[op])
        if spare.get(op):
            region = layout.spare[op] = Region(1, -(-spare[op] // 4), 1, 1)
            region.needed(layout.levels[op])
    layout.values[ops[-1].name].region.needed(2**30)
    layout.size = _pack(layout.regions)
    return layout


def _is_free(layout: Layout, op: Op) -> bool:
    """A join whose inputs all lie where they should is no work at all."""
    return op.kind == "join" and not layout.copies[op]


def _place(layout: Layout, ops: Sequence[Op], shapes: dict[str, Shape], n: int) -> None:
    """Gives every value its region: joins first, from the last to the first, so that joins of joins lie in one."""
    values = layout.values
    for op in reversed(ops):
        if op.kind != "join":
            continue
        if op.name not in values:
            values[op.name] = _own(shapes[op.name], n)
        target, offset = values[op.name], values[op.name].offset
        layout.copies[op] = []
        for name in op.inputs:
            if name in values or name == INPUT:
                layout.copies[op].append(name)
            else:
                values[name] = Value(shapes[name], target.region, offset)
            offset += shapes[name][0]
    for name, shape in shapes.items():
        if name not in values:
            values[name] = _own(shape, n)


def _own(shape: Shape, n: int) -> Value:
    C, H, W = shape if len(shape) == 3 else (math.prod(shape), 1, 1)
    if H * W > 1 and 4 * C % _CROWDED == 0:
        C += _LINE // 4  # else a row's pixels would share a few sets of the first-level cache
    return Value(shape, Region(n, C, H, W))


def _widen(layout: Layout, ops: Sequence[Op]) -> None:
    """Gives each region the margin that the convolutions reading it want."""
    for op in ops:
        if op.kind == "conv":
            assert isinstance(op.layer, Convolution)
            region = layout.values[op.inputs[0]].region
            top, left, bottom, right = map(max, region.margin, op.layer.pad)
            region.margin = (top, left, bottom, right)


def _pack(regions: Sequence[Region]) -> int:
    """Places regions that are needed at once apart from each other, the largest first; the bytes in all."""
    placed: list[Region] = []
    for region in sorted(regions, key=lambda r: -r.bytes):
        beside = [o for o in placed if o.first <= region.last and region.first <= o.last]
        start = 0
        for other in sorted(beside, key=lambda o: o.start):
            if other.start - start >= region.bytes:
                break
            start = max(start, other.start + other.bytes)
        region.start = start
        placed.append(region)
    return max((r.start + r.bytes for r in placed), default=0)
