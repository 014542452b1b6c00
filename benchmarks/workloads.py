"""What is measured: networks as plain lists of layers, their parameters, batches and FLOPs, the same for every library.

A library's module in peers/ builds its own network from the list, with the parameters that are drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["LEARNING_RATE", "NETS", "Affine", "Conv", "Net", "Workload", "batches", "parameters", "pictures"]

# Adam's arithmetic is the same at any rate; with one this small a thousand steps on ten batches do not learn them by
# heart, after which the gradients would be denormal numbers, which are slow in all libraries but not equally.
LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Conv:
    """C to FN channels by filters of size x size."""

    C: int
    FN: int
    size: int
    stride: int = 1
    pad: int = 0


@dataclass(frozen=True)
class Affine:
    """D inputs (pictures are flattened, channels first) to M outputs."""

    D: int
    M: int


@dataclass(frozen=True)
class Net:
    """layers: Conv, Affine, "relu", "pool" (2x2 maximum, stride 2) or "dropout" (half of the values)."""

    title: str
    shape: tuple[int, int, int]
    layers: tuple[Conv | Affine | str, ...]

    def places(self) -> Iterator[tuple[Conv | Affine | str, tuple[int, ...]]]:
        """Each layer with the shape (without N) of its output."""
        shape: tuple[int, ...] = self.shape
        for layer in self.layers:
            if isinstance(layer, Conv):
                shape = (layer.FN, *((n + 2 * layer.pad - layer.size) // layer.stride + 1 for n in shape[1:]))
            elif isinstance(layer, Affine):
                shape = (layer.M,)
            elif layer == "pool":
                shape = (shape[0], shape[1] // 2, shape[2] // 2)
            yield layer, shape

    def flops(self, backward: str = "") -> int:
        """Of one sample, a multiplication and an addition counting 2.

        backward: "" for forward alone, "parameters" with all gradients but the input's, "all" with the input's too.
        """
        total = 0
        first = True
        for layer, shape in self.places():
            if isinstance(layer, str):
                continue
            own = 2 * (layer.C * layer.size**2 if isinstance(layer, Conv) else layer.D) * math.prod(shape)
            total += own * (1 if not backward else 2 if first and backward == "parameters" else 3)
            first = False
        return total


def _deep() -> tuple[Conv | Affine | str, ...]:
    layers: list[Conv | Affine | str] = []
    C = 1
    for i, (FN, pad) in enumerate(((16, 1), (16, 1), (32, 1), (32, 2), (64, 1), (64, 1))):
        layers += [Conv(C, FN, 3, 1, pad), "relu", *(["pool"] if i % 2 else [])]
        C = FN
    return (*layers, Affine(1024, 50), "relu", "dropout", Affine(50, 10), "dropout")


NETS: dict[str, Net] = {
    "simple": Net(
        "SimpleConvNet",
        (1, 28, 28),
        (Conv(1, 30, 5), "relu", "pool", Affine(4320, 100), "relu", Affine(100, 10)),
    ),
    "deep": Net("DeepConvNet", (1, 28, 28), _deep()),
    "conv64": Net("conv 64->64 3x3, 32x32", (64, 32, 32), (Conv(64, 64, 3, 1, 1),)),
    "conv128": Net("conv 128->128 3x3, 16x16", (128, 16, 16), (Conv(128, 128, 3, 1, 1),)),
    "conv7x7": Net("conv 3->64 7x7 stride 2, 224x224", (3, 224, 224), (Conv(3, 64, 7, 2, 3),)),
}

_TASKS = {
    "train": "training step (forward, backward, Adam)",
    "inference": "inference",
    "both": "forward and backward, input's gradient too",
}


@dataclass(frozen=True)
class Workload:
    """task: "train" (a step with Adam), "inference", or "both" (forward and backward of one layer). net: of NETS."""

    task: str
    net: Net
    batch: int

    @property
    def title(self) -> str:
        return f"{self.net.title}, {_TASKS[self.task]}, batch {self.batch}"

    @property
    def flops(self) -> int:
        """Of one iteration."""
        backward = {"train": "parameters", "inference": "", "both": "all"}[self.task]
        return self.batch * self.net.flops(backward)


def parameters(net: Net, seed: int = 0) -> dict[str, np.ndarray]:
    """W1, b1, W2, ... in float32, drawn as He et al. 2015 do; W: (FN, C, FH, FW) or (D, M)."""
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for layer in net.layers:
        if isinstance(layer, str):
            continue
        if isinstance(layer, Conv):
            shape: tuple[int, ...] = (layer.FN, layer.C, layer.size, layer.size)
            fan_in, units = math.prod(shape[1:]), layer.FN
        else:
            shape, fan_in, units = (layer.D, layer.M), layer.D, layer.M
        number = len(found) // 2 + 1
        found[f"W{number}"] = rng.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(2.0 / fan_in))
        found[f"b{number}"] = np.zeros(units, dtype=np.float32)
    return found


def pictures(net: Net, N: int, seed: int = 1) -> np.ndarray:
    """(N, C, H, W) float32 in 0..1, four fifths of them 0 as in MNIST's pictures."""
    rng = np.random.default_rng(seed)
    x = rng.random((N, *net.shape), dtype=np.float32)
    x[rng.random(x.shape, dtype=np.float32) < 0.8] = 0.0
    return x


def batches(workload: Workload, count: int = 10) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures and what belongs to them: labels int64 (N,), or for "both" the output's gradient (N, FN, OH, OW)."""
    *_, (_, out) = workload.net.places()
    found = []
    for seed in range(1 if workload.task == "both" else count):
        rng = np.random.default_rng([2, seed])
        if workload.task == "both":
            t = rng.standard_normal((workload.batch, *out), dtype=np.float32)
        else:
            t = rng.integers(0, out[0], workload.batch)
        found.append((pictures(workload.net, workload.batch, seed), t))
    return found
