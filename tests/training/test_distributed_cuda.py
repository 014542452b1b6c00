"""A Trainer in several processes on the double of CuPy: the figures of one process, and no waiting for a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.communication import processes
from tests.communication.by_threads import ThreadCommunicator, train_together
from tests.fake_cupy.counts import counts
from tests.training import cuda_ranks
from xpcnn import Sequential, Trainer, layers
from xpcnn.communication import Alone
from xpcnn.communication import choose as choosing
from xpcnn.communication.nccl import NcclCommunicator
from xpcnn.data.augment import parse_augment
from xpcnn.device import CudaDevice, asnumpy
from xpcnn.errors import DistributedError


def _trainer(device: CudaDevice, N: int = 27, dtype: str = "float32", **how: Any) -> Trainer:
    rng = np.random.default_rng(2)
    x, t = rng.integers(0, 256, (N, 1, 6, 6)).astype(np.uint8), rng.integers(0, 3, N)
    entries = [layers.conv(4, 3), "batch_norm", "relu", layers.affine(6), "relu", layers.affine(3)]
    net = Sequential(entries, input_shape=(1, 6, 6), seed=0, device=device, dtype=dtype)
    fixed: dict[str, Any] = {"epochs": 2, "mini_batch_size": 10, "scale": 1 / 255, "verbose": False, "seed": 3}
    return Trainer(net, x, t, x[:9], t[:9], optimizer="momentum", optimizer_param={"lr": 0.05}, **fixed, **how)


def _outcome(trainer: Trainer) -> dict[str, Any]:
    rows = trainer.train().rows
    names = ("train_loss", "train_acc", "test_loss", "test_acc")
    return {
        "arrays": {name: asnumpy(a) for name, a in trainer.network.arrays().items()},
        "rows": [[row[name] for name in names] for row in rows],
        "losses": trainer.train_loss_list,
    }


@pytest.fixture
def one_card_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the threads, which stand for processes, share the double."""
    monkeypatch.setattr(choosing, "_shared", lambda told: "")


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({}, id="uploaded"),
        pytest.param({"augment": parse_augment("shift=1")}, id="streamed"),
        pytest.param({"average": 0.9}, id="averaged"),
    ],
)
@pytest.mark.parametrize("size", [2, 3])
def test_the_figures_are_those_of_one_process(
    double: CudaDevice, one_card_for_all: None, size: int, how: dict[str, Any]
) -> None:
    wanted = _outcome(_trainer(double, **how))
    found = train_together(size, lambda control: _outcome(_trainer(double, distributed=_watched(control), **how)))
    for mine in found:
        # float32 rounds to 6e-8; six steps with sums in another order.
        np.testing.assert_allclose(mine["losses"], wanted["losses"], rtol=0, atol=5e-6)
        np.testing.assert_allclose(mine["rows"], wanted["rows"], rtol=0, atol=5e-6)
        for name, a in wanted["arrays"].items():
            np.testing.assert_allclose(mine["arrays"][name], a, rtol=0, atol=5e-6, err_msg=name)
            np.testing.assert_array_equal(mine["arrays"][name], found[0]["arrays"][name], err_msg=name)


def _watched(control: ThreadCommunicator) -> ThreadCommunicator:
    """Threads need no Lifeline, which opens sockets between processes."""
    control.watched = True
    return control


@pytest.mark.parametrize("nccl", [False, True])
def test_a_single_process_gives_the_bits_of_plain_training(double: CudaDevice, nccl: bool) -> None:
    wanted = _outcome(_trainer(double))
    found = _outcome(_trainer(double, distributed=NcclCommunicator(Alone(), double) if nccl else Alone()))
    assert found["losses"] == wanted["losses"]
    for name, a in wanted["arrays"].items():
        np.testing.assert_allclose(found["arrays"][name], a, rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_steps_by_nccl_wait_for_nothing(double: CudaDevice, dtype: str) -> None:
    trainer = _trainer(double, 80, dtype, distributed=NcclCommunicator(Alone(), double), train_accuracy="running")
    seen: list[Any] = []

    steps = iter(range(100))
    usual = trainer.team.pass_through

    def watched(trainer: Trainer, x: Any, t: Any) -> Any:
        if next(steps) < 2:
            return usual(trainer, x, t)
        with counts.watch() as here:
            loss = usual(trainer, x, t)
            trainer.optimizer.update(trainer.network.params, trainer.network.grads)
        seen.append(here)
        return loss

    trainer.team.pass_through = watched  # type: ignore[method-assign]
    trainer.train()
    assert len(seen) > 10
    for here in seen:
        assert not here.syncs
        assert here.host_to_device.number == here.device_to_host.number == 0
        # Loss and right answers, one bucket, and two sums of batch normalisation.
        assert here.collectives == {"allReduce": 5}


def test_processes_that_share_a_card_are_refused(double: CudaDevice) -> None:
    with pytest.raises(DistributedError, match="ranks 0 and 1 would share one GPU: host .* runs 2 processes"):
        train_together(2, lambda control: _trainer(double, distributed=_watched(control)).train())


def test_real_processes_through_the_hosts_memory(double: CudaDevice, tmp_path: Path) -> None:
    processes.needs_mpi()
    done = processes.mpiexec(2, "-m", "tests.training.cuda_ranks", tmp_path / "found.npz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 ranks, MPI through host memory (not nccl: rank 0: CuPy finds no NCCL library")
    wanted = cuda_ranks.trained(False)
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_allclose(found["losses"], wanted.train_loss_list, rtol=0, atol=5e-6)
        for name, a in wanted.network.arrays().items():
            np.testing.assert_allclose(found[name], asnumpy(a), rtol=0, atol=5e-6, err_msg=name)
