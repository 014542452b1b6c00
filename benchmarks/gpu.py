"""Training steps on a GPU: xpcnn beside PyTorch eager, channels-last, torch.compile and CUDA graphs, on the same card.

    python benchmarks/gpu.py                        # needs CuPy, NumPy and PyTorch with CUDA, and a checkout of this
    python benchmarks/gpu.py --nets simple deep --libraries ours ours-half torch --seconds 2

All run in one process, in turns of a fraction of a second, round by round, each beginning with another library; every
turn ends by waiting for the device. Peak memory is what the library's own allocator held at most. The last lines of a
table are the roofline: counted FLOPs and bytes over the rates of a product and a copy measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a bare checkout: nothing needs to be installed

import gpu_nets
from roofline import Card, count_step, least_seconds

import xpcnn
from xpcnn.errors import DeviceError

LIBRARIES = ("ours", "ours-half", "torch", "torch-cl", "torch-compile", "torch-graph")


@dataclass
class Candidate:
    """step: one training step. wait: until the device is done. peak: bytes held at most."""

    name: str
    step: Callable[[], Any]
    wait: Callable[[], Any]
    peak: Callable[[], int]
    seconds: list[float] = field(default_factory=list)  # a step, by turn

    def turn(self, steps: int) -> None:
        self.wait()
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        self.wait()
        self.seconds.append((time.perf_counter() - start) / steps)


def our_candidate(name: str, net_name: str, batch: int, device: str) -> Candidate:
    net = gpu_nets.ours(net_name, device, "float16" if name == "ours-half" else "float32")
    x, t = _data(net_name, batch)
    trainer = xpcnn.Trainer(net, x, t, optimizer="adam", mini_batch_size=batch, verbose=False)
    pair = net.device.asarray(x, net.dtype), net.device.asarray(t)
    pool = getattr(net.device.xp, "get_default_memory_pool", None)
    peak = (lambda: int(pool().total_bytes())) if pool else (lambda: 0)
    return Candidate(name, lambda: trainer.step(*pair), net.device.synchronize, peak)


def torch_candidate(name: str, net_name: str, batch: int, device: str) -> Candidate:
    import torch

    memory = torch.channels_last if name == "torch-cl" else torch.contiguous_format
    module = gpu_nets.torch_module(gpu_nets.ours(net_name, "cpu")).to(device=device, memory_format=memory)
    x, t = (torch.from_numpy(a).to(device) for a in _data(net_name, batch))
    x = x.contiguous(memory_format=memory)
    graph = name == "torch-graph"
    optimizer = torch.optim.Adam(module.parameters(), fused=True, capturable=graph)
    run = torch.compile(module) if name == "torch-compile" else module

    def step() -> None:
        optimizer.zero_grad(set_to_none=not graph)
        torch.nn.functional.cross_entropy(run(x), t).backward()
        optimizer.step()

    on_card = device.startswith("cuda")
    wait = torch.cuda.synchronize if on_card else (lambda: None)
    peak = torch.cuda.max_memory_allocated if on_card else (lambda: 0)
    return Candidate(name, _captured(step) if graph else step, wait, peak)


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    """PyTorch's own recipe: some steps on a side stream, then the capture."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _data(net_name: str, batch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = gpu_nets.NETS[net_name].shape
    return rng.random((batch, *shape), dtype=np.float32), rng.integers(0, 10, batch)


def candidates(names: list[str], net_name: str, batch: int, device: str) -> list[Candidate]:
    """Those that can run here; the others are told of in a line each."""
    found = []
    for name in names:
        make = our_candidate if name.startswith("ours") else torch_candidate
        try:
            candidate = make(name, net_name, batch, device)
            candidate.turn(3)  # compiles, chooses algorithms, fills the memory
        except (ImportError, DeviceError, xpcnn.XpcnnError, RuntimeError, AssertionError) as error:
            first_line, *_ = str(error).splitlines() or [type(error).__name__]
            print(f"{name} is left out: {first_line}", file=sys.stderr)
            continue
        candidate.seconds.clear()
        found.append(candidate)
    return found


def measure(found: list[Candidate], seconds: float, rounds: int) -> None:
    """Turns of seconds/rounds each, interleaved."""
    steps: dict[str, int] = {}
    for turn in range(rounds + 1):
        first = turn % max(1, len(found))
        for candidate in found[first:] + found[:first]:
            if candidate.name not in steps:
                candidate.turn(3)
                steps[candidate.name] = max(1, round(seconds / rounds / candidate.seconds.pop()))
            else:
                candidate.turn(steps[candidate.name])


def measured_card(device: str) -> Card:
    """Rates of a float32 product of 4096x4096 matrices and of a copy of 256 MB, and a launch's cost, on this card."""
    xp_device = xpcnn.get_device(device)
    xp, small = xp_device.xp, device == "cpu"
    n, size = (512, 2**20) if small else (4096, 2**26)
    a, b, c = (xp.ones((n, n), dtype=np.float32) for _ in range(3))
    source, target, little = xp.ones(size, np.float32), xp.ones(size, np.float32), xp.ones(1, np.float32)

    def best(work: Callable[[], Any], times: int) -> float:
        candidate = Candidate("", work, xp_device.synchronize, lambda: 0)
        for _ in range(6):
            candidate.turn(times)
        return min(candidate.seconds)

    product, copy = best(lambda: xp.matmul(a, b, out=c), 5), best(lambda: xp.copyto(target, source), 5)
    launch = best(lambda: xp.add(little, 1.0, out=little), 200)
    return Card(2.0 * n**3 / product, 2.0 * source.nbytes / copy, launch)


def report(net_name: str, batch: int, found: list[Candidate], card: Card) -> None:
    net = gpu_nets.NETS[net_name]
    medians = {c.name: statistics.median(c.seconds) for c in found}
    peer = min((s for name, s in medians.items() if name.startswith("torch")), default=None)
    print(f"\n#### {net.title}, training step, batch {batch}")
    print("| | median ms | min ms | images/s | / PyTorch's best | peak MB |\n|---|--:|--:|--:|--:|--:|")
    for c in found:
        ratio = f"{medians[c.name] / peer:.2f}" if peer else ""
        least, rate = 1e3 * min(c.seconds), batch / medians[c.name]
        print(
            f"| {c.name} | {1e3 * medians[c.name]:.3f} | {least:.3f} | {rate:,.0f} | {ratio} | {c.peak() / 1e6:.0f} |"
        )
    count = count_step(gpu_nets.ours(net_name, "cpu"), batch)
    times = least_seconds(count, card)
    words = ", ".join(f"{why} {1e3 * s:.3f} ms" for why, s in times.items())
    print(f"\nRoofline: {count.flops / 1e9:.2f} GFLOP, {count.bytes / 1e6:,.0f} MB, {count.launches} launches: {words}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", nargs="+", choices=tuple(gpu_nets.NETS), default=list(gpu_nets.NETS))
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try the script (%(default)s)")
    parser.add_argument("--batch", type=int, help="in place of each network's own batches")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each library and network (%(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="turns in which they are spent (%(default)s)")
    arguments = parser.parse_args()
    try:
        card = measured_card(arguments.device)
    except DeviceError as error:
        sys.exit(f"no GPU to measure on: {error}")
    print(f"{_about(arguments.device)}\n{card.flops / 1e12:.2f} TFLOP/s, {card.bytes / 1e9:,.0f} GB/s, ", end="")
    print(f"{1e6 * card.launch:.1f} us a launch")
    for name in arguments.nets:
        for batch in (arguments.batch,) if arguments.batch else gpu_nets.NETS[name].batches:
            found = candidates(arguments.libraries, name, batch, arguments.device)
            measure(found, arguments.seconds, arguments.rounds)
            report(name, batch, found, card)


def _about(device: str) -> str:
    """The card, and the versions."""
    xp = xpcnn.get_device(device).xp
    words = [f"xpcnn {xpcnn.__version__}", f"{xp.__name__} {xp.__version__}"]
    if device != "cpu":
        properties = xp.cuda.runtime.getDeviceProperties(xpcnn.get_device(device).index)
        words.insert(0, properties["name"].decode())
        words.append(f"CUDA runtime {xp.cuda.runtime.runtimeGetVersion()}")
    return ", ".join(words)


if __name__ == "__main__":
    main()
