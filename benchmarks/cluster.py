"""A model of data-parallel training on many processes: how long a step takes, from a few measured or given numbers.

A step is each process's pass (forward and backward) over its part of the batch, the sums of all gradients, and the
optimizer's update. The sums' costs follow R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of Collective
Communication Operations in MPICH", 2005: a message of n bytes takes latency + n / bandwidth, and all processes send and
receive at once. Not in it: waiting for the slowest process, links that the processes of a host share, and switches
that cannot carry all links at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xpcnn.layers import Affine, Convolution
from xpcnn.network import Network

__all__ = [
    "ALGORITHMS",
    "LINKS",
    "Job",
    "Link",
    "Passes",
    "Ready",
    "Step",
    "allreduce",
    "best_bucket",
    "efficiency",
    "fit_link",
    "into_buckets",
    "ready_by_work",
    "smallest_part",
    "step",
]


@dataclass(frozen=True)
class Link:
    """Between any two processes. latency: seconds a message; bandwidth: bytes/s; adding: bytes/s of adding up."""

    name: str
    latency: float
    bandwidth: float
    adding: float = math.inf


# Given numbers, not measured: about 94 % of the nominal rate; latencies as TCP, RDMA verbs and NCCL usually have them.
LINKS = (
    Link("1 GbE", 50e-6, 0.117e9, 8e9),
    Link("10 GbE", 20e-6, 1.17e9, 8e9),
    Link("100 Gb/s InfiniBand", 2e-6, 11.8e9, 8e9),
    Link("NVLink-like", 3e-6, 350e9, 1e12),
)


def _recursive_doubling(n: float, ranks: int, link: Link) -> float:
    """Everything to a partner twice as far away each time."""
    message = link.latency + n / link.bandwidth
    return _folding(n, ranks, link) + _doublings(ranks) * (message + n / link.adding)


def _recursive_halving(n: float, ranks: int, link: Link) -> float:
    """Rabenseifner's: halves of halves are summed, then gathered the same way back."""
    p = 2 ** _doublings(ranks)
    moved = (p - 1) / p * n
    both = 2 * (_doublings(ranks) * link.latency + moved / link.bandwidth)
    return _folding(n, ranks, link) + both + moved / link.adding


def _ring(n: float, ranks: int, link: Link) -> float:
    """Each passes an n-th of all to its neighbour until all are summed, then until all have them."""
    moved = (ranks - 1) / ranks * n
    return 2 * ((ranks - 1) * link.latency + moved / link.bandwidth) + moved / link.adding


def _doublings(ranks: int) -> int:
    return ranks.bit_length() - 1


def _folding(n: float, ranks: int, link: Link) -> float:
    """Those beyond a power of two give their numbers to another before, and get the sum after."""
    if ranks & (ranks - 1) == 0:
        return 0.0
    return 2 * (link.latency + n / link.bandwidth) + n / link.adding


ALGORITHMS = {
    "recursive doubling": _recursive_doubling,
    "recursive halving": _recursive_halving,
    "ring": _ring,
}


def allreduce(n: float, ranks: int, link: Link, algorithm: str | None = None) -> float:
    """Seconds to sum n bytes over all ranks, to all of them; by the fastest algorithm where none is named."""
    if ranks == 1:
        return 0.0
    ways = ALGORITHMS.values() if algorithm is None else [ALGORITHMS[algorithm]]
    return min(way(n, ranks, link) for way in ways)


@dataclass(frozen=True)
class Ready:
    """Gradients of so many bytes that are there when this share of the pass (1: all of it) is still to be done."""

    bytes: float
    left: float


def into_buckets(ready: Sequence[Ready], size: float) -> list[Ready]:
    """Layers' gradients, in the order in which they come, in buckets of at least `size` bytes but for the last.

    As executors/exchange.py makes them.
    """
    found: list[Ready] = []
    gathered, left = 0.0, 1.0
    for layer in ready:
        gathered, left = gathered + layer.bytes, min(left, layer.left)
        if gathered >= size:
            found.append(Ready(gathered, left))
            gathered = 0.0
    return [*found, Ready(gathered, left)] if gathered else found


def ready_by_work(net: Network) -> list[Ready]:
    """When each layer's gradients are there if a pass takes as long as its multiplications, backward twice forward."""
    layers = []
    for node in net.nodes.values():
        params = node.layer.params
        if params:
            products = 0
            if isinstance(node.layer, Convolution | Affine):
                positions = math.prod(node.shape[1:]) if isinstance(node.layer, Convolution) else 1
                products = params["W"].size * positions
            layers.append((sum(a.nbytes for a in params.values()), products))
    total = sum(products for _, products in layers)
    left, found = 2 / 3, []
    for size, products in reversed(layers):
        left -= 2 / 3 * products / total
        found.append(Ready(float(size), max(0.0, left)))
    return found


@dataclass(frozen=True)
class Passes:
    """Seconds of a pass by the number of samples: straight lines between those known, in proportion beyond them."""

    seconds: Mapping[int, float]

    def __call__(self, samples: float) -> float:
        if samples <= 0:
            return 0.0
        known = sorted(self.seconds)
        if samples >= known[-1]:
            return self.seconds[known[-1]] * samples / known[-1]
        return float(np.interp(samples, known, [self.seconds[n] for n in known]))


@dataclass(frozen=True)
class Job:
    """What one process has to do. ready: by layer, the last layer first. update: seconds of the optimizer."""

    name: str
    passes: Passes
    update: float
    ready: tuple[Ready, ...]

    @property
    def bytes(self) -> float:
        """Of all gradients."""
        return sum(layer.bytes for layer in self.ready)


@dataclass(frozen=True)
class Step:
    """Seconds: of the whole step, of calculating, of all sums together, and of waiting for them."""

    seconds: float
    calculating: float
    sums: float
    waiting: float


def step(
    job: Job, ranks: int, batch: int, link: Link, bucket: float, beside: bool, algorithm: str | None = None
) -> Step:
    """One step of the rank with the largest part of the batch.

    beside: whether sums go on while the pass does (NCCL, a network card, an MPI with a thread of its own). Else they
    are made when it is over, as where the processor itself moves the bytes.
    """
    passing = job.passes(-(-batch // ranks))
    end = sums = 0.0  # when the last sum ended; they go one after the other
    for part in into_buckets(job.ready, bucket):
        cost = allreduce(part.bytes, ranks, link)
        begin = passing * (1 - part.left) if beside else passing
        end = max(end, begin) + cost
        sums += cost
    waiting = max(0.0, end - passing) if ranks > 1 else 0.0
    return Step(passing + waiting + job.update, passing + job.update, sums, waiting)


def efficiency(
    job: Job, ranks: int, batch: int, link: Link, bucket: float, beside: bool, reference: int = 100
) -> float:
    """Samples/s of all ranks, over `ranks` times those of one process alone with batches of `reference`."""
    alone = reference / (job.passes(reference) + job.update)
    return batch / step(job, ranks, batch, link, bucket, beside).seconds / (ranks * alone)


def best_bucket(job: Job, ranks: int, batch: int, link: Link, sizes: Sequence[float], beside: bool) -> float:
    """Which of the sizes gives the shortest step; the largest of those within a thousandth of it."""
    times = {size: step(job, ranks, batch, link, size, beside).seconds for size in sizes}
    return max(size for size, seconds in times.items() if seconds <= 1.001 * min(times.values()))


def smallest_part(
    job: Job, ranks: int, link: Link, bucket: float, beside: bool, wanted: float = 0.8, reference: int = 100
) -> int | None:
    """The fewest samples a rank with which that efficiency is reached, to a tenth; None where 100,000 do not do."""
    part = 1
    while part <= 100_000:
        if efficiency(job, ranks, part * ranks, link, bucket, beside, reference) >= wanted:
            return part
        part += max(1, part // 10)
    return None


def fit_link(name: str, seconds: Mapping[int, float]) -> tuple[Link, float]:
    """The link that explains sums over two ranks, seconds by bytes, best; and its largest error relative to them.

    Between two, a sum is one exchange: latency + n / bandwidth, the adding included in the bandwidth.
    """
    n, t = (np.array(values, dtype=float) for values in zip(*seconds.items(), strict=True))
    rows = np.stack([1 / t, n / t], axis=1)  # relative errors count, else the largest sums would decide alone
    latency, each = np.linalg.lstsq(rows, np.ones(len(t)), rcond=None)[0]
    if latency < 0:
        latency, each = 0.0, float(np.sum(n / t) / np.sum((n / t) ** 2))
    if each <= 0:
        latency, each = float(np.sum(1 / t) / np.sum(1 / t**2)), 0.0
    error = float(np.abs((latency + n * each) / t - 1).max())
    return Link(name, float(latency), 1 / float(each) if each else math.inf), error
