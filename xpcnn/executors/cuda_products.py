"""Convolution and affine stages of the CUDA path, with the bias, ReLU and max pooling behind them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.executors.cuda_stage import CudaPass, CudaStage
from xpcnn.graph import Node
from xpcnn.layers.affine import Affine
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.pooling import Pooling
from xpcnn.ops.cuda import fused
from xpcnn.ops.cuda.convolution import conv2d_forward, conv2d_gradients, conv2d_product, room_size
from xpcnn.ops.cuda.geometry import Conv, Way, choose_way, conv
from xpcnn.ops.cuda.module import sum_dtype

__all__ = ["AffineStage", "ConvStage"]


def _sums(p: CudaPass, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Room for the two-stage sum of a bias's gradient, before pooling (N, C, ...)."""
    return p.scratch("sums", (fused.sums_size(shape),), sum_dtype(dtype))


class ConvStage(CudaStage):
    """A convolution, the ReLU behind it and, behind that, a max pooling, where they follow."""

    def __init__(self, conv_node: Node, relu: Node | None, pool: Node | None) -> None:
        super().__init__(*(node for node in (conv_node, relu, pool) if node is not None))
        assert isinstance(conv_node.layer, Convolution)
        self.layer, self.relu = conv_node.layer, relu is not None
        self.pool: Pooling | None = None
        if pool is not None:
            assert isinstance(pool.layer, Pooling)
            self.pool = pool.layer
        self.y_shape = self.nodes[-1].shape

    def _sizes(self, x: Array) -> Conv:
        at = self.layer
        return conv(x.shape, at.params["W"].shape, at.stride, at.pad, at.dilation, at.groups)

    def _room(self, p: CudaPass, c: Conv, dtype: np.dtype, backward: bool = False) -> Array:
        return p.scratch("columns", (room_size(c, dtype.itemsize, backward=backward),), dtype)

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        (x,) = xs
        W, b = p.weight(self.layer, "W"), p.weight(self.layer, "b")
        c, at = self._sizes(x), self.layer
        y = self.own(p, "y", (c.N, *self.y_shape), x.dtype)
        columns, way = self._room(p, c, x.dtype), choose_way(c, x.dtype.itemsize)
        implicit = way is Way.IMPLICIT
        product = None if implicit else p.scratch("product", (c.FN, c.N, *c.out), x.dtype)
        if self.pool is None:
            conv2d_forward(
                x, W, b, at.stride, at.pad, at.dilation, at.groups,
                relu=self.relu, way=way, out=y, room=columns, product=product,
            )  # fmt: skip
            return y, (x, y, None)
        if implicit:
            z = p.scratch("product", c.y, x.dtype)
            conv2d_forward(x, W, None, at.stride, at.pad, at.dilation, at.groups, way=way, out=z)
        else:
            z = conv2d_product(x, W, c, out=product, room=columns)
        winner = self.own(p, "winner", y.shape, np.uint8) if p.keep else None
        fused.bias_relu_pool(
            z, b, self.pool.pool_h, self.pool.pool_w, self.pool.stride, self.pool.pad,
            channel_first=not implicit, out=y, winner=winner, note_winner=p.keep,
        )  # fmt: skip
        return y, (x, y, winner)

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        x, y, winner = saved
        c, layer = self._sizes(x), self.layer
        dz = p.scratch("product", (c.FN, c.N, *c.out), x.dtype)
        room = {"channel_first": True, "out": dz, "db": self.bias_gradient(p, layer, c.FN)}
        room["sums"] = _sums(p, c.y, x.dtype)
        if self.pool is None:
            fused.bias_relu_backward(dout, y if self.relu else None, **room)
        else:
            pool = self.pool
            fused.bias_relu_pool_backward(
                dout, y, winner, c.out, pool.pool_h, pool.pool_w, pool.stride, pool.pad, **room
            )
        dx = self.own(p, "dx", x.shape, x.dtype) if self.needs_dx else None
        columns = self._room(p, c, x.dtype, backward=True)
        W, dW = p.weight(layer, "W"), layer.grads["W"]
        dx, _ = conv2d_gradients(dz, x, W, c, need_dx=self.needs_dx, dx=dx, dW=dW, room=columns)
        return (dx,)

    def describe(self) -> str:
        c = conv((1, *self._arriving()), self.layer.params["W"].shape, *self._how())
        words = {Way.COLUMNS: "columns", Way.POINTWISE: "one product", Way.IMPLICIT: "implicit product"}
        way = words[choose_way(c, self.layer.params["W"].dtype.itemsize)]
        return way + (" + relu" if self.relu else "") + (" + max pool" if self.pool else "")

    def _how(self) -> tuple[Any, ...]:
        return self.layer.stride, self.layer.pad, self.layer.dilation, self.layer.groups

    def _arriving(self) -> tuple[int, int, int]:
        """A picture's shape that would give the output's: all that the choice of the way depends on."""
        _, channels, FH, FW = self.layer.params["W"].shape
        (OH, OW), (SH, SW), (DH, DW) = self.nodes[0].shape[1:], self.layer.stride, self.layer.dilation
        top, left, bottom, right = self.layer.pad
        H, W = (OH - 1) * SH + (FH - 1) * DH + 1 - top - bottom, (OW - 1) * SW + (FW - 1) * DW + 1 - left - right
        return channels * self.layer.groups, H, W


class AffineStage(CudaStage):
    """An affine layer and the ReLU behind it, if there is one: two launches there, three or four back."""

    def __init__(self, affine: Node, relu: Node | None) -> None:
        super().__init__(*(node for node in (affine, relu) if node is not None))
        assert isinstance(affine.layer, Affine)
        self.layer, self.relu = affine.layer, relu is not None

    def forward(self, p: CudaPass, *xs: Array) -> tuple[Array, Any]:
        (x,) = xs
        W, b = p.weight(self.layer, "W"), p.weight(self.layer, "b")
        assert W is not None
        rows = x.reshape(len(x), math.prod(x.shape[1:]))
        y = self.own(p, "y", (len(x), W.shape[1]), x.dtype)
        get_array_module(x, W).matmul(rows, W, out=y)
        if b is not None or self.relu:
            fused.bias_relu(y, b, relu=self.relu, out=y)
        return y, (x.shape, rows, y)

    def backward(self, p: CudaPass, saved: Any, dout: Array) -> tuple[Array | None, ...]:
        shape, rows, y = saved
        xp, W = get_array_module(dout, rows), p.weight(self.layer, "W")
        assert W is not None
        dy = dout
        if self.relu or "b" in self.layer.params:
            room = p.scratch("affine dy", y.shape, y.dtype)
            db, sums = self.bias_gradient(p, self.layer, W.shape[1]), _sums(p, y.shape, y.dtype)
            dy, _ = fused.bias_relu_backward(dy, y if self.relu else None, out=room, db=db, sums=sums)
        xp.matmul(rows.T, dy, out=self.layer.grads["W"])
        if not self.needs_dx:
            return (None,)
        dx = self.own(p, "dx", rows.shape, rows.dtype)
        xp.matmul(dy, W.T, out=dx)
        return (dx.reshape(shape),)

    def describe(self) -> str:
        return "matrix product" + (" + relu" if self.relu else "")
