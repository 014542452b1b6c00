"""Networks trained with each loss: over threads and pieces, on a device, and by the Trainer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xpcnn import Sequential, Trainer
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.executors import EagerExecutor
from xpcnn.layers import (
    BinaryCrossEntropyWithLogits,
    Context,
    Loss,
    MeanSquaredError,
    NegativeLogLikelihood,
    SoftmaxWithLoss,
    affine,
    conv,
)
from xpcnn.network import Network
from xpcnn.ops.gradcheck import relative_error
from xpcnn.training.callbacks.checkpoints import Checkpoints

N = 150  # more than two pieces for each of two threads

LOSSES = {
    "softmax": SoftmaxWithLoss(0.1),
    "weights": SoftmaxWithLoss(0.1, [0.5, 2.0, 1.0]),
    "ignored": SoftmaxWithLoss(0.0, [0.5, 2.0, 1.0], -1),
    "places": SoftmaxWithLoss(0.0, [0.5, 2.0, 1.0], -1),
    "log p": NegativeLogLikelihood([0.5, 2.0, 1.0]),
    "squares": MeanSquaredError(),
    "pictures": MeanSquaredError(),
    "yes or no": BinaryCrossEntropyWithLogits([1.0, 2.0, 0.5]),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def _case(name: str, n: int = N, dtype: str = "float64", device: str | Device = "cpu") -> tuple[Network, ...]:
    random = np.random.default_rng(0)
    x = random.standard_normal((n, 1, 6, 6)).astype(dtype)
    labels = random.integers(0, 3, n)
    ignored = np.where(np.arange(n) % 3 == 0, -1, labels)
    ignored[: n // 2] = -1  # nothing counts in the first thread's pieces
    targets = {
        "ignored": ignored,
        "places": random.integers(-1, 3, (n, 4, 4)),
        "squares": random.standard_normal((n, 3)),
        "pictures": random.standard_normal((n, 3, 4, 4)),
        "yes or no": random.uniform(0.0, 1.0, (n, 3)),
    }
    layers = [conv(3, 3)] if name in ("places", "pictures") else [conv(2, 3), "relu", affine(3)]
    layers += ["log_softmax"] if name == "log p" else []
    net = Sequential(layers, (1, 6, 6), seed=0, dtype=dtype, device=device, loss=LOSSES[name])
    return net, x, targets.get(name, labels)


@each_loss
def test_pieces_over_threads_are_the_plain_pass(name: str) -> None:
    net, x, t = _case(name)
    plain = net.copy()
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    net.use_threads(2)
    loss, _ = net.train_pass(x, t)
    want, _ = plain.train_pass(x, t)
    assert float(loss) == pytest.approx(float(want), rel=1e-13)  # sums of some hundred in another order
    for key, gradient in plain.grads.items():
        assert relative_error(net.grads[key], gradient) < 1e-12, key


@each_loss
def test_gradients_by_differences(name: str) -> None:
    net, x, t = _case(name, n=3)
    if name == "ignored":
        t = np.array([0, -1, 2])
    exact, numerical = net.gradient(x, t), net.numerical_gradient(x, t)
    for key, gradient in exact.items():
        assert relative_error(gradient, numerical[key]) < 1e-6, key  # the differences' own error is 1e-9 or so


@each_loss
def test_the_same_on_a_device(cuda: Device, name: str) -> None:
    net, x, t = _case(name, n=12, dtype="float32")
    twin = net.copy().to(cuda)
    loss, _ = net.train_pass(x, t)
    on_device, _ = twin.train_pass(x, t)
    assert on_device.dtype == ("float64" if name == "softmax" else "float32")  # the kernel adds up in float64
    assert float(on_device) == pytest.approx(float(loss), rel=1e-5, abs=1e-7)  # float32 sums of a few hundred
    for key, gradient in net.grads.items():
        assert relative_error(asnumpy(twin.grads[key]), gradient) < 1e-5, key
    host, there = net.evaluate(x, t), twin.evaluate(x, t)
    assert there[0] == pytest.approx(host[0], rel=1e-5, abs=1e-7)
    assert there[1] == host[1] or (math.isnan(there[1]) and math.isnan(host[1]))


@each_loss
def test_an_evaluation_weighs_its_batches(name: str) -> None:
    net, x, t = _case(name)
    whole = float(net.loss(x, t))
    for batch_size in (7, N):
        assert net.evaluate(x, t, batch_size)[0] == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_a_trainer_learns_numbers(where: str, cuda: Device, tmp_path) -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal((64, 5)).astype(np.float32)
    t = x @ random.standard_normal((5, 2)).astype(np.float32)
    net = Sequential([affine(2)], (5,), seed=0, loss=MeanSquaredError(), device=cuda if where == "cuda" else "cpu")
    keep = Checkpoints(tmp_path)
    trainer = Trainer(net, x, t, x, t, 10, 16, "sgd", {"lr": 0.2}, verbose=False, callbacks=[keep])
    history = trainer.train()
    assert history[-1]["test_loss"] < 1e-2 < history[0]["test_loss"]  # least squares without noise
    assert "train_acc" not in history[-1]
    assert "test_acc" not in history[-1]
    assert trainer.test_acc_list == []
    assert math.isnan(net.accuracy(x, t))
    assert keep.best == -min(history.column("test_loss"))
    assert (tmp_path / "best.ckpt").exists()


def test_what_is_said_of_an_epoch_without_accuracy(capsys) -> None:
    x, t = np.ones((4, 2), np.float32), np.zeros((4, 1))
    net = Sequential([affine(1)], (2,), seed=0, loss=MeanSquaredError())
    Trainer(net, x, t, x, t, epochs=1, mini_batch_size=2).train()
    said = capsys.readouterr().out
    assert "test loss " in said
    assert "%" not in said


def test_targets_are_checked_before_training() -> None:
    net = Sequential([affine(1)], (2,), seed=0, loss=MeanSquaredError())
    with pytest.raises(ShapeError, match=r"t_train: targets have the shape of the network's output, \(4, 1\)"):
        Trainer(net, np.ones((4, 2)), np.zeros(4))
    with pytest.raises(ShapeError, match=r"use t\[:, None\]"):
        net.loss(np.ones((4, 2)), [0.0, 1.0, 2.0, 3.0])


class Distance(Loss):
    """What a reader may write: the mean distance |x - t|."""

    def check_targets(self, t: Any, N: int, output_shape: tuple[int, ...]) -> None:
        if t.shape != (N, *output_shape):
            raise ShapeError(f"got {t.shape}")

    def forward_in(self, ctx: Context, x: Any, t: Any) -> Any:
        ctx.save(x, t)
        return abs(x - t).mean()

    def backward_in(self, ctx: Context, dout: Any = 1.0) -> Any:
        x, t = ctx.load()
        return ((x > t).astype(x.dtype) - (x < t).astype(x.dtype)) * (dout / float(x.size))


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_a_loss_of_ones_own(where: str, cuda: Device) -> None:
    random = np.random.default_rng(2)
    x, t = random.standard_normal((N, 5)), random.standard_normal((N, 2))
    device = cuda if where == "cuda" else "cpu"
    net = Sequential([affine(2)], (5,), seed=0, dtype="float64", loss=Distance(), device=device)
    exact, numerical = net.gradient(x, t), net.numerical_gradient(x, t)
    for key, gradient in exact.items():
        assert relative_error(gradient, numerical[key]) < 1e-6, key
    assert net.evaluate(x, t)[0] == pytest.approx(float(net.loss(x, t)), rel=1e-13)


def test_another_loss_may_be_taken_later() -> None:
    x, t = np.ones((4, 2)), np.array([0, 1, 2, 1])
    net = Sequential([affine(3)], (2,), seed=0, dtype="float64")
    losses: list[Loss] = [SoftmaxWithLoss(), SoftmaxWithLoss(weights=[1.0, 2.0, 3.0])]
    found = []
    for loss in losses:
        net.use_loss(loss)
        found.append(float(net.train_pass(x, t)[0]))
        assert found[-1] == pytest.approx(float(loss.forward(net.predict(x), t)), rel=1e-14)
    assert found[0] != found[1]
