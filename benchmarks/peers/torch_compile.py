"""PyTorch with torch.compile: module and loop as in eager, compiled by Inductor, which needs a C++ compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workloads import Workload

from peers import torch_eager
from peers.torch_eager import versions

__all__ = ["build", "first_epoch", "versions"]


def build(workload: Workload, threads: int) -> Callable[[], Any]:
    return torch_eager.build(workload, threads, compiled=True)


def first_epoch(folder: str, threads: int) -> float:
    return torch_eager.first_epoch(folder, threads, compiled=True)
