"""Stages of the CUDA path without matrix products: pooling, normalisation, dropout, ReLU alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.cuda_stage import CudaPass, CudaStage
from xpcnn.graph import Node
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.normalization import BatchNormalization, LocalResponseNormalization
from xpcnn.layers.pooling import Pooling
from xpcnn.ops.cuda import dropout, fused, normalization, pooling
from xpcnn.ops.cuda import normalization_shared as shared
from xpcnn.ops.cuda.module import sum_dtype
from xpcnn.rng import stream_number

__all__ = ["DropoutStage", "LrnStage", "NormStage", "PoolStage", "ReluStage"]


class PoolStage(CudaStage):
    """Max or average pooling that no convolution has taken with it."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        assert isinstance(node.layer, Pooling)
        at = self.layer = node.layer
        self.window = (at.pool_h, at.pool_w, at.stride, at.pad)

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        (x,) = xs
        y = self.own(p, "y", (len(x), *self.nodes[-1].shape), x.dtype)
        if self.layer.mode == "average":
            return pooling.average_pool2d_forward(x, *self.window, self.layer.count_pad, out=y), (x.shape, None)
        place = np.uint8 if self.layer.pool_h * self.layer.pool_w <= 256 else np.int32
        room = self.own(p, "winner", y.shape, place) if p.keep else None
        _, winner = pooling.max_pool2d_forward(x, *self.window, out=y, winner=room, note_winner=p.keep)
        return y, (x.shape, winner)

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        shape, winner = saved
        if not self.needs_dx:
            return (None,)
        dx = self.own(p, "dx", shape, dout.dtype)
        if winner is None:
            return (pooling.average_pool2d_backward(dout, shape, *self.window, self.layer.count_pad, out=dx),)
        return (pooling.max_pool2d_backward(dout, winner, shape, *self.window, out=dx),)

    def describe(self) -> str:
        return f"{self.layer.mode} pooling"


class NormStage(CudaStage):
    """Batch normalisation and the ReLU behind it, if there is one."""

    couples = True

    def __init__(self, norm: Node, relu: Node | None) -> None:
        super().__init__(*(node for node in (norm, relu) if node is not None))
        assert isinstance(norm.layer, BatchNormalization)
        self.layer, self.relu = norm.layer, relu is not None

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        (x,) = xs
        at = self.layer
        arrays = (at.params["gamma"], at.params["beta"], at.state["running_mean"], at.state["running_var"])
        y = self.own(p, "y", x.shape, x.dtype)
        if not p.train:
            return normalization.batch_norm_test(x, *arrays, eps=at.eps, relu=self.relu, out=y), None
        numbers: dict[str, Any] = {"momentum": at.momentum, "eps": at.eps, "relu": self.relu, "out": y}
        if p.others is not None:
            other, sizes = p.others, shared.shared_sizes(x.shape, p.others.size)
            names = (other.add_up, other.rank, other.size)
            room = shared.SharedStatistics(**self._room(p, x, sizes._asdict()))
            y, all_statistics = shared.batch_norm_train_shared(x, *arrays, *names, **numbers, statistics=room)
            return y, (x, y, all_statistics)
        C, many = x.shape[1], fused.sums_size(x.shape)
        own = self._room(p, x, dict(zip(normalization.BatchStatistics._fields, (C, C, many, many), strict=True)))
        y, statistics = normalization.batch_norm_train(
            x, *arrays, **numbers, statistics=normalization.BatchStatistics(**own)
        )
        return y, (x, y, statistics)

    def _room(self, p: CudaPass, x: Array, sizes: dict[str, int]) -> dict[str, Array]:
        return {name: self.own(p, name, (n,), sum_dtype(x.dtype)) for name, n in sizes.items()}

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        x, y, statistics = saved
        layer, behind = self.layer, y if self.relu else None
        into = {"dgamma": layer.grads["gamma"], "dbeta": layer.grads["beta"]}
        into["out"] = self.own(p, "dx", x.shape, x.dtype)
        gamma = layer.params["gamma"]
        if p.others is not None:
            names = (p.others.add_up, p.others.samples)
            return shared.batch_norm_backward_shared(dout, x, gamma, statistics, *names, behind, **into)[:1]
        return normalization.batch_norm_backward(dout, x, gamma, statistics, behind, **into)[:1]

    def describe(self) -> str:
        return "batch normalisation" + (" + relu" if self.relu else "")


class LrnStage(CudaStage):
    """Local response normalisation."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        assert isinstance(node.layer, LocalResponseNormalization)
        self.layer = node.layer

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        (x,), at = xs, self.layer
        y = self.own(p, "y", x.shape, x.dtype)
        bracket = self.own(p, "bracket", x.shape, sum_dtype(x.dtype))
        normalization.lrn_forward(x, at.size, at.alpha, at.beta, at.k, out=y, bracket=bracket)
        return y, (x, bracket)

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        (x, bracket), at = saved, self.layer
        dx = self.own(p, "dx", x.shape, x.dtype)
        return (normalization.lrn_backward(dout, x, bracket, at.size, at.alpha, at.beta, out=dx),)

    def describe(self) -> str:
        return "local response normalisation"


class DropoutStage(CudaStage):
    """Dropout whose mask is drawn again on the way back instead of being kept."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        assert isinstance(node.layer, Dropout)
        self.layer, self.stream = node.layer, stream_number(node.name)

    def _drop(self, p: CudaPass, x: Array, name: str) -> Array:
        keep, y = 1.0 - self.layer.ratio, self.own(p, name, x.shape, x.dtype)
        if p.train:
            scale = 1.0 / keep if self.layer.inverted else 1.0
            named = {"seed": p.seed, "stream": self.stream, "step": p.step, "first": p.first}
            return dropout.dropout(x, keep, scale, out=y, **named)
        if self.layer.inverted:
            return x
        y[...] = x
        y *= keep
        return y

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        return self._drop(p, xs[0], "y"), None

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        return (self._drop(p, dout, "dx"),)

    def describe(self) -> str:
        return "dropout"


class ReluStage(CudaStage):
    """ReLU that nothing before it has taken with it."""

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        (x,) = xs
        y = fused.bias_relu(x, None, out=self.own(p, "y", x.shape, x.dtype))
        return y, y

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        room = self.own(p, "dx", saved.shape, saved.dtype)
        db = p.scratch("unwanted b", (saved.shape[1],), saved.dtype)
        sums = p.scratch("sums", (fused.sums_size(saved.shape),), sum_dtype(saved.dtype))
        return (fused.bias_relu_backward(dout, saved, out=room, db=db, sums=sums)[0],)

    def describe(self) -> str:
        return "relu"
