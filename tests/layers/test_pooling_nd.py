"""Pooling layers over any number of axes, into bins and over whole channels; and which layer fits which shape."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests import pooling_oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import AdaptiveAveragePooling, Context, GlobalPooling, Layer, Pooling, PoolingND
from xpcnn.layers.pooling_nd import fitted_pooling
from xpcnn.ops.gradcheck import check_layer

GEOMETRIES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 2, 7), {"size": 3, "stride": 2, "pad": 1}),
    ((1, 2, 6), {"size": (2,), "stride": 3, "pad": (1, 0), "dilation": 2, "ceil": True}),
    ((1, 2, 6, 5), {"size": (3, 2), "stride": 2, "dilation": (1, 2), "ceil": True}),
    ((1, 1, 6, 5), {"size": 3, "stride": 2, "pad": 1, "ceil": True}),
    ((1, 1, 4, 3, 4), {"size": 2, "stride": (1, 2, 3), "pad": (1, 0, 1, 0, 1, 0), "ceil": True}),
]
MODES: list[dict[str, Any]] = [
    {"mode": "max"},
    {"mode": "average"},
    {"mode": "average", "count_pad": False},
    {"mode": "lp"},
    {"mode": "lp", "p": 3},
    {"mode": "lp", "p": 1},
]
each_geometry = pytest.mark.parametrize(("shape", "geometry"), GEOMETRIES, ids=str)
each_mode = pytest.mark.parametrize("mode", MODES, ids=str)


def _apart(shape: tuple[int, ...]) -> np.ndarray:
    """No two of these are nearer than 0.1 and none is nearer to 0, so that a step of 1e-5 changes no winner or sign."""
    size = int(np.prod(shape))
    x = (np.random.default_rng(0).permutation(size) + 1.0) * 0.1
    return (x * np.where(np.arange(size) % 3, 1.0, -1.0)).reshape(shape)


@each_geometry
@each_mode
def test_gradients_and_shape(
    device: Device, shape: tuple[int, ...], geometry: dict[str, Any], mode: dict[str, Any]
) -> None:
    x, layer = device.asarray(_apart(shape)), PoolingND(**geometry, **mode)
    assert max(check_layer(layer, x).values()) < 1e-6
    y = copy.copy(layer).forward(x)
    assert (y.dtype, y.shape) == (np.float64, (shape[0], *layer.output_shape(shape[1:])))
    single = layer.forward(x.astype("float32"))
    assert layer.backward(single).dtype == np.float32


@each_geometry
def test_what_they_calculate(device: Device, shape: tuple[int, ...], geometry: dict[str, Any]) -> None:
    x = _apart(shape)
    windows = PoolingND(**geometry).windows(len(shape) - 2)

    def result(**mode: Any) -> np.ndarray:
        return asnumpy(PoolingND(**geometry, **mode).forward(device.asarray(x)))

    np.testing.assert_array_equal(result(), pooling_oracles.max_pool(x, windows)[0])
    for count_pad in (True, False):  # at most nine numbers are summed
        want = pooling_oracles.average_pool(x, windows, count_pad)[0]
        np.testing.assert_allclose(result(mode="average", count_pad=count_pad), want, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(result(mode="lp", p=3), pooling_oracles.lp_pool(x, windows, 3), rtol=1e-13)


def test_no_gradient_where_nobody_asks() -> None:
    layer, ctx = PoolingND(2), Context(need_dx=False)
    assert layer.backward_in(ctx, layer.forward_in(ctx, np.zeros((1, 1, 3)))) is None


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 2, 3, 4), (1, 2, 2, 3, 2)])
@pytest.mark.parametrize("mode", ["max", "average", "lp"])
@pytest.mark.parametrize("keep", [True, False])
def test_global(device: Device, shape: tuple[int, ...], mode: str, keep: bool) -> None:
    x, layer = _apart(shape), GlobalPooling(mode, p=3, keep=keep)
    y = layer.forward(device.asarray(x))
    assert y.shape[1:] == layer.output_shape(shape[1:])
    rows = x.reshape(*shape[:2], -1)
    want = {"max": rows.max(2), "average": rows.mean(2), "lp": (abs(rows) ** 3).sum(2) ** (1 / 3)}[mode]
    np.testing.assert_allclose(asnumpy(y).reshape(shape[:2]), want, rtol=1e-13)  # up to 15 terms in another order
    assert max(check_layer(layer, device.asarray(x)).values()) < 1e-6
    single = layer.forward(device.asarray(x.astype(np.float32)))
    assert single.dtype == layer.backward(single).dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "size", "out"),
    [
        ((2, 2, 7), 3, (3,)),
        ((1, 2, 5, 6), (2, None), (2, 6)),
        ((1, 1, 2, 3), (3, 2), (3, 2)),
        ((1, 1, 3, 4, 2), 2, (2,) * 3),
    ],
)
def test_adaptive(device: Device, shape: tuple[int, ...], size: Any, out: tuple[int, ...]) -> None:
    layer, x = AdaptiveAveragePooling(size), device.asarray(_apart(shape))
    assert layer.output_shape(shape[1:]) == (shape[1], *out)
    assert layer.forward(x).shape == (*shape[:2], *out)
    assert max(check_layer(layer, x).values()) < 1e-6


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (PoolingND(2), (4,), r"wanted pictures \(C, H, W\), or C and any other number of sizes, got \(4,\)"),
        (PoolingND((2, 2)), (3, 8), "the pooling window must be .* or 1 of them"),
        (PoolingND(2, pad=(1, 0, 0, 1)), (3, 8), "pad over 1 axes"),
        (PoolingND(5), (3, 8, 4), "a window of 5x5 does not fit an input of 8x4"),
        (GlobalPooling(), (4,), r"got \(4,\)"),
        (AdaptiveAveragePooling(2), (4,), r"got \(4,\)"),
        (AdaptiveAveragePooling((2, 2)), (3, 4), r"2 output sizes \(2, 2\) cannot be those of \(4,\)"),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(layer: Layer, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        layer.output_shape(shape)


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (lambda: PoolingND(2, mode="min"), ConfigError, '"max", "average" or "lp", got \'min\''),
        (lambda: GlobalPooling("min"), ConfigError, '"max", "average" or "lp", got \'min\''),
        (lambda: PoolingND(2, mode="lp", p=0.5), ConfigError, "a finite p of at least 1, got 0.5"),
        (lambda: GlobalPooling("lp", p=float("nan")), ConfigError, "a finite p of at least 1, got nan"),
        (lambda: PoolingND(0), ShapeError, "the pooling window"),
        (lambda: PoolingND(2, 0), ShapeError, "stride"),
        (lambda: PoolingND(2, dilation=(1, 0)), ShapeError, "dilation"),
        (lambda: PoolingND(2, pad=2), ShapeError, "a pooling window of 2 needs pads smaller than itself, got pad=2"),
        (lambda: PoolingND((2, 3), pad=(0, 0, 2, 0)), ShapeError, "2x3 needs pads smaller than itself"),
        (lambda: AdaptiveAveragePooling((2, 0)), ConfigError, "an output size"),
    ],
)
def test_arguments_that_make_no_sense(act: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        act()


# ------------------------------------------------------------------------------------------------------- fitting
@pytest.mark.parametrize("size", [(8, 7), (7, 9), (5, 5)])
@pytest.mark.parametrize("pad", [0, 1, (0, 1, 1, 0)])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("mode", MODES[:3], ids=str)
def test_the_faster_layer_does_the_same(size: tuple[int, int], pad: Any, ceil: bool, mode: dict[str, Any]) -> None:
    x = _apart((2, 2, *size))
    layer = fitted_pooling((2, *size), 3, 2, pad, ceil=ceil, **mode)
    general = PoolingND(3, 2, pad, ceil=ceil, **mode)
    hangs_over = general.output_shape((2, *size)) != PoolingND(3, 2, pad).output_shape((2, *size))
    counts = mode == {"mode": "average"} and pad != 0
    assert isinstance(layer, PoolingND if counts and hangs_over else Pooling)
    assert layer.output_shape((2, *size)) == general.output_shape((2, *size))
    y = general.forward(x)
    # The same sums in the same order, divided by the same numbers.
    np.testing.assert_array_equal(layer.forward(x), y)
    np.testing.assert_array_equal(layer.backward(y), general.backward(y))


def test_what_only_the_general_layer_does() -> None:
    for shape, how in [((3, 9), {}), ((3, 9, 9, 9), {}), ((3, 9, 9), {"dilation": 2}), ((3, 9, 9), {"mode": "lp"})]:
        assert isinstance(fitted_pooling(shape, 2, 2, **how), PoolingND)
