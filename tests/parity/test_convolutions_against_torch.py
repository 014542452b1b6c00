"""Convolutions over one and three axes, transposed convolutions and matrix products against PyTorch's, in float64.

Both sides compute the same sums in another order: a relative 1e-11 of the largest value covers some thousands of
terms at eps = 2.2e-16 with room for unlucky cancellation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcnn.layers import ConvolutionND, Gemm, MatMul, Projection, TransposedConvolution
from xpcnn.layers.base import Layer

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.parity

CONVOLUTIONS: list[tuple[Any, ...]] = [
    ((2, 3, 20), (4, 3, 5), {}),
    ((2, 3, 20), (4, 3, 5), {"stride": 2, "pad": 2}),
    ((2, 4, 21), (6, 2, 3), {"stride": 3, "pad": 4, "dilation": 2, "groups": 2}),
    ((3, 4, 9), (8, 1, 3), {"pad": 1, "groups": 4}),
    ((2, 2, 6, 7, 5), (3, 2, 2, 3, 2), {}),
    ((1, 4, 7, 6, 8), (4, 2, 3, 2, 3), {"stride": (2, 1, 3), "pad": (1, 0, 2), "dilation": (1, 2, 1), "groups": 2}),
    ((1, 3, 5, 5, 5), (3, 1, 3, 3, 3), {"pad": 1, "groups": 3}),
]
TRANSPOSED: list[tuple[Any, ...]] = [
    ((2, 3, 9), (3, 4, 5), {}),
    ((2, 3, 9), (3, 4, 5), {"stride": 2, "pad": 2, "output_pad": 1}),
    ((2, 4, 7), (4, 3, 3), {"stride": 3, "dilation": 2, "groups": 2}),
    ((2, 3, 5, 6), (3, 2, 3, 3), {"stride": 2, "pad": 1, "output_pad": 1}),
    ((2, 4, 5, 6), (4, 1, 4, 2), {"stride": (2, 3), "pad": (1, 0), "output_pad": (0, 2), "groups": 4}),
    ((1, 2, 3, 4, 3), (2, 3, 2, 3, 2), {"stride": (1, 2, 2), "pad": (0, 1, 1), "output_pad": (0, 1, 0)}),
    ((1, 4, 3, 3, 3), (4, 2, 2, 2, 3), {"dilation": (2, 1, 2), "groups": 2}),
]


def _same(got: Any, want: Any) -> None:
    want = want.detach().numpy()
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=0.0, atol=1e-11 * max(float(abs(want).max()), 1e-3))


def _leaves(*arrays: np.ndarray) -> list[Any]:
    return [torch.tensor(a, requires_grad=True) for a in arrays]


def _compare(layer: Layer, x: np.ndarray, want: Any, leaves: list[Any]) -> None:
    y = layer.forward(x)
    _same(y, want)
    dout = np.random.default_rng(1).standard_normal(y.shape)
    want.backward(torch.tensor(dout))
    _same(layer.backward(dout), leaves[0].grad)
    for name, leaf in zip(layer.params, leaves[1:], strict=True):
        _same(layer.grads[name], leaf.grad)


def _arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal(shape) for shape in shapes]


@pytest.mark.parametrize(("x_shape", "W_shape", "options"), CONVOLUTIONS, ids=str)
def test_convolutions(x_shape: Any, W_shape: Any, options: dict[str, Any]) -> None:
    x, W, b = _arrays(x_shape, W_shape, W_shape[:1])
    leaves = _leaves(x, W, b)
    function = F.conv1d if len(x_shape) == 3 else F.conv3d
    names = {"pad": "padding"}
    want = function(*leaves, **{names.get(k, k): v for k, v in options.items()})
    _compare(ConvolutionND(W, b, **options), x, want, leaves)


@pytest.mark.parametrize(("x_shape", "W_shape", "options"), TRANSPOSED, ids=str)
def test_transposed(x_shape: Any, W_shape: Any, options: dict[str, Any]) -> None:
    x, W, b = _arrays(x_shape, W_shape, (W_shape[1] * options.get("groups", 1),))
    leaves = _leaves(x, W, b)
    function = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][len(x_shape) - 3]
    names = {"pad": "padding", "output_pad": "output_padding"}
    want = function(*leaves, **{names.get(k, k): v for k, v in options.items()})
    _compare(TransposedConvolution(W, b, **options), x, want, leaves)


def test_the_dtype_and_rounding_of_float32() -> None:
    x, W = (a.astype(np.float32) for a in _arrays((2, 8, 50), (16, 8, 9)))
    for layer, function in (
        (ConvolutionND(W), F.conv1d),
        (TransposedConvolution(W[:8]), F.conv_transpose1d),
    ):
        y = layer.forward(x)
        want = function(torch.tensor(x), torch.tensor(layer.params["W"])).numpy()
        assert y.dtype == np.float32
        # At most 72 products of numbers of about 1 (none above 16): 72 * eps * 72 is 6e-4 at the very worst.
        np.testing.assert_allclose(y, want, rtol=0.0, atol=6e-4)


@pytest.mark.parametrize(
    ("a", "b"), [((4, 3), (3, 5)), ((2, 4, 3), (3, 5)), ((2, 1, 4, 3), (6, 3, 5)), ((3,), (2, 3, 5)), ((2, 4, 3), (3,))]
)
def test_matrix_products(a: Any, b: Any) -> None:
    arrays = _arrays(a, b)
    leaves = _leaves(*arrays)
    want = torch.matmul(*leaves)
    layer = MatMul()
    y = layer.forward(*arrays)
    _same(y, want)
    dout = np.random.default_rng(1).standard_normal(y.shape)
    want.backward(torch.tensor(dout))
    for got, leaf in zip(layer.backward(dout), leaves, strict=True):
        _same(got, leaf.grad)
    again = _leaves(*arrays)
    _compare(Projection(arrays[1]), arrays[0], torch.matmul(*again), again)


def test_general_products() -> None:
    a, b, c = _arrays((4, 3), (3, 5), (5,))
    leaves = _leaves(a, b, c)
    want = torch.addmm(leaves[2], leaves[0], leaves[1], beta=0.3, alpha=-1.7)
    layer = Gemm(-1.7, 0.3)
    _same(layer.forward(a, b, c), want)
    dout = np.random.default_rng(1).standard_normal((4, 5))
    want.backward(torch.tensor(dout))
    for got, leaf in zip(layer.backward(dout), leaves, strict=True):
        _same(got, leaf.grad)
