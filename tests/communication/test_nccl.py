"""Sums by NCCL: right, in the order of streams, without a wait or a copy; and errors that name the rank."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from tests.communication.by_threads import ThreadCommunicator, train_together
from tests.fake_cupy.counts import counts
from tests.fake_cupy.nccl import NcclCommunicator as DoublesCommunicator
from tests.fake_cupy.nccl import NcclError
from tests.fake_cupy.streams import RaceError
from xpcnn.communication import Alone
from xpcnn.communication.nccl import NcclCommunicator
from xpcnn.device import CudaDevice
from xpcnn.errors import DistributedError, ShapeError


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_get_the_sum(double: CudaDevice, size: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    parts = rng.integers(-9, 9, (size, 5)).astype(dtype)

    def work(control: ThreadCommunicator) -> np.ndarray:
        made = NcclCommunicator(control, double)
        a = double.asarray(parts[control.rank])
        made.sum(a)
        assert (made.calls, made.bytes, made.name) == (1, a.nbytes, "NCCL")
        return double.asnumpy(a)

    for found in train_together(size, work):
        np.testing.assert_array_equal(found, parts.sum(axis=0))


def test_arrays_of_the_host_go_another_way(double: CudaDevice) -> None:
    def work(control: ThreadCommunicator) -> tuple[Any, ...]:
        made = NcclCommunicator(control, double)
        a, b = np.ones(2), np.ones(3)
        with counts.watch() as seen:
            made.sum(a)
            made.start_sum(b).wait()
        return a.tolist(), b.tolist(), made.all(made.rank), made.from_first(f"of {made.rank}"), dict(seen.collectives)

    assert train_together(2, work) == [([2, 2], [2, 2, 2], [0, 1], "of 0", {})] * 2


def test_nothing_waits_and_nothing_is_copied(double: CudaDevice) -> None:
    made = NcclCommunicator(Alone(), double)
    a, b = double.asarray(np.ones(6, np.float32)), double.asarray(np.ones(2))
    with counts.watch() as seen:
        first = made.start_sums([a, b])
        second = made.start_sum(a)
        first.wait()
        second.wait()
        a += 1.0
    assert not seen.syncs
    assert not seen.allocations.number
    assert seen.host_to_device.number == seen.device_to_host.number == 0
    assert seen.collectives == {"allReduce": 3}
    assert seen.collected.bytes == 6 * 4 + 2 * 8 + 6 * 4


def test_the_sum_runs_beside_other_work(double: CudaDevice) -> None:
    made = NcclCommunicator(Alone(), double)
    a = double.asarray(np.zeros(8, np.float32))
    a += 1.0  # the sum comes after this
    pending = made.start_sum(a[4:])
    a[:4] += 1.0  # and what comes after its beginning need not wait
    with pytest.raises(RaceError):
        _ = a[4:] + 1.0
    pending.wait()
    assert (a + 1.0).tolist() == [3.0] * 4 + [2.0] * 4


def test_what_cannot_be_added_up(double: CudaDevice) -> None:
    made = NcclCommunicator(Alone(), double)
    with pytest.raises(ShapeError, match="C-contiguous"):
        made.start_sum(double.asarray(np.ones((2, 3), np.float32)).T)
    with pytest.raises(ShapeError, match="NCCL adds up arrays of float16, .* got bool"):
        made.start_sum(double.asarray(np.ones(3, bool)))


def test_an_error_on_the_first_rank_reaches_all(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    nccl = importlib.import_module("cupy.cuda.nccl")

    def fail() -> bytes:
        raise NcclError(2)

    monkeypatch.setattr(nccl, "get_unique_id", fail)

    def work(control: ThreadCommunicator) -> str:
        with pytest.raises(DistributedError) as caught:
            NcclCommunicator(control, double)
        return str(caught.value)

    for rank, words in enumerate(train_together(2, work)):
        assert words.startswith(f"rank {rank} on ")
        assert "cannot open NCCL on cuda:0: NCCL_ERROR_SYSTEM_ERROR" in words


def test_giving_up_ends_what_is_under_way(double: CudaDevice) -> None:
    made = NcclCommunicator(Alone(), double)
    made.give_up()
    with pytest.raises(DistributedError, match="cannot begin a sum over the GPUs: .* was destroyed"):
        made.sum(double.asarray(np.ones(3, np.float32)))
    other = NcclCommunicator(Alone(), double)
    with counts.watch() as seen:
        other.sum(double.asarray(np.ones(3, np.float32)))
    assert seen.collectives == {"allReduce": 1}, "the group of the sum that failed was left open"


def test_the_end_of_a_process_waits_for_no_card(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[Any] = []
    monkeypatch.setattr("atexit.register", lambda function, *arguments: ends.append((function, arguments)))
    made = NcclCommunicator(Alone(), double)
    ((leave, arguments),) = ends
    leave(*arguments)
    with pytest.raises(DistributedError, match="a sum over the GPUs has failed"):
        made.check()
    del made
    leave(*arguments)  # it has gone before


def test_an_error_that_comes_later(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    made = NcclCommunicator(Alone(), double)
    made.check()

    def fail(_: Any) -> None:
        raise NcclError(6)

    monkeypatch.setattr(DoublesCommunicator, "check_async_error", fail)
    with pytest.raises(DistributedError, match="rank 0 on .*: a sum over the GPUs has failed: NCCL_ERROR_REMOTE_ERROR"):
        made.check()
