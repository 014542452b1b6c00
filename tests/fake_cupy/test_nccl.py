"""The double's NCCL: sums of several ranks, and what a card would answer with a hang, wrong numbers or an error."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.counts import counts
from tests.fake_cupy.install import installed
from tests.fake_cupy.nccl import NcclError, ranks
from tests.fake_cupy.streams import RaceError


@pytest.fixture
def cupy() -> Iterator[Any]:
    with installed() as double:
        yield double


@pytest.fixture
def nccl(cupy: Any) -> Any:
    return importlib.import_module("cupy.cuda.nccl")


def _sum(nccl: Any, comm: Any, a: Any, stream: int = 0, **how: Any) -> None:
    kinds = {"float16": nccl.NCCL_HALF, "float32": nccl.NCCL_FLOAT, "int64": nccl.NCCL_INT64}
    comm.allReduce(a.data.ptr, a.data.ptr, a.size, kinds[a.dtype.name], nccl.NCCL_SUM, stream, **how)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int64"])
def test_ranks_add_up(cupy: Any, nccl: Any, dtype: str) -> None:
    unique = nccl.get_unique_id()

    def work(rank: int) -> list[float]:
        comm = nccl.NcclCommunicator(3, unique, rank)
        assert (comm.rank_id(), comm.size()) == (rank, 3)
        a = cupy.full(4, 10**rank, dtype=dtype)
        _sum(nccl, comm, a[1:3])
        return a.tolist()

    assert ranks(3, work) == [[10**r, 111, 111, 10**r] for r in range(3)]


def test_calls_and_bytes_are_counted(cupy: Any, nccl: Any) -> None:
    comm = nccl.NcclCommunicator(1, nccl.get_unique_id(), 0)
    a = cupy.ones(6, dtype="float32")
    with counts.watch() as seen:
        _sum(nccl, comm, a)
        _sum(nccl, comm, a[:2])
    assert seen.collectives == {"allReduce": 2}
    assert (seen.collected.number, seen.collected.bytes) == (2, 32)
    assert not seen.syncs
    assert seen.host_to_device.number == seen.device_to_host.number == 0


def test_a_group_begins_at_its_end(cupy: Any, nccl: Any) -> None:
    comm = nccl.NcclCommunicator(1, nccl.get_unique_id(), 0)
    with counts.watch() as seen:
        nccl.groupStart()
        _sum(nccl, comm, cupy.ones(6, dtype="float32"))
        assert not seen.collectives
        nccl.groupEnd()
    assert seen.collectives == {"allReduce": 1}
    with pytest.raises(NcclError, match="INVALID_USAGE"):
        nccl.groupEnd()


def test_a_stream_that_does_not_wait_is_a_race(cupy: Any, nccl: Any) -> None:
    comm, beside = nccl.NcclCommunicator(1, nccl.get_unique_id(), 0), cupy.cuda.Stream(non_blocking=True)
    a = cupy.zeros(4, dtype="float32")
    with pytest.raises(RaceError):
        _sum(nccl, comm, a, beside.ptr)
    beside.wait_event(cupy.cuda.get_current_stream().record())
    _sum(nccl, comm, a[:2], beside.ptr)
    a[2:] += 1.0  # other bytes of the same allocation
    with pytest.raises(RaceError):
        _ = a[1:] + 1.0
    cupy.cuda.get_current_stream().wait_event(beside.record())
    a[1:] += 1.0
    assert a.tolist() == [0, 1, 2, 2]


def test_ranks_that_call_different_things(cupy: Any, nccl: Any) -> None:
    unique = nccl.get_unique_id()

    def work(rank: int) -> None:
        _sum(nccl, nccl.NcclCommunicator(2, unique, rank), cupy.ones(3 + rank, dtype="float32"))

    with pytest.raises(NcclError, match="rank 0: allReduce of 3 float32; rank 1: allReduce of 4 float32"):
        ranks(2, work)


def test_arguments_that_cupy_refuses(cupy: Any, nccl: Any) -> None:
    with pytest.raises(TypeError, match="expected bytes, got tuple"):
        nccl.NcclCommunicator(1, tuple(nccl.get_unique_id()), 0)
    with pytest.raises(ValueError, match="length 2"):
        nccl.NcclCommunicator(1, b"ab", 0)
    comm, a = nccl.NcclCommunicator(1, nccl.get_unique_id(), 0), cupy.ones(4, dtype="float32")
    with pytest.raises(TypeError):
        comm.allReduce(a, a, 4, nccl.NCCL_FLOAT, nccl.NCCL_SUM, 0)
    with pytest.raises(NcclError, match="do not lie in one array"):
        comm.allReduce(a.data.ptr, a.data.ptr, 5, nccl.NCCL_FLOAT, nccl.NCCL_SUM, 0)
    host = np.ones(4, dtype=np.float32)
    with pytest.raises(NcclError, match="do not lie in one array"):
        comm.allReduce(host.ctypes.data, host.ctypes.data, 4, nccl.NCCL_FLOAT, nccl.NCCL_SUM, 0)
    with pytest.raises(NotImplementedError, match="broadcast is in CuPy"):
        comm.broadcast(0, 0, 0, 0, 0, 0)
    comm.destroy()
    with pytest.raises(NcclError, match="destroyed"):
        _sum(nccl, comm, a)
