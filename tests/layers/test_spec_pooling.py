"""Specs of the rarer poolings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import layers
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Layer, Spec, adaptive_average_pool, affine, global_max_pool, lp_pool, max_pool
from xpcnn.layers.spec import spec_of


def _build(spec: Any, *shape: int) -> Layer:
    assert isinstance(spec, Spec)
    make: Any = None  # poolings have no parameters
    return spec.build((shape,), make)


def test_global_max() -> None:
    assert _build(global_max_pool(), 3, 4, 5).output_shape((3, 4, 5)) == (3,)
    assert _build(global_max_pool(keep=True), 3, 4, 5).output_shape((3, 4, 5)) == (3, 1, 1)
    assert _build(spec_of("global_max_pool"), 3, 4).output_shape((3, 4)) == (3,)


def test_lp() -> None:
    layer = _build(lp_pool(2, p=3), 3, 5, 5)
    assert isinstance(layer, layers.PoolingND)
    assert (layer.mode, layer.p, layer.output_shape((3, 5, 5))) == ("lp", 3.0, (3, 2, 2))
    assert _build(lp_pool(2, ceil=True), 3, 5).output_shape((3, 5)) == (3, 3)
    with pytest.raises(ConfigError, match="a finite p"):
        lp_pool(2, p=0)
    with pytest.raises(ShapeError, match="the pooling window"):
        lp_pool(0)


def test_adaptive() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 8))
    for size in (3, (3, 4), (None, 2), (1, 1)):
        layer = _build(adaptive_average_pool(size), 3, 6, 8)
        general = layers.AdaptiveAveragePooling(size)
        if size == 3:  # 8 is no multiple of it
            assert isinstance(layer, layers.AdaptiveAveragePooling)
        else:
            assert isinstance(layer, layers.Pooling)  # the same windows, the faster way
        # Means of means of at most 48 numbers of about 1, in another order.
        np.testing.assert_allclose(layer.forward(x), general.forward(x), rtol=0.0, atol=1e-14)
    assert _build(adaptive_average_pool(4), 3, 8).output_shape((3, 8)) == (3, 4)
    with pytest.raises(ConfigError, match="an output size"):
        adaptive_average_pool(0)
    with pytest.raises(ShapeError, match="2 output sizes"):
        _build(adaptive_average_pool((2, 2)), 3, 8)


def test_a_network_of_them_learns_on_either_device(device: Any) -> None:
    net = xpcnn.Sequential(
        [max_pool(3, 2, ceil=True), lp_pool(2, 1), adaptive_average_pool(2), "global_max_pool", affine(3)],
        input_shape=(2, 8, 8),
        seed=0,
        dtype="float64",
        device=device,
    )
    random = np.random.default_rng(1)
    x, t = random.standard_normal((4, 2, 8, 8)), np.array([0, 1, 2, 0])
    got, want = net.gradient(x, t), net.numerical_gradient(x, t)
    for name, gradient in want.items():
        # Central differences at h = 1e-4 are right to about h squared.
        np.testing.assert_allclose(xpcnn.asnumpy(got[name]), xpcnn.asnumpy(gradient), rtol=0.0, atol=1e-7)
