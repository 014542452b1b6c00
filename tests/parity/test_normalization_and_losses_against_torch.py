"""Normalisations and losses against PyTorch: outputs, gradients, running statistics, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcnn import Sequential
from xpcnn.layers import (
    BatchNormalization,
    BinaryCrossEntropyWithLogits,
    GroupNormalization,
    InstanceNormalization,
    Layer,
    LayerNormalization,
    LocalResponseNormalization,
    Loss,
    LpNormalization,
    MeanSquaredError,
    NegativeLogLikelihood,
    RMSNormalization,
    SoftmaxWithLoss,
    affine,
)

torch = pytest.importorskip("torch")
F = torch.nn.functional

pytestmark = pytest.mark.parity

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}  # float64: sums of a few hundred numbers, ordered otherwise


def _numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def _torch(a: np.ndarray) -> Any:
    return torch.tensor(a, requires_grad=a.dtype.kind == "f")


def _gamma_beta(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    return _numbers(*shape, seed=1), _numbers(*shape, seed=2)


# (layer, shape of x, PyTorch's function of x and the layer's parameters)
LAYERS: dict[str, tuple[Layer, tuple[int, ...], Any]] = {
    "layer": (
        LayerNormalization(*_gamma_beta(6, 5, 4)),
        (3, 6, 5, 4),
        lambda x, g, b: F.layer_norm(x, (6, 5, 4), g, b),
    ),
    "layer, tokens": (
        LayerNormalization(*_gamma_beta(8), axis=-1, eps=1e-3),
        (3, 7, 8),
        lambda x, g, b: F.layer_norm(x, (8,), g, b, 1e-3),
    ),
    "groups": (GroupNormalization(*_gamma_beta(6), 3), (3, 6, 5, 4), lambda x, g, b: F.group_norm(x, 3, g, b)),
    "instances": (
        InstanceNormalization(*_gamma_beta(6)),
        (3, 6, 9),
        lambda x, g, b: F.instance_norm(x, weight=g, bias=b),
    ),
    "rms": (RMSNormalization(_gamma_beta(8)[0], -1, 1e-6), (3, 7, 8), lambda x, g: F.rms_norm(x, (8,), g, 1e-6)),
    "norm 1": (LpNormalization(1, 1), (3, 4, 5), lambda x: F.normalize(x, 1.0, 1)),
    "norm 2": (LpNormalization(-1, 2), (3, 4, 5), lambda x: F.normalize(x, 2.0, -1)),
    "lrn of signals": (
        LocalResponseNormalization(3, 0.5 / 3, 0.75, 1.0),
        (2, 7, 5),
        lambda x: F.local_response_norm(x, 3, 0.5, 0.75, 1.0),
    ),
    "lrn of volumes": (
        LocalResponseNormalization(5, 0.5 / 5, 0.6, 2.0),
        (2, 7, 3, 2, 2),
        lambda x: F.local_response_norm(x, 5, 0.5, 0.6, 2.0),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    layer, shape, function = LAYERS[name]
    x = _numbers(*shape, seed=3) * 2.0 + 0.5
    given = [_torch(a) for a in (x, *layer.params.values())]
    want = function(*given)
    y = layer.forward(x)
    np.testing.assert_allclose(y, want.detach().numpy(), **TOLERANCE)
    dout = _numbers(*shape, seed=4)
    want.backward(torch.tensor(dout))
    dx = layer.backward(dout)
    for got, there in zip((dx, *(layer.grads[p] for p in layer.params)), given, strict=True):
        np.testing.assert_allclose(got, there.grad.numpy(), **TOLERANCE)


@pytest.mark.parametrize(("kind", "shape"), [("BatchNorm1d", (5, 4, 7)), ("BatchNorm3d", (3, 4, 2, 3, 2))])
@pytest.mark.parametrize("train", [True, False])
def test_batches_of_signals_and_volumes(kind: str, shape: tuple[int, ...], train: bool) -> None:
    gamma, beta = _gamma_beta(4)
    mean, var = _numbers(4, seed=5), np.random.default_rng(6).uniform(0.5, 2.0, 4)
    layer = BatchNormalization(gamma, beta, 0.9, mean, var)
    other = getattr(torch.nn, kind)(4, momentum=0.1, dtype=torch.float64)
    with torch.no_grad():
        held = (other.weight, other.bias, other.running_mean, other.running_var)
        for parameter, a in zip(held, (gamma, beta, mean, var), strict=True):
            parameter.copy_(torch.tensor(a))
    other.train(train)
    x, dout = _numbers(*shape, seed=7), _numbers(*shape, seed=8)
    there = _torch(x)
    want = other(there)
    np.testing.assert_allclose(layer.forward(x, train=train), want.detach().numpy(), **TOLERANCE)
    want.backward(torch.tensor(dout))
    got = (layer.backward(dout), layer.dgamma, layer.dbeta)
    for gradient, parameter in zip(got, (there, other.weight, other.bias), strict=True):
        np.testing.assert_allclose(gradient, parameter.grad.numpy(), **TOLERANCE)
    np.testing.assert_allclose(layer.state["running_mean"], other.running_mean.numpy(), **TOLERANCE)
    if train:  # PyTorch lets the unbiased variance run, the book (and xpcnn) the biased
        n = x.size // 4
        biased = (other.running_var.numpy() - 0.9 * var) * (n - 1) / n + 0.9 * var
        np.testing.assert_allclose(layer.state["running_var"], biased, **TOLERANCE)


W = np.array([0.5, 2.0, 0.0, 1.25])
TW = torch.tensor(W)
LABELS = np.array([0, 3, 1, 1, 2, 3, 0])
IGNORED = np.array([0, -1, 1, -1, 2, 3, 0])
PLACES = np.random.default_rng(9).integers(0, 4, (7, 3, 2))
NUMBERS = np.random.default_rng(10).uniform(0.0, 1.0, (7, 4))

# (loss, shape of the scores, targets, PyTorch's function of scores and targets)
LOSSES: dict[str, tuple[Loss, tuple[int, ...], np.ndarray, Any]] = {
    "weights": (SoftmaxWithLoss(0.0, W), (7, 4), LABELS, lambda x, t: F.cross_entropy(x, t, TW)),
    "smoothed weights": (
        SoftmaxWithLoss(0.2, W),
        (7, 4),
        LABELS,
        lambda x, t: F.cross_entropy(x, t, TW, label_smoothing=0.2),
    ),
    "ignored": (SoftmaxWithLoss(ignore_index=-1), (7, 4), IGNORED, lambda x, t: F.cross_entropy(x, t, ignore_index=-1)),
    "all": (
        SoftmaxWithLoss(0.1, W, -1),
        (7, 4),
        IGNORED,
        lambda x, t: F.cross_entropy(x, t, TW, ignore_index=-1, label_smoothing=0.1),
    ),
    "places": (
        SoftmaxWithLoss(0.1, W, 2),
        (7, 4, 3, 2),
        PLACES,
        lambda x, t: F.cross_entropy(x, t, TW, ignore_index=2, label_smoothing=0.1),
    ),
    "plain places": (SoftmaxWithLoss(), (7, 4, 3, 2), PLACES, F.cross_entropy),
    "log p": (NegativeLogLikelihood(W, -1), (7, 4), IGNORED, lambda x, t: F.nll_loss(x, t, TW, ignore_index=-1)),
    "squares": (MeanSquaredError(), (7, 4), NUMBERS, F.mse_loss),
    "yes or no": (BinaryCrossEntropyWithLogits(), (7, 4), NUMBERS, F.binary_cross_entropy_with_logits),
    "weighted yes": (
        BinaryCrossEntropyWithLogits(W),
        (7, 4),
        NUMBERS,
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, pos_weight=TW),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    loss, shape, t, function = LOSSES[name]
    x = _numbers(*shape, seed=11) * 3.0
    there = _torch(x)
    want = function(there, torch.tensor(t))
    assert float(loss.forward(x, t)) == pytest.approx(float(want.detach()), rel=1e-12)
    want.backward()
    np.testing.assert_allclose(loss.backward(), there.grad.numpy(), **TOLERANCE)


@pytest.mark.parametrize("name", [name for name, case in LOSSES.items() if len(case[1]) == 2 and name != "log p"])
def test_a_network_learns_the_same(name: str) -> None:
    loss, _, t, function = LOSSES[name]
    net = Sequential([affine(4)], (5,), seed=0, dtype="float64", loss=loss)
    net.use_threads(2)
    weights = [_torch(net.params[p].copy()) for p in ("affine1.W", "affine1.b")]
    x = _numbers(7, 5, seed=12)
    for _ in range(3):
        mine, _ = net.train_pass(x, t)
        want = function(torch.tensor(x) @ weights[0] + weights[1], torch.tensor(t))
        assert float(mine) == pytest.approx(float(want.detach()), rel=1e-12)
        for gradient, a in zip(torch.autograd.grad(want, weights), weights, strict=True):
            a.data -= 0.5 * gradient
        for a, gradient in zip(net.params.values(), net.grads.values(), strict=True):
            a -= 0.5 * gradient
    for a, other in zip(net.params.values(), weights, strict=True):
        np.testing.assert_allclose(a, other.detach().numpy(), **TOLERANCE)
