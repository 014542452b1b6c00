"""Sums over processes on a card, as far as one card and one process can show them: NCCL itself, streams, and copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcnn import Trainer
from xpcnn.communication import Alone
from xpcnn.communication.choose import choose
from xpcnn.communication.nccl import load_nccl
from xpcnn.communication.on_device import OnDevice
from xpcnn.device import CudaDevice, asnumpy
from xpcnn.errors import ConfigError
from xpcnn.models import DeepConvNet, SimpleConvNet


def _opened(card: CudaDevice, way: str) -> OnDevice:
    if way == "nccl":
        try:
            load_nccl()
        except ConfigError as error:
            pytest.skip(str(error))
    made = choose(Alone(), card, way)
    assert isinstance(made, OnDevice)
    return made


class _Loopback(Alone):
    """MPI of one process, in words: the host's arrays only."""

    def start_sum(self, a: Any) -> Any:
        assert isinstance(a, np.ndarray)
        return super().start_sum(a)


@pytest.mark.parametrize("way", ["nccl", "staged"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_a_sum_of_one_changes_nothing(card: CudaDevice, way: str, dtype: str) -> None:
    made, host = _opened(card, way), (np.arange(100003) % 1000).astype(dtype)
    a = card.asarray(host)
    made.sum(a)
    a += 1
    np.testing.assert_array_equal(asnumpy(a), host + np.dtype(dtype).type(1))


@pytest.mark.parametrize("way", ["nccl", "staged"])
def test_sums_of_parts_beside_other_work(card: CudaDevice, way: str) -> None:
    """Written on one stream, summed on another, read on the first: what no event orders would show as old numbers."""
    made, xp = _opened(card, way), card.xp
    a = xp.zeros(1 << 22, dtype=np.float32)
    cuts = [slice(i << 20, (i + 1) << 20) for i in range(4)]
    for _ in range(5):
        pending = []
        for cut in reversed(cuts):
            a[cut] += 1.0
            pending.append(made.start_sum(a[cut]))
        for p in pending:
            p.wait()
        a *= 2.0
    np.testing.assert_array_equal(asnumpy(xp.stack([a.min(), a.max()])), [62.0, 62.0])


def _trained(card: CudaDevice, dtype: str, communicator: OnDevice | None) -> tuple[list[float], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    x, t = rng.random((14, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 14)
    net = SimpleConvNet(seed=0, weight_init_std="he", device=card, dtype=dtype)
    how: dict[str, Any] = {"epochs": 1, "mini_batch_size": 5, "optimizer": "adam", "verbose": False}
    trainer = Trainer(net, x, t, **how, train_accuracy="running", distributed=communicator or False)
    trainer.train()
    return trainer.train_loss_list, {name: asnumpy(a) for name, a in net.params.items()}


@pytest.mark.parametrize(("way", "dtype"), [("nccl", "float32"), ("nccl", "float16"), ("staged", "float32")])
def test_training_over_one_process_gives_the_bits_of_plain_training(card: CudaDevice, way: str, dtype: str) -> None:
    losses, params = _trained(card, dtype, None)
    found, found_params = _trained(card, dtype, _opened(card, way))
    assert found == losses
    for name, a in params.items():
        np.testing.assert_array_equal(found_params[name], a, err_msg=name)


def test_a_step_returns_before_its_sums_are_done(real: CudaDevice) -> None:
    made = _opened(real, "nccl")
    net = DeepConvNet(seed=0, device=real)
    exchange = net.executor.join(made, net.param_dtype)
    net.executor.across = exchange.communicator.sum
    rng = np.random.default_rng(0)
    x = real.asarray(rng.random((50, 1, 28, 28), dtype=np.float32))
    t = real.asarray(rng.integers(0, 10, 50))
    net.train_pass(x, t, None, slice(0, 50))  # compiles
    big = real.xp.ones((8192, 8192), dtype=np.float32)
    real.synchronize()
    end = real.xp.cuda.Event()
    for _ in range(20):
        big @ big  # a second of work, or a good part of one
    net.train_pass(x, t, None, slice(0, 50))
    end.record()
    assert not end.done, "the step waited for its sums"
    real.synchronize()


def test_what_this_card_would_take(card: CudaDevice) -> None:
    """One process adds nothing up; what is asked for is what comes."""
    alone = Alone()
    assert choose(alone, card) is alone
    assert choose(_Loopback(), card, "staged").name == "MPI through host memory"
