"""The exchange of gradients on the double: what goes when, what it costs, and how all stop together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.communication.by_threads import ThreadCommunicator, train_together
from tests.executors.test_cuda_distributed import convolutional, data, normalised
from tests.fake_cupy.counts import Counts, counts
from xpcnn.communication import Alone, Communicator
from xpcnn.communication.nccl import NcclCommunicator
from xpcnn.device import CudaDevice
from xpcnn.executors import cuda_exchange
from xpcnn.executors.tally import Tally
from xpcnn.models import DeepConvNet, SimpleConvNet
from xpcnn.network import Network
from xpcnn.optimizers import make_optimizer


def _counted(double: CudaDevice, make: Callable[..., Network], communicator: Communicator | None) -> Counts:
    """One step on the device, the third of its kind."""
    net = make(device=double)
    part = None
    if communicator is not None:
        exchange = net.executor.join(communicator, net.param_dtype)
        net.executor.across, part = exchange.communicator.sum, slice(0, 4)
    x = double.asarray(np.random.default_rng(0).random((4, *net.input_shape), dtype=np.float32))
    t = double.asarray(np.arange(4))
    optimizer, tally = make_optimizer("adam"), Tally(double.xp)
    for _ in range(2):
        net.train_pass(x, t, tally, part)
        optimizer.update(net.params, net.grads)
    with counts.watch() as seen:
        net.train_pass(x, t, tally, part)
        optimizer.update(net.params, net.grads)
    return seen


@pytest.mark.parametrize(
    ("make", "collectives"), [(convolutional, 3), (normalised, 3 + 4), (SimpleConvNet, 4), (DeepConvNet, 3)]
)
def test_a_step_by_nccl_never_waits(
    double: CudaDevice,
    make: Callable[..., Network],
    collectives: int,
) -> None:
    """Loss, right answers and one bucket, or two; two sums for each batch normalisation."""
    alone = _counted(double, make, None)
    seen = _counted(double, make, NcclCommunicator(Alone(), double))
    assert seen.collectives == {"allReduce": collectives}
    assert not seen.syncs
    assert seen.host_to_device.number == seen.device_to_host.number == 0
    assert seen.allocations.number == alone.allocations.number == 0
    assert seen.operations == alone.operations
    if make is not normalised:
        assert seen.launches == alone.launches


def test_what_goes_over_the_wire(double: CudaDevice) -> None:
    seen = _counted(double, convolutional, NcclCommunicator(Alone(), double))
    net = convolutional(double)
    assert seen.collected.bytes == net.executor.flat.grads.nbytes + 8 + 8


def test_sums_begin_while_the_pass_goes_on(double: CudaDevice) -> None:
    """In the order: figures, then each bucket as soon as the last stage that adds to it is done."""
    happened: list[str] = []
    net = convolutional(double)
    executor = net.executor
    made = NcclCommunicator(Alone(), double)
    executor.exchange = cuda_exchange.CudaExchange(executor.flat, executor.stages, made, bucket=256)
    usual = made.start_sums

    def noted(arrays: Any) -> Any:
        happened.append("+".join(str(a.size) for a in arrays))
        return usual(arrays)

    made.start_sums = noted  # type: ignore[method-assign]
    for stage in executor.stages:

        def backward(*args: Any, stage: Any = stage, usual: Any = stage.backward) -> Any:
            happened.append(stage.name)
            return usual(*args)

        stage.backward = backward
    net.train_pass(*data(8), None, slice(0, 8))
    affine, first = 64 * (-(-8 * 4 // 64) + 1), 64 * (-(-27 * 8 // 64) + 1)
    conv = 64 * (-(-3 * 2 * 9 // 64) + 1)
    names = [stage.name for stage in executor.stages][::-1]
    assert executor.exchange.buckets == [4 * n for n in (affine, first, conv)]
    assert happened == ["1+1", names[0], str(affine), names[1], names[2], str(first), names[3], str(conv)]


def test_whoever_wants_to_stop_is_heard_at_the_same_step(double: CudaDevice) -> None:
    def work(control: ThreadCommunicator) -> list[int]:
        net = convolutional(double)
        exchange = net.executor.join(NcclCommunicator(control, double), net.param_dtype)
        x, t = data(4)
        stopping = []
        for step in range(1, 2 * cuda_exchange.ASK_EVERY + 1):
            exchange.stop = control.rank == 1 and step >= cuda_exchange.ASK_EVERY + 2
            net.train_pass(x[2 * control.rank :][:2], t, None, slice(2 * control.rank, 2 * control.rank + 2))
            if exchange.stop:
                stopping.append(step)
        return stopping

    assert train_together(2, work) == [[2 * cuda_exchange.ASK_EVERY]] * 2
