"""Normalisations in networks: batches of signals and volumes over threads, samples by themselves, on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from xpcnn import Sequential
from xpcnn.device import Device, asnumpy
from xpcnn.executors import EagerExecutor
from xpcnn.layers import (
    LpNormalization,
    MeanVarianceNormalization,
    affine,
    batch_norm,
    conv,
    group_norm,
    layer_norm,
    lrn,
)
from xpcnn.network import Network

NETWORKS: dict[str, tuple[tuple[int, ...], list[Any]]] = {
    "signals": ((3, 7), ["batch_norm", "relu", affine(4)]),
    "signals, lrn": ((3, 7), [affine(6), "relu", lrn(3, 0.5), affine(4)]),
    "volumes": ((2, 3, 4, 2), [batch_norm(0.8), "batch_norm", "relu", affine(4)]),
    "volumes, lrn": ((4, 3, 2, 2), [lrn(3, 0.5), "batch_norm", affine(4)]),
    "lrn alone": ((4, 3, 2, 2), [lrn(3, 0.5), affine(4)]),
    "lrn alone on signals": ((4, 5), [lrn(3, 0.5), affine(4)]),
    "pictures": ((1, 6, 6), [conv(4, 3), "batch_norm", "relu", lrn(3, 0.5), affine(4)]),
    "samples": (
        (1, 8, 8),
        [conv(4, 3), group_norm(2), "relu", conv(4, 3), "instance_norm", layer_norm(), "rms_norm", affine(4)],
    ),
    "no parameters": ((1, 6, 6), [conv(4, 3), MeanVarianceNormalization(), LpNormalization(1), "relu", affine(4)]),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def _case(name: str, n: int, dtype: str, device: str | Device = "cpu") -> tuple[Network, np.ndarray, np.ndarray]:
    shape, layers = NETWORKS[name]
    random = np.random.default_rng(0)
    net = Sequential(layers, shape, seed=0, dtype=dtype, device=device)
    for key, a in net.params.items():
        if "norm" in key:
            a[...] = net.device.asarray(random.uniform(0.5, 2.0, a.shape), net.param_dtype)
    return net, (random.standard_normal((n, *shape)) * 2.0 + 0.5).astype(dtype), random.integers(0, 4, n)


def _assert_close(got: Mapping[str, Any], want: Mapping[str, Any], tolerance: float) -> None:
    """As parts of the largest of all gradients: behind a normalisation that of a bias is 0, but for rounding."""
    largest = max(float(abs(asnumpy(a)).max()) for a in want.values())
    for name, a in want.items():
        np.testing.assert_allclose(asnumpy(got[name]), asnumpy(a), rtol=0.0, atol=tolerance * largest, err_msg=name)


@each_network
def test_pieces_over_threads_are_the_plain_pass(name: str) -> None:
    net, x, t = _case(name, 150, "float64")
    plain = net.copy()
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    net.use_threads(2)
    for _ in range(2):
        loss, _ = net.train_pass(x, t)
        want, _ = plain.train_pass(x, t)
        assert float(loss) == pytest.approx(float(want), rel=1e-12)  # sums of some hundred in another order
        _assert_close(net.grads, plain.grads, 1e-11)
    for key, a in plain.state.items():
        np.testing.assert_allclose(net.state[key], a, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(net.predict(x), plain.predict(x), rtol=0.0, atol=1e-11)
    np.testing.assert_allclose(net.predict(x[:1]), plain.predict(x[:1]), rtol=0.0, atol=1e-11)  # replayed


@each_network
@pytest.mark.parametrize("n", [1, 3, 40])
def test_predictions_in_float32(name: str, n: int) -> None:
    """Which may go by other ways than those of float64."""
    net, x, _ = _case(name, n, "float32")
    want = net.copy("float64").executor.predict(x.astype(np.float64), train=False, visit=lambda *_: None)
    for y in (net.predict(x), net.predict(x)):
        np.testing.assert_allclose(y, want, rtol=0.0, atol=1e-4)  # float32 sums of a few hundred


@each_network
def test_gradients_by_differences(name: str) -> None:
    net, x, t = _case(name, 3, "float64")
    exact, numerical = net.gradient(x, t), net.numerical_gradient(x, t)
    _assert_close(exact, numerical, 1e-6)


@each_network
def test_the_same_on_a_device(cuda: Device, name: str) -> None:
    net, x, t = _case(name, 12, "float32")
    twin = net.copy().to(cuda)
    loss, _ = net.train_pass(x, t)
    there, _ = twin.train_pass(x, t)
    assert float(there) == pytest.approx(float(loss), rel=1e-5)  # float32 sums of a few hundred
    _assert_close(twin.grads, net.grads, 1e-4)
    np.testing.assert_allclose(asnumpy(twin.predict(x)), net.predict(x), rtol=0.0, atol=1e-4)
    assert {a.dtype.name for a in (*twin.params.values(), *twin.state.values())} == {"float32"}


@each_network
def test_float16_on_a_device(cuda: Device, name: str) -> None:
    whole, x, t = _case(name, 12, "float32")
    net, _, _ = _case(name, 12, "float16", cuda)
    loss, _ = net.train_pass(x, t)
    want, _ = whole.train_pass(x, t)
    assert float(loss) == pytest.approx(float(want), rel=0.02)  # numbers of three digits
    assert net.predict(x).dtype == "float32"
