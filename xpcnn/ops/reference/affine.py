"""The fully connected layer's matrix product (book, section 5.6)."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError

__all__ = ["affine_backward", "affine_forward"]


def affine_forward(x: Array, W: Array, b: Array | None = None) -> Array:
    """x @ W + b. x: (N, D) or (N, C, H, W), which is flattened to D = C*H*W; W: (D, M); b: (M,). Returns (N, M)."""
    get_array_module(x, W, b)
    rows = x.reshape(x.shape[0], -1) if x.shape[0] else x.reshape(0, W.shape[0])
    if rows.shape[1] != W.shape[0]:
        raise ShapeError(f"W of shape {W.shape} takes {W.shape[0]} inputs, got {rows.shape[1]} from shape {x.shape}")
    y = rows @ W
    if b is not None:
        y += b
    return y


def affine_backward(dout: Array, x: Array, W: Array, need_dx: bool = True) -> tuple[Array | None, Array, Array]:
    """Gradients dx (of x's own shape; None where not needed), dW (D, M), db (M,). dout: (N, M)."""
    get_array_module(dout, x, W)
    rows = x.reshape(x.shape[0], -1) if x.shape[0] else x.reshape(0, W.shape[0])
    dx = (dout @ W.T).reshape(x.shape) if need_dx else None
    return dx, rows.T @ dout, dout.sum(axis=0)
