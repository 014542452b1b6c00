"""Layers that multiply matrices: two inputs, or an input and a parameter."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.layers.base import Context, GradientAttribute, Layer, ParameterAttribute, Shape
from xpcnn.ops import reference

__all__ = ["Gemm", "MatMul", "Projection"]


class MatMul(Layer):
    """The product of two inputs, (N, ..., P, D) @ (N, ..., D, Q) to (N, ..., P, Q), by the rules of `numpy.matmul`.

    Axes before the last two broadcast. In a network both have them, N among them; over whole arrays any shapes do
    that NumPy multiplies. Raises ShapeError where they do not fit.
    """

    inputs = 2

    def output_shape(self, *shapes: Shape) -> Shape:
        a, b = shapes
        if len(a) != len(b) or len(a) < 2:
            raise ShapeError(f"wanted one or more matrices a sample and as many axes on both sides, got {a} and {b}")
        return reference.matmul_shape(a, b)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        ctx.save(*xs)
        return reference.matmul_forward(*xs)

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, Array]:
        a, b = ctx.load()
        return reference.matmul_backward(dout, a, b)


class Projection(Layer):
    """x @ W (or, `left`, W @ x) by the rules of `numpy.matmul`: of (N, ..., D) with W (D, M) it is (N, ..., M).

    Each row along the last axis is multiplied by the same matrix, as the words of a sentence are in an attention
    layer (Vaswani et al. 2017); Affine flattens them first. W may also be a vector or a stack of matrices.
    Raises ShapeError where W does not fit, or would reach across samples.
    """

    W = ParameterAttribute["Projection"]("W")
    dW = GradientAttribute["Projection"]("W")

    def __init__(self, W: Array, left: bool = False) -> None:
        super().__init__()
        if W.ndim < 1:
            raise ShapeError("a projection's W is a matrix (D, M), a vector or a stack of matrices, got a number")
        self.params["W"] = W
        self.left = left

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        W: Shape = self.params["W"].shape
        rank = 1 + len(shape)
        least = 3 if self.left or len(W) > 2 else 2  # below that, axis 0 is one of the matrix's own
        if rank < least or len(W) > rank or (len(W) == rank > 2 and W[0] != 1):
            side = f"{W} @ x" if self.left else f"x @ {W}"
            raise ShapeError(f"{side} with samples x of shape {shape} would not keep samples apart")
        W = W[1:] if len(W) == rank > 2 else W
        return reference.matmul_shape(W, shape) if self.left else reference.matmul_shape(shape, W)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        ctx.save(x)
        W = self.params["W"]
        return reference.matmul_forward(W, x) if self.left else reference.matmul_forward(x, W)

    def backward_in(self, ctx: Context, dout: Array) -> Array | None:
        (x,) = ctx.load()
        W = self.params["W"]
        if self.left:
            ctx.grads["W"], dx = reference.matmul_backward(dout, W, x, (True, ctx.need_dx))
        else:
            dx, ctx.grads["W"] = reference.matmul_backward(dout, x, W, (ctx.need_dx, True))
        return dx


class Gemm(Layer):
    """alpha * a @ b + beta * c over two or three whole arrays: a (P, D), b (D, Q), c that broadcasts to (P, Q).

    trans_a, trans_b: a or b comes transposed. b is multiplied with every row of a, so this can be no part of a network
    of samples: there it is an Affine layer with b and c as its parameters.
    """

    inputs = None

    def __init__(self, alpha: float = 1.0, beta: float = 1.0, trans_a: bool = False, trans_b: bool = False) -> None:
        super().__init__()
        self.alpha, self.beta, self.trans_a, self.trans_b = float(alpha), float(beta), trans_a, trans_b

    def output_shape(self, *shapes: Shape) -> Shape:
        raise ShapeError("a product of two inputs (N, D) and (N, M) mixes samples; use Affine, or MatMul of matrices")

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        if len(xs) not in (2, 3):
            raise ShapeError(f"Gemm takes two or three arrays, got {len(xs)}")
        a, b, c = (*xs, None)[:3]
        ctx.save(a, b, None if c is None else c.shape)
        return reference.gemm_forward(a, b, c, self.alpha, self.beta, self.trans_a, self.trans_b)

    def backward_in(self, ctx: Context, dout: Array) -> tuple[Array, ...]:
        a, b, c_shape = ctx.load()
        da, db, dc = reference.gemm_backward(dout, a, b, c_shape, self.alpha, self.beta, self.trans_a, self.trans_b)
        return (da, db) if dc is None else (da, db, dc)
