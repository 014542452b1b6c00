"""Which GPU a process takes, and how sums travel: each possible state of a cluster, and what it is told."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from tests.communication.by_threads import ThreadCommunicator, train_together
from tests.fake_cupy import runtime
from xpcnn.communication import Alone
from xpcnn.communication import choose as choosing
from xpcnn.communication.choose import choose, cuda_aware, mpi_name, own_device, way_here
from xpcnn.device import CudaDevice, get_device
from xpcnn.errors import ConfigError, DeviceError, DistributedError


@pytest.fixture
def no_nccl(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("cupy.cuda.nccl"), "available", False)


def _chosen(double: CudaDevice, **how: Any) -> list[tuple[str, str]]:
    def work(control: ThreadCommunicator) -> tuple[str, str]:
        made = choose(control, double, **how)
        return made.name, made.why

    return train_together(2, work)


def test_nccl_where_all_have_it(double: CudaDevice) -> None:
    assert _chosen(double) == [("NCCL", "NCCL")] * 2


def test_the_hosts_memory_where_nothing_else_goes(double: CudaDevice, no_nccl: None) -> None:
    for name, why in _chosen(double):
        assert name == "MPI through host memory"
        assert "not nccl: rank 0: CuPy finds no NCCL library" in why
        assert "not aware: rank 0: " in why


def test_one_rank_without_it_is_enough(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def only_the_first() -> str:
        asked.append(1)
        return "" if len(asked) == 1 else "no library"

    monkeypatch.setitem(choosing._WAYS, "nccl", (choosing._WAYS["nccl"][0], only_the_first))
    for name, why in _chosen(double):
        assert name == "MPI through host memory"
        assert "not nccl: rank 1: no library" in why


def test_a_way_that_adds_up_wrongly_is_not_taken(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(choosing.NcclCommunicator):
        def sum(self, a: Any) -> None:
            super().sum(a)
            if self.rank == 1:
                a += 1.0

    monkeypatch.setitem(choosing._WAYS, "nccl", (Wrong, choosing._always))
    for name, why in _chosen(double):
        assert name == "MPI through host memory"
        assert "not nccl: rank 1: it adds 1 to 2 up to 4, not 3" in why


def test_a_way_that_was_asked_for(double: CudaDevice, no_nccl: None) -> None:
    assert _chosen(double, way="staged") == [("MPI through host memory",) * 2] * 2
    with pytest.raises(DistributedError, match="cannot be added up over processes: not nccl: rank 0"):
        _chosen(double, way="nccl")
    with pytest.raises(ConfigError, match="got 'carrier pigeon'"):
        choose(Alone(), double, way="carrier pigeon")


def test_where_there_is_nothing_to_choose(double: CudaDevice) -> None:
    alone = Alone()
    assert choose(alone, get_device("cpu")) is alone
    assert choose(alone, double) is alone
    made = choose(alone, double, way="nccl")
    assert (made.name, made.why) == ("NCCL", "NCCL")


@pytest.mark.parametrize(
    ("answer", "variable", "reason"),
    [
        (1, "", ""),
        (0, "", "Some MPI 1.2 was built without CUDA"),
        (None, "", "Some MPI 1.2 does not say that it takes arrays on GPUs"),
        (0, "1", ""),
    ],
)
def test_mpi_is_asked_whether_it_takes_arrays_on_gpus(
    monkeypatch: pytest.MonkeyPatch, answer: int | None, variable: str, reason: str
) -> None:
    mpi = SimpleNamespace(__file__="MPI.so", Get_library_version=lambda: "Some MPI 1.2\nbuilt by hand")
    mpi.Is_initialized, mpi.Is_finalized = lambda: True, lambda: False
    library = SimpleNamespace() if answer is None else SimpleNamespace(MPIX_Query_cuda_support=lambda: answer)
    monkeypatch.setattr(choosing, "mpi_library", lambda: mpi)
    monkeypatch.setattr(choosing.ctypes, "CDLL", lambda name: library)
    monkeypatch.setenv("MPICH_GPU_SUPPORT_ENABLED", variable)
    assert cuda_aware() == reason
    mpi.Is_finalized = lambda: True
    assert cuda_aware() == ("" if variable else "MPI is not running")


def test_no_mpi_takes_no_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Any:
        raise ConfigError("there is none")

    monkeypatch.setattr(choosing, "mpi_library", none)
    assert cuda_aware() == "there is none"


def test_what_info_says(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    assert way_here("MPI says no") == "NCCL 2.32.3"
    monkeypatch.setattr(importlib.import_module("cupy.cuda.nccl"), "available", False)
    assert way_here("").startswith("CUDA-aware MPI (not NCCL: CuPy finds no NCCL library; pip install nvidia-nccl")
    words = way_here("MPI says no")
    assert words.startswith("MPI through host memory (not NCCL: CuPy finds no")
    assert words.endswith("; not CUDA-aware MPI: MPI says no)")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("MPICH Version:      5.0.2\nMPICH Release date: ...", "MPICH 5.0.2"),
        ("Open MPI v5.0.5, package: Open MPI root@host Distribution, ident: 5.0.5", "Open MPI v5.0.5"),
        ("Intel(R) MPI Library 2021.13 for Linux* OS\0", "Intel(R) MPI Library 2021.13 for Linux* OS"),
    ],
)
def test_the_name_of_an_mpi_library(monkeypatch: pytest.MonkeyPatch, said: str, name: str) -> None:
    monkeypatch.setattr(choosing, "mpi_library", lambda: SimpleNamespace(Get_library_version=lambda: said))
    assert mpi_name() == name


# -- devices ---------------------------------------------------------------------------------------------------------


def _cards(monkeypatch: pytest.MonkeyPatch, many: int) -> list[int]:
    """The double with so many cards; the numbers of those that were made the process's own."""
    used: list[int] = []
    facts = runtime.getDeviceProperties(0)
    rt = importlib.import_module("cupy.cuda.runtime")
    monkeypatch.setattr(rt, "getDeviceCount", lambda: many)
    monkeypatch.setattr(rt, "getDeviceProperties", lambda n: {**facts, "uuid": b"%d" % n, "pciBusID": n})
    monkeypatch.setattr(runtime, "setDevice", used.append)
    return used


def _devices(size: int, name: str) -> list[str]:
    return train_together(size, lambda control: own_device(control, name).name)


def test_each_process_takes_the_card_of_its_number(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    used = _cards(monkeypatch, 3)
    assert _devices(3, "cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert {0, 1, 2} <= set(used)
    assert _devices(2, "auto") == ["cuda:0", "cuda:1"]
    assert _devices(2, "cpu") == ["cpu", "cpu"]


def test_fewer_cards_than_processes(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    _cards(monkeypatch, 2)
    words = r"ranks 0 and 2 would share one GPU: host .* runs 3 processes and shows them 2 GPU\(s\); start as many"
    with pytest.raises(DistributedError, match=words):
        _devices(3, "cuda")
    assert _devices(3, "auto") == ["cpu"] * 3
    with pytest.raises(DistributedError, match="ranks 0 and 1 would share one GPU"):
        _devices(2, "cuda:1")


def test_a_launcher_that_shows_each_process_its_own(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's --gpus-per-task: all see one card, number 0, and it is not the same one."""
    _cards(monkeypatch, 1)
    seen = iter(range(8))
    rt = importlib.import_module("cupy.cuda.runtime")
    monkeypatch.setattr(rt, "getDeviceProperties", lambda n: {"uuid": b"%d" % next(seen), "pciBusID": 1})
    assert _devices(2, "cuda") == ["cuda:0", "cuda:0"]


def test_a_process_without_a_card(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = choosing._card, []

    def card(control: Any, word: str) -> Any:
        asked.append(control.rank)
        if control.rank == 1:
            raise DeviceError("no CUDA device was found")
        return real(control, word)

    monkeypatch.setattr(choosing, "_card", card)
    with pytest.raises(DistributedError, match="every process needs a GPU of its own, but rank 1: no CUDA device"):
        _devices(2, "cuda")
    device = train_together(2, lambda control: own_device(control, "auto"))[0]
    assert device.name == "cpu"
    assert "rank 1: no CUDA device" in device.why


@pytest.mark.parametrize(("words", "found"), [(("auto", "cpu"), ["cpu", "cpu"]), (("cpu", "cuda"), None)])
def test_processes_that_ask_for_different_things(
    double: CudaDevice, words: tuple[str, str], found: list[str] | None
) -> None:
    def work(control: ThreadCommunicator) -> str:
        return own_device(control, words[control.rank]).name

    if found is None:
        with pytest.raises(DistributedError, match="rank 1 is to train on cuda, rank 0 on the CPU; give all the same"):
            train_together(2, work)
    else:
        assert train_together(2, work) == found


def test_a_device_that_is_one_already(double: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DistributedError, match="ranks 0 and 1 would share one GPU"):
        train_together(2, lambda control: own_device(control, double))
    monkeypatch.setattr(choosing, "_shared", lambda told: "")
    assert train_together(2, lambda control: own_device(control, double)) == [double, double]


def test_one_process_takes_what_it_is_told(double: CudaDevice) -> None:
    assert own_device(Alone(), "cuda").name == "cuda:0"
    assert own_device(Alone(), None).name == "cpu"
