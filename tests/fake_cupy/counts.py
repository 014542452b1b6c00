"""What the double counts: copies between host and device, waits, allocations, launches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Amount:
    """How often something happened, and how many bytes it was about."""

    number: int = 0
    bytes: int = 0

    def add(self, nbytes: int) -> None:
        self.number += 1
        self.bytes += nbytes


@dataclass
class Counts:
    """Everything counted since the double was made, or within `with counts.watch() as seen`.

    host_to_device, device_to_host: copies. allocations: new device arrays (views are none). syncs: waits of the
    host, by cause ("get", "float", "nonzero", "Stream.synchronize", ...). launches: RawKernel launches by kernel
    name. operations: CuPy's own device operations by name; each is at least one launch on a card. matmuls: those
    of the operations that cuBLAS does. collectives: NCCL's operations over several processes by name, each of which
    is a launch; collected: the bytes that this process brought to them.
    """

    host_to_device: Amount = field(default_factory=Amount)
    device_to_host: Amount = field(default_factory=Amount)
    allocations: Amount = field(default_factory=Amount)
    syncs: Counter[str] = field(default_factory=Counter)
    launches: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    matmuls: int = 0
    collectives: Counter[str] = field(default_factory=Counter)
    collected: Amount = field(default_factory=Amount)

    def __post_init__(self) -> None:
        self._watchers: list[Counts] = []

    @contextmanager
    def watch(self) -> Iterator[Counts]:
        """Counts of its own for what happens inside the block."""
        seen = Counts()
        self._watchers.append(seen)
        try:
            yield seen
        finally:
            self._watchers = [w for w in self._watchers if w is not seen]

    # ----------------------------------------------------------------------------------- what the double reports
    def upload(self, nbytes: int) -> None:
        for c in (self, *self._watchers):
            c.host_to_device.add(nbytes)

    def download(self, nbytes: int) -> None:
        for c in (self, *self._watchers):
            c.device_to_host.add(nbytes)

    def allocate(self, nbytes: int) -> None:
        for c in (self, *self._watchers):
            c.allocations.add(nbytes)

    def sync(self, cause: str) -> None:
        for c in (self, *self._watchers):
            c.syncs[cause] += 1

    def launch(self, kernel: str) -> None:
        for c in (self, *self._watchers):
            c.launches[kernel] += 1

    def operation(self, name: str) -> None:
        for c in (self, *self._watchers):
            c.operations[name] += 1

    def collect(self, name: str, nbytes: int) -> None:
        for c in (self, *self._watchers):
            c.collectives[name] += 1
            c.collected.add(nbytes)

    def multiplied(self) -> None:
        for c in (self, *self._watchers):
            c.matmuls += 1


counts = Counts()
