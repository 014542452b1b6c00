"""Not a rival but the yardstick: NumPy's product of two float32 matrices, from whose rate the floor is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import Workload

__all__ = ["FLOPS", "build", "versions"]

SIDE = 1536
FLOPS = 2 * SIDE**3


def versions() -> dict[str, str]:
    return {"numpy": np.__version__}


def build(workload: Workload, threads: int) -> Callable[[], Any]:
    """The product, whatever the workload. BLAS has its threads from the environment."""
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)
