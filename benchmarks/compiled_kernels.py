"""How fast the run-time compiled kernels are: GFLOP/s of one thread, beside NumPy's matrix product of equal work.

    python benchmarks/compiled_kernels.py            # all kernels, a few seconds
    python benchmarks/compiled_kernels.py --compile  # compile times: an empty cache, then a full one, in new processes

Each number is the best of many calls, on buffers of one piece of a batch as the executor would hand over. The matrix
product multiplies the unfolded windows (not counting the unfolding), so it is what an im2col convolution cannot beat.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: one thread against one thread

import numpy as np

from xpcnn.ops.cpu.compiled import ConvKernels, why_not
from xpcnn.ops.cpu.compiled.grad_x import GradX

# network and layer, images in a piece, (C, FN, FH, FW, stride), height = width of the padded input
SHAPES = [
    ("SimpleConvNet conv1", 10, (1, 30, 5, 5, 1), 28),
    ("DeepConvNet conv1", 10, (1, 16, 3, 3, 1), 30),
    ("DeepConvNet conv2", 10, (16, 16, 3, 3, 1), 30),
    ("DeepConvNet conv3", 10, (16, 32, 3, 3, 1), 16),
    ("DeepConvNet conv4", 10, (32, 32, 3, 3, 1), 18),
    ("DeepConvNet conv5", 10, (32, 64, 3, 3, 1), 10),
    ("DeepConvNet conv6", 10, (64, 64, 3, 3, 1), 10),
    ("64->64, 32x32", 2, (64, 64, 3, 3, 1), 34),
    ("128->128, 16x16", 4, (128, 128, 3, 3, 1), 18),
    ("3->64 7x7/2, 224x224", 1, (3, 64, 7, 7, 2), 230),
    ("64->128 3x3/2, 32x32", 2, (64, 128, 3, 3, 2), 34),
    ("6->16 5x5 (LeNet)", 10, (6, 16, 5, 5, 1), 14),
    ("48->40 3x3, 15x15", 5, (48, 40, 3, 3, 1), 17),
]
TRAINED = {"SimpleConvNet": SHAPES[:1], "DeepConvNet": SHAPES[1:7]}


def best(call: Callable[[], object], budget: float = 0.08) -> float:
    """Seconds of the fastest of as many calls as the budget holds: other programs only ever add time."""
    call()
    fastest, end = float("inf"), time.perf_counter() + budget
    while (start := time.perf_counter()) < end:
        call()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def gradient_of_input(sizes: tuple[int, int, int, int, int], width: int, OW: int) -> GradX:
    """As if half a window of the padded input were pad on every side."""
    C, FN, FH, FW, stride = sizes
    size = (width - FH // 2 * 2, width - FW // 2 * 2)
    return GradX(C, FN, (FH, FW), (stride, stride), (FH // 2, FW // 2), size, (OW, OW))


def measure(N: int, sizes: tuple[int, int, int, int, int], width: int) -> dict[str, float]:
    """GFLOP/s by kernel; GB/s written for those that only move."""
    C, FN, FH, FW, stride = sizes
    rng = np.random.default_rng(0)
    kernels = ConvKernels(C, FN, FH, FW, stride, stride, IW=width)
    OW = OH = kernels.OW

    def random(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    x, w, b, out = random(N, width, width, C), random(FH, FW, C, FN), random(FN), random(N, OH, OW, FN)
    pooled, g, dw, db = random(N, OH // 2, OW // 2, FN), random(N, OH, OW, FN), np.zeros_like(w), np.zeros_like(b)
    index = np.zeros(pooled.shape, np.uint8)
    grad_x = gradient_of_input(sizes, width, OW)
    g_padded, flipped, dx = random(N, *grad_x.g_size, FN), random(w.size), random(N, *grad_x.size, C)
    left, right = random(N * OH * OW, C * FH * FW), random(C * FH * FW, FN)
    product = np.empty((len(left), FN), np.float32)

    work = 2e-9 * N * OH * OW * C * FH * FW * FN
    return {
        "matmul": work / best(lambda: np.matmul(left, right, out=product)),
        "forward": work / best(kernels.forward(x, w, b, out, relu=True)),
        "pool": work / best(kernels.forward_pool(x, w, b, pooled, index)),
        "grad_w": work / best(kernels.grad_w(x, g, dw)),
        "grad_x": work / best(grad_x(g_padded, flipped, dx, dx * 1.0)),
        "unpool": 1e-9 * out.nbytes / best(kernels.unpool_relu(pooled, index, pooled, out)),
        "bias": 1e-9 * g.nbytes / best(kernels.bias_grad(g, db)),
    }


def compile_all() -> None:
    """Seconds to have every kernel of a training step, by network."""
    start = time.perf_counter()
    if reason := why_not():
        sys.exit(reason)
    print(f"  LLVM loaded and tried: {time.perf_counter() - start:.3f} s")
    for network, layers in TRAINED.items():
        start = time.perf_counter()
        for i, (_, _, (C, FN, FH, FW, stride), width) in enumerate(layers):
            last = network == "SimpleConvNet" or i % 2 == 1
            methods = ["forward_pool", "unpool_relu"] if last else ["forward"]
            kernels = ConvKernels(C, FN, FH, FW, stride, stride, IW=width)
            kernels.prepare(*methods, "grad_w", "bias_grad")
            if C > 1:
                gradient_of_input((C, FN, FH, FW, stride), width, kernels.OW).prepare()
        print(f"  {network}: {time.perf_counter() - start:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="GFLOP/s and compile times of the run-time compiled kernels")
    parser.add_argument("--compile", action="store_true", help="compile times instead of speed")
    parser.add_argument("--compile-here", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.compile_here:
        compile_all()
    elif chosen.compile:
        with tempfile.TemporaryDirectory() as folder:
            for title in ("empty cache", "full cache"):
                print(title, flush=True)
                environment = {**os.environ, "XDG_CACHE_HOME": folder}
                subprocess.run([sys.executable, __file__, "--compile-here"], env=environment, check=True)
    elif reason := why_not():
        sys.exit(reason)
    else:
        print(f"{'GFLOP/s, one thread':24}{'matmul':>8}{'forward':>8}{'+pool':>8}{'grad_w':>8}{'grad_x':>8}", end="")
        print(f"{'unpool':>8}{'bias':>8}  (GB/s)")
        for name, N, sizes, width in SHAPES:
            print(f"{name:24}" + "".join(f"{rate:8.1f}" for rate in measure(N, sizes, width).values()), flush=True)


if __name__ == "__main__":
    main()
