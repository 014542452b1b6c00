"""Pooling of any window: in prediction on channels-last memory, in training by the layer's own code."""

from __future__ import annotations

from typing import Any

from xpcnn.device import Array
from xpcnn.executors.stages import Calls, Job, LayerStage, Stage, channels_last
from xpcnn.graph import Node
from xpcnn.layers.pooling import Pooling
from xpcnn.ops.cpu.windows import average_pool, max_pool

__all__ = ["PoolStage"]


class PoolStage(LayerStage):
    """A Pooling that no convolution's stage has taken over."""

    channels_last = True

    def __init__(self, node: Node, stream: int) -> None:
        super().__init__(node, stream)
        assert isinstance(node.layer, Pooling)
        self.layer = node.layer

    def forward(self, job: Job, *xs: Array) -> tuple[Array, Any]:
        if job.keep or job.train:
            return super().forward(job, *xs)
        layer, x = self.layer, channels_last(job, xs[0], "pool x")
        C, OH, OW = self.nodes[0].shape
        y = job.kept(self, "y", (len(x), OH, OW, C), x.dtype)
        rows = job.scratch("pool rows", (len(x), x.shape[1], OW, C), x.dtype)
        how = (layer.pool_h, layer.pool_w), layer.stride, layer.pad[:2]
        if layer.mode == "max":
            max_pool(x, *how, rows, y)
        else:
            average_pool(x, *how, rows, y, layer.count_pad)
        return y.transpose(0, 3, 1, 2), None

    def bind(self, job: Job, *xs: Array) -> tuple[Array, Calls]:
        return Stage.bind(self, job, *xs)

    def describe(self) -> str:
        return "reference, for predictions rows and columns"
