"""Products of matrices and of stacks of matrices, which broadcast against each other."""

from __future__ import annotations

from typing import Any

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.reference.broadcasting import unbroadcast

__all__ = ["gemm_backward", "gemm_forward", "matmul_backward", "matmul_forward", "matmul_shape"]

Shape = tuple[int, ...]


def matmul_shape(a: Shape, b: Shape) -> Shape:
    """The shape of a product of arrays of these shapes, by the rules of `numpy.matmul`. Raises ShapeError."""
    if not a or not b:
        raise ShapeError(f"a matrix product takes vectors and matrices, got shapes {a} and {b}")
    inner = b[0] if len(b) == 1 else b[-2]
    stack_a, stack_b = a[:-2], b[:-2]
    longest = max(len(stack_a), len(stack_b))
    one, other = ((1,) * (longest - len(s)) + s for s in (stack_a, stack_b))
    if a[-1] != inner or any(m != n and 1 not in (m, n) for m, n in zip(one, other, strict=True)):
        raise ShapeError(f"shapes {a} and {b} do not fit a matrix product (..., P, D) @ (..., D, Q)")
    stack = tuple(n if m == 1 else m for m, n in zip(one, other, strict=True))
    return *stack, *a[-2:-1], *(b[-1:] if len(b) > 1 else ())


def matmul_forward(a: Array, b: Array) -> Array:
    """a @ b as `numpy.matmul`: (..., P, D) and (..., D, Q) to (..., P, Q).

    Stacks of matrices broadcast; a vector is one row on the left, one column on the right, and its axis is gone from
    the product. Any dtype. Raises ShapeError where the shapes do not fit.
    """
    matmul_shape(a.shape, b.shape)
    return get_array_module(a, b).matmul(a, b)


def matmul_backward(dout: Array, a: Array, b: Array, wanted: tuple[bool, bool] = (True, True)) -> tuple[Any, Any]:
    """Gradients of `matmul_forward`, of the shapes of a and b; None for the one that is not wanted.

    Where a stack was broadcast, the gradients of its copies are summed.
    """
    xp = get_array_module(dout, a, b)
    rows, columns = a, b
    if a.ndim == 1:
        rows, dout = a[None, :], dout[..., None, :] if b.ndim > 1 else dout[..., None]
    if b.ndim == 1:
        columns, dout = b[:, None], dout[..., None]
    da = db = None
    if wanted[0]:
        da = unbroadcast(xp.matmul(dout, columns.swapaxes(-1, -2)), rows.shape).reshape(a.shape)
    if wanted[1]:
        db = unbroadcast(xp.matmul(rows.swapaxes(-1, -2), dout), columns.shape).reshape(b.shape)
    return da, db


def _scaled(y: Array, factor: float) -> Array:
    """factor * y in y's dtype, whole numbers rounded towards zero; y itself for 1."""
    return y if factor == 1.0 else (y * factor).astype(y.dtype, copy=False)


def gemm_forward(
    a: Array,
    b: Array,
    c: Array | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
) -> Array:
    """alpha * a @ b + beta * c, the BLAS's general product, with a and b transposed first where asked.

    a: (P, D), or (D, P) to be transposed; b: (D, Q), or (Q, D); c broadcasts to (P, Q). Returns (P, Q).
    Raises ShapeError where the shapes do not fit.
    """
    xp = get_array_module(a, b, c)
    if a.ndim != 2 or b.ndim != 2:
        raise ShapeError(f"a general matrix product takes two matrices, got shapes {a.shape} and {b.shape}")
    left, right = a.T if trans_a else a, b.T if trans_b else b
    shape = matmul_shape(left.shape, right.shape)
    y = _scaled(xp.matmul(left, right), alpha)
    if c is None or beta == 0.0:
        return y
    wide = (1,) * (2 - c.ndim) + c.shape
    if len(wide) != 2 or any(n not in (1, m) for n, m in zip(wide, shape, strict=True)):
        raise ShapeError(f"c of shape {c.shape} does not broadcast to the product's shape {shape}")
    return y + _scaled(c, beta)


def gemm_backward(
    dout: Array,
    a: Array,
    b: Array,
    c_shape: Shape | None,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
) -> tuple[Array, Array, Array | None]:
    """Gradients of `gemm_forward`: da, db and dc (None where there was no c). dout: (P, Q)."""
    xp = get_array_module(dout, a, b)
    left, right = a.T if trans_a else a, b.T if trans_b else b
    product = _scaled(dout, alpha)
    dleft, dright = xp.matmul(product, right.T), xp.matmul(left.T, product)
    dc = None if c_shape is None else _scaled(unbroadcast(dout, c_shape), beta)
    return dleft.T if trans_a else dleft, dright.T if trans_b else dright, dc
