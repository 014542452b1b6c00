"""Which GPU each process takes, and how sums of arrays on GPUs travel: what is there is asked, then tried."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

from xpcnn.communication.communicator import Alone, Communicator
from xpcnn.communication.mpi import mpi_library
from xpcnn.communication.nccl import NcclCommunicator, load_nccl, nccl_version
from xpcnn.communication.on_device import OnDevice
from xpcnn.communication.staged import AwareCommunicator, StagedCommunicator
from xpcnn.device import CpuDevice, CudaDevice, Device, get_device
from xpcnn.errors import ConfigError, DeviceError, DistributedError, XpcnnError

__all__ = ["choose", "cuda_aware", "mpi_name", "own_device", "way_here"]


def mpi_name() -> str:
    """The MPI library and its version, as "MPICH 5.0.2". Raises ConfigError where there is none."""
    first = str(mpi_library().Get_library_version()).split("\n")[0].split(",")[0]
    return " ".join(first.replace("Version:", " ").strip("\0 ").split())


def cuda_aware() -> str:
    """Why MPI must not be given arrays on a GPU; empty where it says that it takes them.

    Only asked, never tried: a library that cannot would crash.
    """
    try:
        mpi = mpi_library()
    except ConfigError as error:
        return str(error)
    if os.environ.get("MPICH_GPU_SUPPORT_ENABLED") == "1":  # Cray's MPICH
        return ""
    if not mpi.Is_initialized() or mpi.Is_finalized():  # MPICH ends a process that asks it now
        return "MPI is not running"
    name = mpi_name()
    try:
        answer = ctypes.CDLL(mpi.__file__).MPIX_Query_cuda_support()
    except (AttributeError, OSError):
        return f"{name} does not say that it takes arrays on GPUs"
    return "" if answer == 1 else f"{name} was built without CUDA"


def _no_nccl() -> str:
    try:
        load_nccl()
    except ConfigError as error:
        return str(error)
    return ""


def _always() -> str:
    return ""


# In the order of preference: the class, and a function that says why not. The last one always works.
_WAYS: dict[str, tuple[Callable[[Communicator, CudaDevice], OnDevice], Callable[[], str]]] = {
    "nccl": (NcclCommunicator, _no_nccl),
    "aware": (AwareCommunicator, cuda_aware),
    "staged": (StagedCommunicator, _always),
}


def way_here(not_aware: str) -> str:
    """How GPUs of this machine would add up, and why not better, in a line. not_aware: what `cuda_aware` says."""
    reasons = {"NCCL": _no_nccl(), AwareCommunicator.name: not_aware}
    refused = [f"not {name}: {why}" for name, why in reasons.items() if why]
    found = next((name for name, why in reasons.items() if not why), StagedCommunicator.name)
    if found == "NCCL":
        return f"NCCL {nccl_version()}"
    return f"{found} ({'; '.join(refused)})"


def choose(control: Communicator, device: Device, way: str = "auto") -> Communicator:
    """The communicator for arrays on `device`, which says in `why` how it was chosen; `control` itself on a CPU, or
    where it is one for GPUs already.

    way: "auto", the first of "nccl", "aware" (CUDA-aware MPI) and "staged" (through the host's memory) that every
    process has and that adds up rightly; or one of these. Called by all processes at once, so that all take the same.
    Raises DistributedError where the way asked for cannot be gone, naming the rank that cannot.
    """
    if way != "auto" and way not in _WAYS:
        raise ConfigError(f"sums travel by auto, {', '.join(_WAYS)}, got {way!r}")
    if not isinstance(device, CudaDevice) or isinstance(control, OnDevice):
        return control
    if control.size == 1 and way == "auto":
        return control if isinstance(control, Alone) else Alone()
    refused: list[str] = []
    for name, (kind, why_not) in _WAYS.items():
        if way not in ("auto", name):
            continue
        reason = _first_reason(control, why_not())
        if not reason:
            made, trouble = _opened(kind, control, device)
            reason = _first_reason(control, trouble)
            if made is not None and not reason:
                made.why = f"{made.name}" + (f" ({'; '.join(refused)})" if refused else "")
                return made
        refused.append(f"not {name}: {reason}")
    raise DistributedError(f"arrays on {device.name} cannot be added up over processes: {'; '.join(refused)}")


def _opened(
    kind: Callable[[Communicator, CudaDevice], OnDevice], control: Communicator, device: CudaDevice
) -> tuple[OnDevice | None, str]:
    """A communicator that has added up two numbers, or what went wrong."""
    try:
        made = kind(control, device)
        with device.xp.cuda.Device(device.index):
            probe = device.xp.full(2, made.rank + 1, dtype="float32")
            made.sum(probe)
            found = device.asnumpy(probe).tolist()
    except (XpcnnError, RuntimeError, MemoryError) as error:  # RuntimeError: CUDA's, NCCL's and mpi4py's
        return None, str(error)
    wanted = made.size * (made.size + 1) / 2
    return made, "" if found == [wanted, wanted] else f"it adds 1 to {made.size} up to {found[0]:g}, not {wanted:g}"


def _first_reason(control: Communicator, reason: str) -> str:
    """What any process has to say against it, with its rank."""
    said = control.all(reason)
    return next((f"rank {rank}: {words}" for rank, words in enumerate(said) if words), "")


def own_device(control: Communicator, name: str | Device | None) -> Device:
    """The device that this process trains on: on a host with several processes and GPUs, each takes one of its own.

    name: "cpu", "cuda" (the GPU whose number is the process's on its host, or the only one that it sees), "auto" (GPUs
    where every process has a usable one, else the CPU everywhere), or a Device. Called by all processes at once.
    Raises DistributedError, on all of them, where some would train on a GPU and some not, two would share one, or a
    process has none.
    """
    if control.size == 1:
        return get_device(name)
    word = name.name if isinstance(name, Device) else "cpu" if name is None else str(name).strip().lower()
    card, identity, trouble = None, None, ""
    if word != "cpu":
        try:
            card, identity = _card(control, word)
        except DeviceError as error:
            trouble = str(error)
    told: list[_Told] = control.all((control.host, word, identity, trouble))
    words = [word for _, word, _, _ in told]
    fault = _without(told) or _shared(told)
    if "cpu" in words or (fault and set(words) == {"auto"}):
        other = next((rank for rank, word in enumerate(words) if word not in ("cpu", "auto")), None)
        if other is not None:
            raise DistributedError(
                f"rank {other} is to train on {words[other]}, rank {words.index('cpu')} on the CPU; give all the same"
            )
        return (
            get_device("cpu")
            if word == "cpu"
            else CpuDevice(f"auto: {fault.split(';')[0] or 'another process is on the CPU'}")
        )
    if fault:
        raise DistributedError(fault)
    assert card is not None
    card.xp.cuda.Device(card.index).use()  # of this process, for all that does not name one
    return name if isinstance(name, Device) else card


_Told = tuple[str, str, Any, str]  # host, the device asked for, what tells its GPU from others, why it has none


def _without(told: list[_Told]) -> str:
    """What is wrong where a process has no GPU."""
    without = next(((rank, why) for rank, (*_, why) in enumerate(told) if why), None)
    return "" if without is None else f"every process needs a GPU of its own, but rank {without[0]}: {without[1]}"


def _card(control: Communicator, word: str) -> tuple[CudaDevice, Any]:
    """The GPU of this process, and what tells it from all others of the host."""
    first = get_device("cuda" if word == "auto" else word)
    if not isinstance(first, CudaDevice):
        raise DeviceError(f"{first.name} is no GPU")
    runtime = first.xp.cuda.runtime
    here = runtime.getDeviceCount()
    # A launcher that shows each process one card has chosen already (CUDA_VISIBLE_DEVICES).
    if ":" not in word and here > 1:
        index = control.local_rank % here
        first = first if index == first.index else get_device(f"cuda:{index}")
    assert isinstance(first, CudaDevice)
    facts = runtime.getDeviceProperties(first.index)
    places = ("pciDomainID", "pciBusID", "pciDeviceID")
    return first, (facts.get("uuid"), *(facts.get(place) for place in places))


def _shared(told: list[_Told]) -> str:
    """What is wrong where two processes of a host have one GPU."""
    seen: dict[tuple[str, Any], int] = {}
    for rank, (host, _, identity, _) in enumerate(told):
        if identity is None:
            continue
        other = seen.setdefault((host, identity), rank)
        if other != rank:
            processes = sum(1 for h, *_ in told if h == host)
            cards = len({i for h, _, i, _ in told if h == host})
            return (
                f"ranks {other} and {rank} would share one GPU: host {host} runs {processes} processes and shows them "
                f"{cards} GPU(s); start as many processes on a host as it has GPUs, or take --device cpu"
            )
    return ""
