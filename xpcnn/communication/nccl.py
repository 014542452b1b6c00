"""Sums by NCCL: from GPU to GPU, in the order of streams, so that no host waits for any of them."""

from __future__ import annotations

import atexit
import importlib
import weakref
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from xpcnn.communication.communicator import Communicator, Pending
from xpcnn.communication.on_device import OnDevice
from xpcnn.device import Array, CudaDevice
from xpcnn.errors import ConfigError, DistributedError, ShapeError

__all__ = ["NcclCommunicator", "load_nccl", "nccl_version"]

_KINDS = {
    "float16": "NCCL_FLOAT16",
    "float32": "NCCL_FLOAT32",
    "float64": "NCCL_FLOAT64",
    "int32": "NCCL_INT32",
    "int64": "NCCL_INT64",
}


def load_nccl() -> ModuleType:
    """CuPy's NCCL. Raises ConfigError, saying why, where its library is not there."""
    try:
        nccl = importlib.import_module("cupy.cuda.nccl")
        if not nccl.available:
            raise ConfigError("CuPy finds no NCCL library; pip install nvidia-nccl-cu12 (or -cu13) brings it")
        nccl.get_version()
    except (ImportError, RuntimeError) as error:
        raise ConfigError(f"NCCL cannot be loaded: {error}") from error
    return nccl


def nccl_version() -> str:
    """As "2.27.3". Raises ConfigError where there is none."""
    number = int(load_nccl().get_version())
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


class NcclCommunicator(OnDevice):
    """One process's end of NCCL, on its own GPU.

    Made by all processes of `control` at once. Raises DistributedError where NCCL does not come up.
    """

    name = "NCCL"

    def __init__(self, control: Communicator, device: CudaDevice) -> None:
        super().__init__(control, device)
        self._nccl = load_nccl()
        unique, wrong = control.from_first(self._unique() if control.rank == 0 else None)
        try:
            if wrong:
                raise self._nccl.NcclError(wrong)
            with self._cuda.Device(device.index):
                self._comm = self._nccl.NcclCommunicator(self.size, unique, self.rank)
        except self._nccl.NcclError as error:
            raise DistributedError(f"{self._who()} cannot open NCCL on {device.name}: {error}") from error
        atexit.register(_leave, weakref.ref(self))

    def check(self) -> None:
        try:
            self._comm.check_async_error()
        except self._nccl.NcclError as error:
            raise DistributedError(
                f"{self._who()}: a sum over the GPUs has failed: {error}; see what the others print, then go on with "
                "--resume"
            ) from error

    def give_up(self) -> None:
        self._comm.abort()
        super().give_up()

    def _unique(self) -> tuple[Any, int]:
        """What all must know to find each other, or the number of the error."""
        try:
            return self._nccl.get_unique_id(), 0
        except self._nccl.NcclError as error:
            return None, error.status

    def _start(self, arrays: Sequence[Array]) -> Pending:
        kinds = [self._kind(a) for a in arrays]
        try:
            self._nccl.groupStart()  # one launch for all of them
            try:
                for a, kind in zip(arrays, kinds, strict=True):
                    self._comm.allReduce(a.data.ptr, a.data.ptr, a.size, kind, self._nccl.NCCL_SUM, self._stream.ptr)
            finally:
                self._nccl.groupEnd()
        except self._nccl.NcclError as error:
            raise DistributedError(f"{self._who()} cannot begin a sum over the GPUs: {error}") from error
        return _Sum(self._cuda, self._event(self._stream), arrays)

    def _kind(self, a: Array) -> int:
        if a.dtype.name not in _KINDS:
            raise ShapeError(f"NCCL adds up arrays of {', '.join(_KINDS)}, got {a.dtype}")
        kind: int = getattr(self._nccl, _KINDS[a.dtype.name])
        return kind

    def _who(self) -> str:
        return f"rank {self.rank} on {self.host}"


def _leave(reference: weakref.ref[NcclCommunicator]) -> None:
    """At the process's end: what a GPU still waits for must not hold it up, as others may be gone."""
    made = reference()
    if made is not None:
        made._comm.abort()


class _Sum(Pending):
    def __init__(self, cuda: ModuleType, done: Any, arrays: Sequence[Array]) -> None:
        self._cuda, self._done = cuda, done
        self._arrays = arrays  # their memory must not be given away while NCCL uses it

    def wait(self) -> None:
        self._cuda.get_current_stream().wait_event(self._done)
        self._arrays = ()
