"""Predictions by a network as a whole: what is kept between them, and how threads go about one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from threading import Lock

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.inference.convolving import by_tiles
from xpcnn.executors.inference.memory import Layout, Value, laid_out
from xpcnn.executors.inference.packing import Packed, digest_calls, pack, spare_bytes, watched, words
from xpcnn.executors.inference.rewrite import Op, rewritten
from xpcnn.executors.inference.sharing import PARTS
from xpcnn.executors.inference.work import Maker
from xpcnn.executors.passage import pieces_of
from xpcnn.graph import INPUT, Node
from xpcnn.layers.base import Context, Layer, Shape
from xpcnn.ops.cpu.compiled.host import Host, this_host
from xpcnn.ops.cpu.compiled.inference.digest import DIGEST
from xpcnn.ops.cpu.compiled.inference.team import Step, Team
from xpcnn.threads import Crew

__all__ = ["WholeNetwork"]

_KEPT = 4  # runs, for as many numbers of samples, that are kept
_ARENA = 2**25  # bytes of values that a piece of a batch should have at most
_FEW, _MANY = 4, 64  # samples in a piece: the weights are read once for these, whatever they take; and at most
_CHUNK = 2**19  # bytes to digest in a chunk
_TRIES = 3


class WholeNetwork:
    """The prediction of float32 scores by compiled kernels. Any number of threads may call `predict` at once."""

    def __init__(self, nodes: Sequence[Node], input_shape: Shape, crew: Crew, host: Host | None = None) -> None:
        self.input_shape, self.crew = input_shape, crew
        self.host = this_host() if host is None else host
        self.ops = rewritten(nodes, input_shape, by_tiles)
        self._layers: list[Layer] = list({id(node.layer): node.layer for node in nodes}.values())
        self.doubtful = False  # whether parameters are likely to have changed: they are looked at before, not beside
        self._packed: Packed | None = None
        self._free: list[_Run] = []  # those not in use
        self._lock = Lock()

    def predict(self, x: Array, threads: int) -> Array:
        """Scores of x, (N, ...), by at most so many threads; their number changes no bit."""
        pieces = pieces_of(slice(0, len(x)), self.piece_size)
        if len(pieces) == 1:
            return self._predict(x, threads)
        return np.concatenate([self._predict(x[piece], threads) for piece in pieces])

    def _predict(self, x: Array, threads: int) -> Array:
        for _ in range(_TRIES):
            packed = self._packed
            if packed is None or not self._same_arrays(packed) or (self.doubtful and not packed.holds(self.host)):
                packed = self._packed = self._pack()
            self.doubtful = False
            run = self._run_for(packed, len(x), threads)
            scores, still = run(x)
            with self._lock:
                self._free.append(run)
            if still:
                break
            self._packed = None  # parameters have been written to since they were packed
        return scores

    @cached_property
    def piece_size(self) -> int:
        """Samples that go through together."""
        return max(_FEW, min(_MANY, _ARENA // max(1, self.layout(1).size)))

    def describe(self) -> list[str]:
        """A line for each op."""
        layout = self.layout(1)
        lines = [f"predictions, as a whole, pieces of at most {self.piece_size} samples:"]
        return lines + [
            f"  {' + '.join(node.name for node in op.nodes)}: {words(op, layout, self.host)}"
            for op in self.ops
            if op.kind != "join" or layout.copies[op]
        ]

    def layout(self, n: int) -> Layout:
        plain = laid_out(self.ops, self.input_shape, n, {})
        spare = {op: spare_bytes(op, plain, n, self.host) for op in self.ops}
        return laid_out(self.ops, self.input_shape, n, spare)

    def _pack(self) -> Packed:
        layout, packed = self.layout(1), Packed(self._parameters())
        for op in self.ops:
            for a in watched(op):
                packed.watch(a)
        packed.digest = packed.digested(self.host)  # before packing: a change in between is then seen the next time
        for op in self.ops:
            made = pack(op, layout, 1, self.host)
            if made is not None:
                packed.arrays[op] = made
        return packed

    def _parameters(self) -> list[Array]:
        return [a for layer in self._layers for named in (layer.params, layer.state) for a in named.values()]

    def _same_arrays(self, packed: Packed) -> bool:
        now = self._parameters()
        return len(now) == len(packed.parameters) and all(a is b for a, b in zip(now, packed.parameters, strict=True))

    def _run_for(self, packed: Packed, n: int, threads: int) -> _Run:
        with self._lock:
            self._free = [run for run in self._free if run.packed is packed][-_KEPT:]
            for run in self._free:
                if (run.n, run.threads) == (n, threads):
                    self._free.remove(run)
                    return run
        return _Run(self, packed, n, threads)


class _Run:
    """All the work of one prediction of n samples, on memory of its own."""

    def __init__(self, network: WholeNetwork, packed: Packed, n: int, threads: int) -> None:
        self.packed, self.n, self.threads, self.crew = packed, n, threads, network.crew
        layout = self.layout = network.layout(n)
        self.x = np.zeros((n, *network.input_shape), np.float32)
        self.arena = np.zeros(layout.size + 128, np.uint8)
        self.arena = self.arena[-self.arena.ctypes.data % 64 :]
        self.digest = np.zeros_like(packed.digest)
        maker = Maker(layout, n, self.arena.ctypes.data, network.host, packed.arrays, max(PARTS, 4 * threads))
        steps, calls = self._levels(network, maker)
        self.parts: list[Team | Callable[[], None]] = []
        pending: list[Step] = []
        for level in range(len(steps)):
            pending += steps[level]
            if calls[level]:
                self.parts += [Team(pending, threads, maker.room, network.host), *calls[level]]
                pending = []
        self.parts.append(Team(pending, threads, maker.room, network.host))
        self.alive = maker.alive
        self.scores: Value = layout.values[network.ops[-1].name]

    def _levels(self, network: WholeNetwork, maker: Maker) -> tuple[list[list[Step]], list[list[Callable[[], None]]]]:
        """Of each level its steps for a team, and what is called afterwards by one thread."""
        layout, ops = self.layout, network.ops
        count = 1 + max(layout.levels.values())
        steps: list[list[Step]] = [[[]] for _ in range(count)]
        calls: list[list[Callable[[], None]]] = [[] for _ in range(count)]
        first = steps[0][0]
        first += self._digesting(network)
        if len(network.input_shape) == 3:
            first += maker.arriving(self.x.ctypes.data, layout.values[INPUT])
        for op in ops:
            level = layout.levels[op]
            if op.kind == "layer":
                calls[level].append(partial(self._by_layer, op))
                continue
            for phase, chunks in enumerate(maker.phases(op)):
                if phase == len(steps[level]):
                    steps[level].append([])
                steps[level][phase] += chunks
        for region in layout.regions:
            if margin := maker.margin(region):
                steps[region.first][0].append(margin)
        return steps, calls

    def _digesting(self, network: WholeNetwork) -> Step:
        calls = digest_calls(self.packed.watched, self.digest, network.host)
        chunks: Step = []
        size = _CHUNK
        for call in calls:
            if size >= _CHUNK:
                chunks.append([])
                size = 0
            chunks[-1].append(call)
            size += call[1][1] * DIGEST
        return chunks

    def _by_layer(self, op: Op) -> None:
        values = self.layout.values
        xs = (values[name].view(self.arena) for name in op.inputs)
        y = values[op.name].view(self.arena)
        np.copyto(y, op.layer.forward_in(Context(False, keep=False), *xs))

    def __call__(self, x: Array) -> tuple[Array, bool]:
        """The scores, in memory of their own, and whether the parameters are still those that were packed."""
        np.copyto(self.x if len(x.shape) == 4 else self.layout.values[INPUT].view(self.arena), x)
        for part in self.parts:
            if isinstance(part, Team):
                part.reset()
                self.crew.run([partial(part.work, thread) for thread in range(part.threads)])
            else:
                part()
        still = self.digest.tobytes() == self.packed.digest.tobytes() and self.packed.copies_hold()
        return self.scores.view(self.arena).copy("K"), still
