"""MatMul and Gemm: layers with a matrix of their own in a Network, products of whole arrays in a Program."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.affine import Affine
from xpcnn.layers.base import Layer
from xpcnn.layers.matmul import Gemm, MatMul, Projection
from xpcnn.layers.merge import Add
from xpcnn.onnx.call import Applied, Call, Translated, operator

__all__: list[str] = []


def _parameter(call: Call, i: int) -> Array:
    value = call.parameter(i)
    if value is None:
        raise ConfigError(f"{call}: input {i} is missing")
    return value


def _keeps_samples_apart(call: Call, layer: Layer, *inputs: int) -> None:
    """A product of a Network may not reach across its samples."""
    try:
        layer.output_shape(*(call.shape(i)[1:] for i in inputs))
    except ShapeError as error:
        call.need_program(str(error))


@operator("MatMul", 1, 9, 13)
def matmul(call: Call) -> Translated:
    left, right = call.is_constant(0), call.is_constant(1)
    if left == right:  # two values of samples, or (in a Program) two arrays
        layer: Layer = MatMul()
        if call.batch is not None:
            _keeps_samples_apart(call, layer, 0, 1)
        return call.apply(layer, 0, 1)
    W, x = _parameter(call, 1 if right else 0), 0 if right else 1
    if right and W.ndim == 2 and len(call.shape(0)) == 2:
        return call.apply(Affine(W), 0)
    layer = Projection(W, left=left)
    _keeps_samples_apart(call, layer, x)
    return call.apply(layer, x)


def _row(call: Call, c: Array, M: int) -> Array:
    """Gemm's c as a bias (M,), where it is the same for all rows."""
    if c.ndim > 2 or (c.ndim == 2 and c.shape[0] != 1):
        call.need_program("a term of its own for each row would tell samples apart by their place in the batch")
    values = c.reshape(-1)
    if values.shape[0] not in (1, M):
        raise ConfigError(f"{call}: c of shape {c.shape} does not fit a product of {M} columns")
    return values if values.shape[0] == M else values.repeat(M)


def _factor(value: Array, factor: float) -> Array:
    return value if factor == 1.0 else value * factor


@operator("Gemm", 1, 6, 7, 9, 11, 13)
def gemm(call: Call) -> Translated:
    alpha, beta = float(call.attribute("alpha", 1.0)), float(call.attribute("beta", 1.0))
    trans_a, trans_b = bool(call.attribute("transA", 0)), bool(call.attribute("transB", 0))
    with_c = call.has(2) and beta != 0.0
    if call.batch is None:
        inputs = (0, 1, 2) if with_c else (0, 1)
        return call.apply(Gemm(alpha, beta, trans_a, trans_b), *inputs)
    if trans_a or call.is_constant(0) or not call.is_constant(1):
        call.need_program("a product that sums over samples, or multiplies samples with each other")
    B = _parameter(call, 1)
    if B.ndim != 2:
        raise ConfigError(f"{call}: a general matrix product takes two matrices, b has shape {B.shape}")
    # Affine's W is the transpose of transB's b; a new array, not a view, so that optimizers find it in C order.
    W = _factor(get_array_module(B).ascontiguousarray(B.T) if trans_b else B, alpha)
    if not with_c or call.is_constant(2):
        b = _factor(_row(call, _parameter(call, 2), W.shape[1]), beta) if with_c else None
        return call.apply(Affine(W, b), 0)
    if beta != 1.0 or call.shape(2) != (*call.shape(0)[:1], W.shape[1]):
        call.need_program("a term that is scaled or broadcast, and depends on samples")
    part = f"{call.outputs[0]}/product"
    return [Applied(Affine(W), (call.inputs[0],), part), Applied(Add(), (part, call.inputs[2]), call.outputs[0])]
