"""Sums by MPI of arrays on GPUs: right, sent in their order, and what they cost in copies and waits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.communication.by_threads import ThreadCommunicator, train_together
from tests.fake_cupy.counts import counts
from tests.fake_cupy.streams import RaceError
from xpcnn.communication.staged import AwareCommunicator, StagedCommunicator
from xpcnn.device import CudaDevice

BOTH = pytest.mark.parametrize("kind", [StagedCommunicator, AwareCommunicator])


@BOTH
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("size", [1, 3])
def test_all_get_the_sum(double: CudaDevice, kind: type[StagedCommunicator], size: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    parts = rng.integers(-9, 9, (size, 2, 3)).astype(dtype)

    def work(control: ThreadCommunicator) -> list[list[float]]:
        made = kind(control, double)
        a = double.asarray(parts[control.rank])
        made.sum(a)
        found = double.asnumpy(a).tolist()
        made.sum(a)  # the pinned memory of the first is used again
        np.testing.assert_array_equal(double.asnumpy(a), parts.sum(axis=0) * size)
        assert (made.calls, made.bytes) == (2, 2 * a.nbytes)
        return found

    for found in train_together(size, work, on_device=kind is AwareCommunicator):
        assert found == parts.sum(axis=0).tolist()


@BOTH
def test_sums_that_run_beside_work_come_in_their_order(double: CudaDevice, kind: type[StagedCommunicator]) -> None:
    def work(control: ThreadCommunicator) -> list[tuple[int, str]]:
        made = kind(control, double)
        arrays = [double.asarray(np.full(n, control.rank + 1, np.float32)) for n in (4, 2, 6)]
        pending = [made.start_sum(a) for a in arrays]
        if control.rank == 0:
            pending[0].poke()
        for p in reversed(pending):  # waiting for the last sends the first
            p.wait()
        assert [a.tolist() for a in arrays] == [[3] * 4, [3] * 2, [3] * 6]
        return control.log

    logs = train_together(2, work, on_device=kind is AwareCommunicator)
    assert logs == [[(16, "float32"), (8, "float32"), (24, "float32")]] * 2


def test_what_staging_costs(double: CudaDevice) -> None:
    """A copy there, a wait for it, and a copy back that nobody waits for."""

    def work(control: ThreadCommunicator) -> None:
        made = StagedCommunicator(control, double)
        a = double.asarray(np.ones(5, np.float32))
        made.sum(a)
        with counts.watch() as seen:
            pending = made.start_sum(a)
            assert not seen.syncs
            assert seen.device_to_host.bytes == 20
            pending.wait()
        assert seen.syncs == {"Event.synchronize": 1}
        assert (seen.device_to_host.bytes, seen.host_to_device.bytes, seen.allocations.number) == (20, 20, 0)
        assert made.seconds > 0.0

    train_together(1, work)


def test_mpi_that_reads_the_device_needs_no_copies(double: CudaDevice) -> None:
    def work(control: ThreadCommunicator) -> None:
        made = AwareCommunicator(control, double)
        a = double.asarray(np.ones(5, np.float32))
        with counts.watch() as seen:
            made.sum(a)
        assert seen.syncs == {"Event.synchronize": 1}
        assert seen.device_to_host.number == seen.host_to_device.number == 0

    train_together(1, work, on_device=True)


def test_the_array_may_not_be_touched_before_the_sum_is_there(double: CudaDevice) -> None:
    def work(control: ThreadCommunicator) -> None:
        a = double.asarray(np.ones(4, np.float32))
        StagedCommunicator(control, double).start_sum(a)
        with pytest.raises(RaceError, match="writes what stream .* reads"):
            a += 1.0

    train_together(1, work)


def test_half_precision_is_rounded_once(double: CudaDevice) -> None:
    """2048 + 1 + 1 is 2050; added up in float16, whose neighbours are 2 apart there, it would stay 2048."""

    def work(control: ThreadCommunicator) -> tuple[float, float, str]:
        a = double.asarray(np.array([[2048, 6e4], [1, 6e4], [1, 6e4]][control.rank], np.float16))
        StagedCommunicator(control, double).sum(a)
        return *a.tolist(), control.log[0][1]

    assert train_together(3, work) == [(2050.0, float("inf"), "float32")] * 3
