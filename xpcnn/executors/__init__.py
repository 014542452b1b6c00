"""How a batch goes through a network; layers do not know which way was taken."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xpcnn.device import CudaDevice, Device
from xpcnn.executors.cpu import CpuExecutor
from xpcnn.executors.eager import EagerExecutor
from xpcnn.graph import Node
from xpcnn.layers.base import Shape
from xpcnn.layers.loss import Loss

__all__ = ["CpuExecutor", "EagerExecutor", "make_executor"]


def make_executor(
    nodes: Mapping[str, Node],
    input_shape: Shape,
    loss: Loss,
    seed: int,
    device: Device,
    dtype: np.dtype,
    threads: int | None = None,
) -> EagerExecutor:
    """The executor for a device: pieces over threads on a CPU, fixed buffers and fused kernels on a GPU."""
    if isinstance(device, CudaDevice):
        from xpcnn.executors.cuda import CudaExecutor

        return CudaExecutor(nodes, loss, seed, device, dtype)
    return CpuExecutor(nodes, loss, seed, input_shape, dtype, threads)
