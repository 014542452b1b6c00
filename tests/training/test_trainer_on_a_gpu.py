"""Training with all on the device: what moves, what waits, what is allocated, and that it is the CPU's training."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.counts import Counts, counts
from tests.fake_cupy.install import installed
from xpcnn import Network, Sequential, Trainer
from xpcnn.device import CudaDevice, Device, asnumpy
from xpcnn.layers import affine, batch_norm, conv, dropout, max_pool
from xpcnn.models import AlexNet, DeepConvNet, SimpleConvNet
from xpcnn.training.averaging import Averaging


def _normed(**how: Any) -> Network:
    # No bias before the normalisation: its gradient is 0 but for rounding, which Adam would make steps of.
    layers = [conv(4, 3, bias=False), batch_norm(), "relu", max_pool(2), dropout(0.2), affine(10)]
    return Sequential(layers, (1, 12, 12), **how)


_MODELS: dict[str, tuple[Callable[..., Network], tuple[int, ...]]] = {
    "SimpleConvNet": (lambda **how: SimpleConvNet((1, 12, 12), hidden_size=16, **how), (1, 12, 12)),
    "DeepConvNet": (lambda **how: DeepConvNet((1, 16, 16), **how), (1, 16, 16)),
    "batch norm": (_normed, (1, 12, 12)),
    "AlexNet": (lambda **how: AlexNet(input_dim=(3, 32, 32), **how), (3, 32, 32)),
}


def _data(shape: tuple[int, ...], N: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (N, *shape), dtype=np.uint8), rng.integers(0, 10, N)


def _trainer(name: str, device: Any, average: float | None = None, optimizer: str = "adam", **how: Any) -> Trainer:
    make, shape = _MODELS[name]
    x, t = _data(shape)
    common: dict[str, Any] = {"mini_batch_size": 8, "optimizer": optimizer, "scale": 1 / 255, "verbose": False}
    net = make(seed=1, device=device, **how)
    return Trainer(net, x, t, x[:9], t[:9], epochs=3, train_accuracy="running", average=average, **common)


@pytest.mark.parametrize("name", _MODELS)
def test_steps_between_reports_neither_move_nor_wait_nor_allocate(name: str) -> None:
    with installed():
        seen = _second_epoch(_trainer(name, "cuda"))
        assert seen.device_to_host.number == 0
        assert seen.host_to_device.number == 0
        assert not seen.syncs
        assert seen.allocations.number == 0, seen.operations


def _second_epoch(trainer: Trainer) -> Counts:
    """What an epoch's steps do once its permutation is there: whole batches, then the last, smaller one."""
    trainer.epochs = 1
    trainer.train()
    batches = trainer._batches.epoch(1)
    x, t = next(batches)
    trainer.step(x, t)
    with counts.watch() as seen:
        for x, t in batches:
            trainer.step(x, t)
    return seen


def test_the_launches_of_a_step_are_those_of_the_plan() -> None:
    """A change of these numbers is a change of speed: docs/gpu.md lists them."""
    with installed():
        for name, launches, products in (("SimpleConvNet", 11, 7), ("DeepConvNet", 39, 22)):
            trainer = _trainer(name, "cuda")
            trainer.epochs = 1
            trainer.train()
            batches = trainer._batches.epoch(1)
            x, t = next(batches)
            with counts.watch() as seen:
                trainer.step(x, t)
            assert (sum(seen.launches.values()), seen.matmuls) == (launches, products), (name, seen.launches)


@pytest.mark.parametrize("name", _MODELS)
def test_the_same_seed_trains_to_the_same_network_on_both(cuda: CudaDevice, name: str) -> None:
    here, there = (_trainer(name, device, optimizer="sgd") for device in ("cpu", cuda))
    for a, b in zip(here.network.params.values(), there.network.params.values(), strict=True):
        np.testing.assert_array_equal(a, asnumpy(b))
    for trainer in (here, there):
        trainer.epochs = 1
        trainer.train()
    # Three plain steps at 0.01 (Adam would make steps of a gradient's rounding): float32 sums in another order,
    # and a ReLU or a pooling window that falls the other way now and then.
    np.testing.assert_allclose(there.train_loss_list, here.train_loss_list, rtol=2e-3)
    for key, a in here.network.arrays().items():
        apart = abs(asnumpy(there.network.arrays()[key]) - a)
        assert np.median(apart) <= 2e-4, key
    assert there.history.rows[0]["train_acc"] == pytest.approx(here.history.rows[0]["train_acc"], abs=1.5 / 20)


def test_averages_are_kept_on_the_device_without_waiting() -> None:
    with installed():
        trainer = _trainer("batch norm", "cuda", average=0.9)
        seen = _second_epoch(trainer)
        assert not seen.syncs
        assert seen.host_to_device.number == seen.device_to_host.number == seen.allocations.number == 0
        here = _trainer("batch norm", "cpu", average=0.9)
        here.epochs = 1
        here.train()
        there = _trainer("batch norm", "cuda", average=0.9)
        there.epochs = 1
        there.train()
        for key, a in here.network.arrays().items():
            np.testing.assert_allclose(asnumpy(there.network.arrays()[key]), a, rtol=0, atol=2e-3, err_msg=key)


def test_averages_of_a_float16_network_are_taken_in_float32(cuda: CudaDevice) -> None:
    net = _normed(seed=1, device=cuda, dtype="float16")
    before = {name: asnumpy(a).copy() for name, a in net.arrays().items()}
    averaging = Averaging(net, 0.9)
    for a in net.params.values():
        a += 0.3
    after = {name: asnumpy(a).copy() for name, a in net.arrays().items()}
    averaging.follow(step=1)  # share: 1 - 1/11
    averaging.show()
    for name, a in net.arrays().items():
        want = before[name] + (after[name] - before[name]) * np.float32(10 / 11)
        np.testing.assert_allclose(asnumpy(a), want, rtol=0, atol=1e-6, err_msg=name)  # float16 would be 1e-4 off


def test_a_model_moves_between_machines(device: Device, tmp_path: Path) -> None:
    trainer = _trainer("batch norm", device)
    trainer.epochs = 1
    trainer.train()
    x = np.random.default_rng(1).random((5, 1, 12, 12), dtype=np.float32)
    wanted = asnumpy(trainer.network.predict(x))
    for suffix, other in itertools.product((".safetensors", ".npz", ".pkl"), ("cpu", device)):
        path = tmp_path / f"model{suffix}"
        trainer.network.save_params(path)
        net = _normed(seed=9, device=other)
        net.load_params(path)
        np.testing.assert_allclose(asnumpy(net.predict(x)), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_run_resumed_on_the_device_ends_in_the_same_bits(cuda: CudaDevice, dtype: str) -> None:
    whole, first, second = (_trainer("batch norm", cuda, dtype=dtype) for _ in range(3))
    whole.epochs = 2
    whole.train()
    first.epochs = 1
    first.train()
    second.load_state(*first.state())
    second.epochs = 2
    second.train()
    for key, a in whole.network.arrays().items():
        np.testing.assert_array_equal(asnumpy(second.network.arrays()[key]), asnumpy(a), err_msg=key)
    assert second.train_loss_list == whole.train_loss_list
