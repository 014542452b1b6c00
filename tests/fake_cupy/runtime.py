"""cupy.cuda and cupy.cuda.runtime: one card like an H100, always there."""

from __future__ import annotations

from typing import Any

from tests.fake_cupy import streams
from tests.fake_cupy.memory import TOTAL_BYTES, pool
from tests.fake_cupy.names import lacking

_RUNTIME_VERSION = 12090
_PROPERTIES = {
    "name": b"The double (host memory)",
    "totalGlobalMem": TOTAL_BYTES,
    "sharedMemPerBlock": 48 << 10,
    "sharedMemPerBlockOptin": 227 << 10,
    "sharedMemPerMultiprocessor": 228 << 10,
    "regsPerBlock": 65536,
    "warpSize": 32,
    "maxThreadsPerBlock": 1024,
    "maxThreadsDim": (1024, 1024, 64),
    "maxGridSize": (2**31 - 1, 65535, 65535),
    "major": 9,
    "minor": 0,
    "multiProcessorCount": 132,
    "maxThreadsPerMultiProcessor": 2048,
    "l2CacheSize": 50 << 20,
    "totalConstMem": 64 << 10,
    "concurrentKernels": 1,
    "asyncEngineCount": 3,
    "pciBusID": 0,
    "pciDeviceID": 0,
    "pciDomainID": 0,
    "uuid": b"the double's one",
}


class CUDARuntimeError(RuntimeError):
    """CuPy's, made from a CUDA error's number."""

    _NAMES = {  # noqa: RUF012
        2: "cudaErrorMemoryAllocation: out of memory",
        100: "cudaErrorNoDevice: no CUDA-capable device is detected",
        101: "cudaErrorInvalidDevice: invalid device ordinal",
    }

    def __init__(self, status: int) -> None:
        super().__init__(self._NAMES.get(status, f"error {status}"))
        self.status = status


def getDeviceCount() -> int:
    return 1


def getDevice() -> int:
    return 0


def setDevice(device: int) -> None:
    if device != 0:
        raise CUDARuntimeError(101)


def memGetInfo() -> tuple[int, int]:
    return TOTAL_BYTES - pool.total_bytes(), TOTAL_BYTES


def getDeviceProperties(device: int) -> dict[str, Any]:
    setDevice(device)
    return dict(_PROPERTIES)


def deviceSynchronize() -> None:
    streams.wait("deviceSynchronize")


def streamSynchronize(stream: int) -> None:
    streams.wait("streamSynchronize")


def runtimeGetVersion() -> int:
    return _RUNTIME_VERSION


def driverGetVersion() -> int:
    return _RUNTIME_VERSION


class Device:
    """CuPy's: number 0 is the only one."""

    __getattr__ = lacking("cupy.cuda.Device")

    def __init__(self, device: int | None = None) -> None:
        self.id = 0 if device is None else int(device)

    def __enter__(self) -> Device:
        setDevice(self.id)
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def use(self) -> None:
        setDevice(self.id)

    def synchronize(self) -> None:
        streams.wait("Device.synchronize")

    @property
    def compute_capability(self) -> str:
        return "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        return memGetInfo()

    @property
    def attributes(self) -> dict[str, int]:
        return {
            "MultiProcessorCount": 132,
            "MaxSharedMemoryPerBlockOptin": 227 << 10,
            "MaxSharedMemoryPerBlock": 48 << 10,
            "MaxThreadsPerBlock": 1024,
            "WarpSize": 32,
        }
