"""Layers that rearrange, cut, resize and calculate, in networks: every executor gives what the plain one gives."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.executors.eager import EagerExecutor
from xpcnn.layers import (
    Add,
    Concatenate,
    Expand,
    Slice,
    SpaceToDepth,
    Take,
    Tile,
    WithConstant,
    affine,
    channel_shuffle,
    conv,
    pad,
    pixel_shuffle,
    reduce,
    reshape,
    transpose,
    upsample,
)
from xpcnn.network import Network

# float64; sums over a batch in another order
CLOSE = {"rtol": 1e-9, "atol": 1e-11}

# Layers that are given belong to one network, so each gets its own.
MODELS = {
    # ShuffleNet's unit: halves, shuffled channels; views of one array go two ways.
    "halves": lambda: [
        ("c", conv(8, 3, pad=1)),
        ("left", Slice([0], [4], [1]), "c"),
        ("right", Slice([4], [8], [1]), "c"),
        ("r", "relu", "right"),
        ("d", conv(4, 3, pad=1), "r"),
        ("both", Concatenate(), ("left", "d")),
        ("s", channel_shuffle(2)),
        ("rs", "relu"),
        ("f", affine(5)),
    ],
    "squeeze and excitation": lambda: [
        ("c", conv(4, 3)),
        ("m", reduce("mean")),
        ("w", conv(4, 1)),
        ("g", "sigmoid"),
        ("y", "multiply", ("c", "g")),
        ("z", "subtract", ("y", "c")),
        ("q", "divide", ("z", "g")),
        ("k", WithConstant("multiply", np.full((4, 1, 1), 0.5))),
        ("k2", WithConstant("subtract", np.full((1, 1, 4), 0.25), left=True)),
        ("a", Add(broadcast=True), ("k2", "m")),
        ("f", affine(5)),
    ],
    "resized": lambda: [
        ("p", pad((1, 2), "reflect")),
        ("c", conv(8, 3)),
        ("ps", pixel_shuffle(2)),
        ("sd", SpaceToDepth(2)),
        ("u", upsample(1.5, "bilinear")),
        ("r", "relu"),
        ("n", upsample(2)),
        ("rc", reduce("max", (2,))),
        ("f", affine(5)),
    ],
    "rearranged": lambda: [
        ("c", conv(4, 3)),
        ("t", transpose(0, 2, 3, 1)),
        ("v", reshape(16, 4)),
        ("k", Take([3, 0, 0, 2], 2)),
        ("b", Slice([15], [-17], [1], [-1])),
        ("l", Tile((1, 1, 2))),
        ("n", reshape(16, 8, 1)),
        ("e", Expand((16, 8, 3))),
        ("x", reduce("log_sum_exp", (3,), keepdims=False)),
        ("f", affine(5)),
    ],
}


def _network(name: str, device: Device) -> Network:
    return Network(MODELS[name](), input_shape=(2, 6, 6), seed=3, dtype="float64", device=device)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("N", [1, 7])
def test_loss_scores_and_gradients(device: Device, name: str, N: int) -> None:
    net, plain = _network(name, device), _network(name, device)
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    rng = np.random.default_rng(0)
    x, t = device.asarray(rng.standard_normal((N, 2, 6, 6))), device.asarray(rng.integers(0, 5, N))
    for _ in range(2):
        loss, scores = net.train_pass(x, t)
        want_loss, want_scores = plain.train_pass(x, t)
        np.testing.assert_allclose(asnumpy(loss), asnumpy(want_loss), **CLOSE)
        np.testing.assert_allclose(asnumpy(scores), asnumpy(want_scores), **CLOSE)
        assert net.grads.keys() == plain.grads.keys()
        for key, g in plain.grads.items():
            np.testing.assert_allclose(asnumpy(net.grads[key]), asnumpy(g), **CLOSE, err_msg=key)
    for _ in range(3):  # a few pictures go by a recorded list of calls from the second time on
        np.testing.assert_allclose(asnumpy(net.predict(x)), asnumpy(plain.predict(x)), **CLOSE)
        x = x * 1.5


@pytest.mark.parametrize("name", MODELS)
def test_float32_networks_stay_float32(name: str) -> None:
    net = Network(MODELS[name](), input_shape=(2, 6, 6), seed=3)
    x = np.random.default_rng(0).standard_normal((4, 2, 6, 6)).astype(np.float32)
    loss, scores = net.train_pass(x, np.arange(4))
    assert loss.dtype == scores.dtype == np.float32
    assert {g.dtype for g in net.grads.values()} == {np.dtype("float32")}
