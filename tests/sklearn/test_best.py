"""Going back to the best epoch."""

from __future__ import annotations

from types import SimpleNamespace

from xpcnn.layers import affine
from xpcnn.network import Sequential
from xpcnn.sklearn.best import KeepBest


def test_the_parameters_of_the_least_loss_come_back(device):
    network = Sequential([affine(1)], (1,), seed=0, device=device)
    trainer = SimpleNamespace(network=network, history=[])
    keep = KeepBest()
    for epoch, loss in enumerate([3.0, 1.0, 1.0, 2.0]):
        network.params["affine1.W"][...] = float(epoch)
        trainer.history.append({"test_loss": loss})
        keep.on_epoch_end(trainer)
    keep.on_train_end(trainer)
    assert float(network.params["affine1.W"][0, 0]) == 1.0  # the first of two equal ones
    assert keep.best == 1.0


def test_without_an_epoch_nothing_changes():
    network = Sequential([affine(1)], (1,), seed=0)
    before = network.params["affine1.W"].copy()
    KeepBest().on_train_end(SimpleNamespace(network=network))
    assert network.params["affine1.W"] == before
