"""Several processes on the double: the same training as one process's, and nothing that waits for a device.

The processes are threads over one double; each would have a card of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.communication.by_threads import ThreadCommunicator, train_together
from tests.fake_cupy.memory import OutOfMemoryError
from xpcnn import Sequential, layers
from xpcnn.communication import Communicator
from xpcnn.communication.nccl import NcclCommunicator
from xpcnn.communication.staged import AwareCommunicator, StagedCommunicator
from xpcnn.device import CudaDevice, asnumpy
from xpcnn.executors import cuda_exchange
from xpcnn.executors.tally import Tally
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.network import Network
from xpcnn.optimizers import make_optimizer

BATCHES = (7, 7, 2)  # with three processes: uneven parts, and one that is empty

Step = tuple[float, int, int]  # loss, right answers and samples so far


def data(N: int, K: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((N, 2, 6, 6)).astype(np.float32), rng.integers(0, K, N)


def convolutional(device: Any, **how: Any) -> Network:
    entries = [layers.conv(3, 3, pad=1), "relu", layers.max_pool(2), layers.affine(8), "relu", layers.dropout(0.3)]
    return Sequential([*entries, layers.affine(4)], input_shape=(2, 6, 6), seed=0, device=device, **how)


def normalised(device: Any, **how: Any) -> Network:
    entries = [layers.conv(3, 3), "batch_norm", "relu", layers.affine(5), "batch_norm", layers.affine(4)]
    return Sequential(entries, input_shape=(2, 6, 6), seed=0, device=device, **how)


def _other_layers(device: Any, **how: Any) -> Network:
    """With layers that the CUDA path does by their reference code: batch normalisation of (N, C, L) among them."""
    entries = [layers.conv(3, 3), layers.reshape(3, 16), "batch_norm", "elu", "flatten", layers.affine(4)]
    return Sequential(entries, input_shape=(2, 6, 6), seed=0, device=device, **how)


def _steps(
    net: Network, batches: tuple[int, ...], part_of: Callable[[int], slice] | None = None, t: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], list[Step]]:
    """Parameters and running statistics after a step on each batch, and what was counted."""
    x, labels = data(sum(batches))
    t = labels if t is None else t
    optimizer = make_optimizer("momentum", lr=0.05)
    tally, seen, start = Tally(net.device.xp), [], 0
    for N in batches:
        part = slice(0, N) if part_of is None else part_of(N)
        mine = x[start : start + N][part]
        loss, scores = net.train_pass(mine, t[start : start + N], tally, None if part_of is None else part)
        assert len(scores) == part.stop - part.start
        optimizer.update(net.params, net.grads)
        seen.append((float(loss), int(tally.right[0]), tally.seen))
        start += N
    return {name: asnumpy(a) for name, a in net.arrays().items()}, seen


Kind = Callable[[Communicator, CudaDevice], Communicator]


def _team(
    size: int,
    make: Callable[..., Network],
    device: CudaDevice,
    kind: Kind = NcclCommunicator,
    batches: tuple[int, ...] = BATCHES,
    separately: bool = False,
    prepare: Callable[[int, Network], None] = lambda rank, net: None,
    t: np.ndarray | None = None,
    **how: Any,
) -> list[Any]:
    """(arrays, what was counted, network) of each process."""

    def work(control: ThreadCommunicator) -> Any:
        net = make(device, **how)
        exchange = net.executor.join(kind(control, device), net.param_dtype, separately)
        net.executor.across = None if separately else exchange.communicator.sum
        prepare(control.rank, net)
        rank = control.rank
        return *_steps(net, batches, lambda N: slice(N * rank // size, N * (rank + 1) // size), t), net

    return train_together(size, work, on_device=kind is AwareCommunicator)


def _same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], limit: float) -> None:
    for name, a in wanted.items():
        np.testing.assert_allclose(found[name], a, rtol=0, atol=limit, err_msg=name)


def _check(team: list[Any], one: tuple[dict[str, np.ndarray], list[Step]], limit: float) -> None:
    """All processes have the same bits, and those of one process within rounding."""
    arrays, steps = one
    for found, counted, _ in team:
        _same(found, arrays, limit)
        for (loss, right, seen), (wanted, wanted_right, wanted_seen) in zip(counted, steps, strict=True):
            assert loss == pytest.approx(wanted, abs=limit)
            assert (right, seen) == (wanted_right, wanted_seen)
        for name, a in team[0][0].items():
            np.testing.assert_array_equal(found[name], a, err_msg=name)


LIMIT = 2e-6  # float32 rounds to 6e-8, parameters and losses are near 1, and sums are taken in another order


@pytest.mark.parametrize("kind", [NcclCommunicator, StagedCommunicator, AwareCommunicator])
@pytest.mark.parametrize("make", [convolutional, normalised, _other_layers])
def test_three_train_as_one(double: CudaDevice, make: Callable[..., Network], kind: Kind) -> None:
    _check(_team(3, make, double, kind), _steps(make(double), BATCHES), LIMIT)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_any_number_trains_as_one(double: CudaDevice, size: int) -> None:
    _check(_team(size, normalised, double), _steps(normalised(double), BATCHES), LIMIT)


def test_one_process_alone_gives_the_very_bits(double: CudaDevice) -> None:
    wanted, _ = _steps(convolutional(double), BATCHES)
    found = _team(1, convolutional, double)[0][0]
    for name, a in wanted.items():
        np.testing.assert_array_equal(found[name], a)


def test_small_buckets_change_nothing(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _team(3, normalised, double)
    monkeypatch.setattr(cuda_exchange.CudaExchange.__init__, "__defaults__", (False, 256))
    cut = _team(3, normalised, double)
    assert len(cut[0][2].executor.exchange.buckets) > 3 > len(whole[0][2].executor.exchange.buckets)
    for (found, _, _), (wanted, _, _) in zip(cut, whole, strict=True):
        for name, a in wanted.items():
            np.testing.assert_array_equal(found[name], a)


@pytest.mark.parametrize(
    "loss", [SoftmaxWithLoss(0.1), SoftmaxWithLoss(weights=[1.0, 2.0, 0.5, 3.0]), SoftmaxWithLoss(ignore_index=0)]
)
def test_other_losses(double: CudaDevice, loss: SoftmaxWithLoss) -> None:
    _check(_team(3, convolutional, double, loss=loss), _steps(convolutional(double, loss=loss), BATCHES), LIMIT)


def test_one_hot_labels(double: CudaDevice) -> None:
    t = np.eye(4, dtype=np.float32)[data(sum(BATCHES))[1]]
    _check(_team(3, normalised, double, t=t), _steps(normalised(double), BATCHES, t=t), LIMIT)


def test_half_precision_sees_overflows_everywhere(double: CudaDevice) -> None:
    """Pictures of one process overflow; the step is left out by all, and the scale halved."""

    def scaled(rank: int, net: Network) -> None:
        net.executor.scaling.scale.fill(1024.0)

    def prepare(rank: int, net: Network) -> None:
        scaled(rank, net)
        if rank == 1:
            whole = net.executor._lose

            def overflowing(y: Any, t: Any, N: int) -> Any:
                dy = whole(y, t, N)
                if N == 7:
                    dy *= 60000.0
                    dy *= 60000.0
                return dy

            net.executor._lose = overflowing

    team = _team(2, convolutional, double, batches=(7, 6), prepare=prepare, dtype="float16")
    one = _team(2, convolutional, double, batches=(7, 6), prepare=scaled, dtype="float16")
    for found, _, net in team:
        assert float(net.executor.scaling.scale[0]) == 512.0
        assert int(net.executor.scaling.step[0]) == 1
        for name, a in team[0][0].items():
            np.testing.assert_array_equal(found[name], a)
    assert [int(net.executor.scaling.step[0]) for _, _, net in one] == [2, 2]
    net = convolutional(double, dtype="float16")
    scaled(0, net)
    # float16 rounds to 5e-4 of what is rounded: the second loss is near 4.
    _check(one, _steps(net, (7, 6)), 4e-3)


@pytest.mark.parametrize("when", ["forward", "backward"])
def test_memory_that_runs_out_in_one_process(
    double: CudaDevice,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """It goes in pieces, and the others do not notice; what was summed before is not summed again."""
    monkeypatch.setattr(cuda_exchange.CudaExchange.__init__, "__defaults__", (False, 256))

    def prepare(rank: int, net: Network) -> None:
        if rank == 1:
            stage = net.executor.stages[1 if when == "forward" else 0]
            usual = getattr(stage, when)

            def fails(p: Any, *rest: Any) -> Any:
                if len(rest[-1]) > 2:
                    raise OutOfMemoryError(1 << 20, 0)
                return usual(p, *rest)

            setattr(stage, when, fails)

    team = _team(2, convolutional, double, batches=(12, 5), prepare=prepare)
    assert [net.executor.most for _, _, net in team] == [None, 2]
    _check(team, _steps(convolutional(double), (12, 5)), LIMIT)


def test_statistics_of_each_processs_own(double: CudaDevice) -> None:
    """Each normalises by its part; the running statistics are the mean over all samples of what each would have."""
    team = _team(2, normalised, double, batches=(6,), separately=True)
    for name, a in team[0][0].items():
        np.testing.assert_array_equal(team[1][0][name], a)
    x, t = data(6)
    running = []
    for part in (slice(0, 3), slice(3, 6)):
        net = normalised(double)
        net.train_pass(x[part], t[part])
        running.append({name: asnumpy(a) for name, a in net.state.items()})
    for name in running[0]:
        mean = (running[0][name] + running[1][name]) / 2
        np.testing.assert_allclose(team[0][0][name], mean, rtol=0, atol=1e-6, err_msg=name)
