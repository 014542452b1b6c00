"""The CPU executor's fast stages at the edges of their arithmetic, against the plain executor.

Promised: whatever the reference finds not finite, the fast way finds not finite too, in scores, loss and gradients.
Beyond that they agree to rounding, but that Winograd's transforms, which add up to 100 times an input and 16 inputs at
once, overflow some two powers of ten earlier and spread what is not finite over a tile of 4x4 outputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xpcnn import Network, Sequential
from xpcnn.executors import EagerExecutor
from xpcnn.layers import affine, average_pool, conv, max_pool

pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning")

nan, inf = math.nan, math.inf
SHAPE = (3, 12, 12)
NETS: dict[str, list[Any]] = {
    "pooled": [conv(8, 3, pad=1), "relu", max_pool(2), affine(5)],
    "two pooled": [conv(8, 3), "relu", conv(9, 5, pad=2), "relu", max_pool(2), affine(40), "relu", affine(5)],
    "winograd": [conv(32, 3, pad=1), "relu", conv(32, 3, pad=1), "relu", max_pool(2), affine(5)],
    "without relu": [conv(8, 3), conv(8, 3), max_pool(2), affine(5)],
    "groups": [conv(8, 3, pad=1), "relu", conv(8, 3, groups=4), "relu", max_pool(2), affine(5)],
    "norm": [conv(8, 3, pad=1), "batch_norm", "relu", max_pool(2), affine(5)],
    "stride > kernel": [conv(8, 2, stride=3), "relu", affine(5)],
    "kernel = picture": [conv(4, 12), "relu", affine(5)],
    "average": [conv(4, 1), "sigmoid", average_pool(3), affine(5)],
    "squashed": [affine(20), "tanh", affine(5)],
}
each_net = pytest.mark.parametrize("name", NETS)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _twins(layers: list[Any], dtype: str, shape: tuple[int, ...] = SHAPE) -> tuple[Network, Network]:
    net = Sequential(layers, shape, seed=0, dtype=dtype)
    net.use_threads(2)
    plain = net.copy()
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    return net, plain


def _batch(N: int, dtype: str, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).standard_normal((N, *shape)).astype(dtype), np.arange(N) % 5


def _nothing_is_lost(got: np.ndarray, want: np.ndarray, what: str) -> None:
    assert got.dtype == want.dtype
    assert not (np.isfinite(got) & ~np.isfinite(want)).any(), what
    # Rounding of some hundred terms, of the size of the largest finite number of both.
    both = np.isfinite(got) & np.isfinite(want)
    largest = float(abs(want[both]).max()) if both.any() else 0.0
    eps = float(np.finfo(want.dtype).eps)
    # The floor is for gradients that cancel to 0, as a bias's before a normalisation does.
    assert (abs(got[both].astype(float) - want[both]) <= 2000 * eps * largest + 50 * eps).all(), what


@each_dtype
@each_net
@pytest.mark.parametrize("value", [nan, inf, -inf, 1e30, -1e30, 1e-42])
def test_an_extreme_pixel(name: str, value: float, dtype: str) -> None:
    x, t = _batch(20, dtype)
    x[3, 1, 4, 4] = value  # seen also with a stride of 3
    net, plain = _twins(NETS[name], dtype)
    others = np.arange(20) != 3
    for n in (4, 20):  # a few samples are predicted on another way
        got, want = net.predict(x[:n]), plain.predict(x[:n])
        _nothing_is_lost(got[3:4], want[3:4], "the sample")
        _nothing_is_lost(got[others[:n]], want[others[:n]], "the others")
        assert np.isfinite(got[others[:n]]).all()
        if math.isnan(value):
            assert not np.isfinite(got[3]).any()
    got, want = net.train_pass(x, t), plain.train_pass(x, t)
    for a, b, what in zip(got, want, ("loss", "scores"), strict=True):
        _nothing_is_lost(a, b, what)
    for key, g in plain.grads.items():
        if not (name == "norm" and key == "conv1.b"):  # before a normalisation it has no say: rounding and nothing else
            _nothing_is_lost(net.grads[key], g, key)
    for key, a in plain.state.items():
        _nothing_is_lost(net.state[key], a, key)


@each_dtype
@each_net
@pytest.mark.parametrize("value", [nan, inf])
def test_a_spoilt_parameter_is_seen_by_every_sample(name: str, value: float, dtype: str) -> None:
    """Also where what it is multiplied by is 0, for one sample and for many."""
    net, plain = _twins(NETS[name], dtype)
    last = [key for key in net.params if key.endswith(".W")][-1]
    for twin in (net, plain):
        twin.params[last][0, 0] = value
    for n in (1, 2, 20):
        x = np.zeros((n, *SHAPE), dtype)
        got, want = net.predict(x), plain.predict(x)
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
        if name != "squashed" or math.isnan(value):
            assert not np.isfinite(got[:, 0]).any()


@each_net
def test_overflow_is_not_hidden(name: str) -> None:
    """Sums beyond float32 in a layer must not come out of the next ones as a number."""
    net, plain = _twins(NETS[name], "float32")
    x, t = _batch(6, "float32")
    x[2] *= 2e38
    for a, b in zip(net.train_pass(x, t), plain.train_pass(x, t), strict=True):
        assert not (np.isfinite(a) & ~np.isfinite(b)).any()
    for key, g in plain.grads.items():
        if key.endswith(".W"):  # compiled kernels let no gradient past a ReLU whose output is NaN
            assert not (np.isfinite(net.grads[key]) & ~np.isfinite(g)).any(), key


@pytest.mark.parametrize("size", [1e-20, 1e-38])
@each_net
def test_small_numbers_are_not_cut_off(name: str, size: float) -> None:
    """Compiled kernels and threads leave the processor's denormals on."""
    net, plain = _twins(NETS[name], "float32")
    for twin in (net, plain):
        for key, a in twin.params.items():
            if key.endswith(".b"):
                a[...] = 0.0
        last = twin.params[[key for key in twin.params if key.endswith(".W")][-1]]
        last *= np.float32(size)
    x, _ = _batch(9, "float32")
    for n in (3, 9):
        got, want = net.predict(x[:n]), plain.predict(x[:n])
        assert (want != 0.0).any()
        # Below the least normal number steps have one size, 1.4e-45, of which some terms are rounded to.
        np.testing.assert_allclose(got, want, rtol=0.0, atol=2e-5 * float(abs(want).max()) + 400 * 1.5e-45)


@each_dtype
@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((1, 1, 1), [conv(4, 1), "relu", affine(5)]),
        ((1, 1, 1), [conv(4, 3, pad=1), "batch_norm", "relu", affine(5)]),
        ((1, 2, 2), [conv(1, 1), "relu", max_pool(2), affine(5)]),
        ((2, 5, 3), [conv(4, (5, 3)), "relu", affine(5)]),
        ((2, 5, 7), [conv(3, 1, stride=4), max_pool(1, stride=3), affine(5)]),
        ((1, 4, 4), [conv(1, 3, pad=1), "relu", max_pool(4), affine(5)]),
        ((5,), [affine(1), "relu", affine(5)]),
        ((8, 4, 4), [conv(8, 3, pad=1, groups=8), "relu", "global_average_pool", affine(5)]),
    ],
)
@pytest.mark.parametrize("N", [0, 1, 2])
def test_the_smallest_shapes(shape: tuple[int, ...], layers: list[Any], N: int, dtype: str) -> None:
    net, plain = _twins(layers, dtype, shape)
    x, t = _batch(N, dtype, shape)
    got, want = net.predict(x), plain.predict(x)
    assert got.shape == want.shape == (N, 5)
    _nothing_is_lost(got, want, "scores")
    if N:
        for a, b in zip(net.train_pass(x, t), plain.train_pass(x, t), strict=True):
            _nothing_is_lost(a, b, "loss and scores")
        for key, g in plain.grads.items():
            _nothing_is_lost(net.grads[key], g, key)


@each_dtype
def test_one_class(dtype: str) -> None:
    net, _ = _twins([conv(2, 3), "relu", affine(1)], dtype)
    x, _ = _batch(4, dtype)
    t = np.zeros(4, int)
    assert float(net.loss(x, t)) == 0.0
    assert net.accuracy(x, t) == 1.0
    assert all((g == 0.0).all() for g in net.gradient(x, t).values())


def test_a_network_of_nan_is_never_right() -> None:
    net, _ = _twins(NETS["pooled"], "float32")
    net.params["affine1.W"] *= np.float32(nan)
    x, t = _batch(10, "float32")
    loss, accuracy = net.evaluate(x, t)
    assert math.isnan(loss)
    assert accuracy == 0.0
