"""Every pooling and its gradient against PyTorch's, in float64.

Maxima are picked, never calculated: they and their gradients are the same numbers, sums of whole-number gradients
too. Means and norms sum in another order: a relative 1e-12 covers some tens of terms at eps = 2.2e-16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcnn.layers import (
    AdaptiveAveragePooling,
    GlobalAveragePooling,
    GlobalPooling,
    Layer,
    MaxPoolIndices,
    MaxUnpool,
    PoolingND,
)
from xpcnn.layers.pooling_nd import fitted_pooling

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.parity

MAX = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVERAGE = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
UNPOOL = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)
ADAPTIVE = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)

GEOMETRIES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 9), {"size": 3, "stride": 2}),
    ((2, 3, 8), {"size": 3, "stride": 2, "pad": 1}),
    ((2, 3, 4), {"size": 2, "stride": 4, "pad": 1}),  # with ceil, a window would begin in the end pad
    ((2, 3, 8, 7), {"size": (3, 3), "stride": (2, 2)}),
    ((1, 2, 8, 7), {"size": (3, 2), "stride": (2, 3), "pad": (1, 0)}),
    ((1, 2, 6, 9), {"size": (2, 4), "stride": (3, 3), "pad": (1, 2)}),
    ((2, 2, 5, 6, 7), {"size": (2, 3, 2), "stride": (2, 2, 3), "pad": (1, 1, 0)}),
]
each_geometry = pytest.mark.parametrize(("shape", "geometry"), GEOMETRIES, ids=str)
each_ceil = pytest.mark.parametrize("ceil", [False, True])


def _check(layer: Layer, x: np.ndarray, want: Any, exact: bool = False) -> None:
    """want: PyTorch's function of a tensor. Compares outputs, and gradients of a whole-number weighted sum of them."""
    tx = torch.tensor(x, requires_grad=True)
    ty = want(tx)
    dout = np.random.default_rng(9).integers(-9, 10, tuple(ty.shape)).astype(x.dtype)
    ty.backward(torch.tensor(dout))
    y = layer.forward(x)
    assert y.dtype == x.dtype
    rtol, atol = (0.0, 0.0) if exact else (1e-12, 1e-12)
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=rtol, atol=atol)
    np.testing.assert_allclose(layer.backward(dout), tx.grad.numpy(), rtol=rtol, atol=atol)


def _x(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@each_geometry
@each_ceil
@pytest.mark.parametrize("dilation", [1, 2])
def test_max(shape: tuple[int, ...], geometry: dict[str, Any], ceil: bool, dilation: int) -> None:
    x, n = _x(shape), len(shape) - 2
    size, stride, pad = geometry["size"], geometry["stride"], geometry.get("pad", 0)

    def want(tx: Any, indices: bool = False) -> Any:
        return MAX[n - 1](tx, size, stride, pad, dilation, ceil, indices)

    for layer in (
        PoolingND(**geometry, dilation=dilation, ceil=ceil),
        fitted_pooling(shape[1:], **geometry, dilation=dilation, ceil=ceil),
    ):
        _check(layer, x, want, exact=True)
    places = MaxPoolIndices(**geometry, dilation=dilation, ceil=ceil).forward(x)
    np.testing.assert_array_equal(places, want(torch.tensor(x), True)[1].numpy())


@each_geometry
@each_ceil
@pytest.mark.parametrize("count_pad", [False, True])
def test_average(shape: tuple[int, ...], geometry: dict[str, Any], ceil: bool, count_pad: bool) -> None:
    n = len(shape) - 2
    size, stride, pad = geometry["size"], geometry["stride"], geometry.get("pad", 0)
    how = {"mode": "average", "count_pad": count_pad, "ceil": ceil}
    for layer in (PoolingND(**geometry, **how), fitted_pooling(shape[1:], **geometry, **how)):
        _check(layer, _x(shape), lambda tx: AVERAGE[n - 1](tx, size, stride, pad, ceil, count_pad))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_lp(p: float) -> None:
    # PyTorch raises the numbers themselves to p, not their magnitudes: positive ones are alike. Where windows hang over
    # the end it multiplies their means by a whole window's size, which is no norm: not compared.
    x = abs(_x((2, 3, 9, 8))) + 0.1
    _check(PoolingND(3, 2, mode="lp", p=p), x, lambda tx: F.lp_pool2d(tx, p, 3, 2))
    flat = x.reshape(2, 3, 72)
    _check(PoolingND(4, 3, mode="lp", p=p), flat, lambda tx: F.lp_pool1d(tx, p, 4, 3))


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 5, 6), (1, 2, 3, 4, 5)])
def test_global(shape: tuple[int, ...]) -> None:
    axes = tuple(range(2, len(shape)))
    x = _x(shape)
    _check(GlobalPooling("max"), x, lambda tx: tx.amax(axes, keepdim=True), exact=True)
    _check(GlobalPooling("average"), x, lambda tx: tx.mean(axes, keepdim=True))
    _check(GlobalAveragePooling(), x, lambda tx: tx.mean(axes))
    for p in (1.0, 2.0, 3.0):
        _check(GlobalPooling("lp", p), x, lambda tx, p=p: torch.linalg.vector_norm(tx, p, axes, keepdim=True))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((2, 3, 7), 3), ((2, 3, 13, 9), (6, 4)), ((1, 2, 4, 5), (7, 7)), ((1, 2, 6, 8), (3, None)), ((1, 2, 3, 4, 5), 2)],
)
def test_adaptive_average(shape: tuple[int, ...], size: Any) -> None:
    _check(AdaptiveAveragePooling(size), _x(shape), lambda tx: ADAPTIVE[len(shape) - 3](tx, size))


@pytest.mark.parametrize(("shape", "sizes"), [((2, 3, 8), None), ((2, 3, 9), (9,)), ((1, 2, 7, 6), (7, 6))])
def test_unpooling(shape: tuple[int, ...], sizes: tuple[int, ...] | None) -> None:
    n = len(shape) - 2
    ty, places = MAX[n - 1](torch.tensor(_x(shape)), 2, 2, return_indices=True)
    y = ty.numpy()
    leaf = torch.tensor(y, requires_grad=True)
    want = UNPOOL[n - 1](leaf, places, 2, 2, output_size=sizes)
    dout = _x(tuple(want.shape))
    want.backward(torch.tensor(dout))
    layer = MaxUnpool(2, 2, sizes=sizes)
    np.testing.assert_array_equal(layer.forward(y, places.numpy()), want.detach().numpy())
    np.testing.assert_array_equal(layer.backward(dout)[0], leaf.grad.numpy())
