"""Where arrays live: a Device chooses `xp` (NumPy or CuPy) and is the only place that moves data.

CuPy is imported when a CUDA device is asked for, never before.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from xpcnn.errors import ConfigError, DeviceError

__all__ = ["Array", "CpuDevice", "CudaDevice", "Device", "asnumpy", "get_array_module", "get_device"]

# A NumPy or a CuPy array. CuPy ships no complete types, so the checker sees Any; shapes are in the docstrings.
Array: TypeAlias = Any

_INSTALL = 'pip install "xpcnn[cuda12]" (CUDA 12 drivers) or pip install "xpcnn[cuda13]" (CUDA 13)'


class Device:
    """What CPU and CUDA devices have in common.

    Attributes: `name` ("cpu", "cuda:0"), `xp` (the array module), `why` (one line: how this device was chosen).
    """

    name: str
    xp: ModuleType
    why: str

    def asarray(self, a: Any, dtype: Any = None) -> Array:
        """`a` (a list, a NumPy or a CuPy array) as an array on this device; no copy where it already is one."""
        raise NotImplementedError

    def asnumpy(self, a: Array) -> np.ndarray:
        """`a` as a NumPy array on the host; waits for the device."""
        return asnumpy(a)

    def synchronize(self) -> None:
        """Waits until all work given to the device is done (on a CPU it always is)."""

    def memory(self) -> dict[str, int]:
        """Bytes: `used` (held by this process), `free` and `total`; a figure the system does not tell is absent."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<Device {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class CpuDevice(Device):
    """The host, with NumPy."""

    name = "cpu"
    xp = np

    def __init__(self, why: str = "asked for") -> None:
        self.why = why

    def asarray(self, a: Any, dtype: Any = None) -> Array:
        return np.asarray(asnumpy(a) if _is_cupy(a) else a, dtype=dtype)

    def memory(self) -> dict[str, int]:
        figures: dict[str, int] = {}
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            page = os.sysconf("SC_PAGE_SIZE")
            figures["total"] = page * os.sysconf("SC_PHYS_PAGES")
            if "SC_AVPHYS_PAGES" in os.sysconf_names:
                figures["free"] = page * os.sysconf("SC_AVPHYS_PAGES")
            if os.path.exists("/proc/self/statm"):
                with open("/proc/self/statm") as statm:
                    figures["used"] = page * int(statm.read().split()[1])
        return figures


class CudaDevice(Device):
    """One CUDA GPU, with CuPy. Made by `get_device`, which probes it first."""

    def __init__(self, cupy: ModuleType, index: int, why: str = "asked for") -> None:
        self.xp = cupy
        self.index = index
        self.name = f"cuda:{index}"
        self.why = why

    def asarray(self, a: Any, dtype: Any = None) -> Array:
        with self.xp.cuda.Device(self.index):
            try:
                return self.xp.asarray(a, dtype=dtype)
            except self.xp.cuda.memory.OutOfMemoryError as error:
                memory = self.memory()
                raise DeviceError(
                    f"{self.name} has no room for an array of shape {np.shape(a)}: {memory['used']:,} bytes are held "
                    f"by this process and {memory['free']:,} of {memory['total']:,} are free; use smaller batches or "
                    "a smaller network, end other programs that use the GPU, or use --device cpu"
                ) from error

    def synchronize(self) -> None:
        self.xp.cuda.Device(self.index).synchronize()

    def memory(self) -> dict[str, int]:
        with self.xp.cuda.Device(self.index):
            free, total = self.xp.cuda.runtime.memGetInfo()
            return {"used": self.xp.get_default_memory_pool().used_bytes(), "free": int(free), "total": int(total)}


def _is_cupy(a: object) -> bool:
    cupy = sys.modules.get("cupy")
    # A CuPy whose import failed half-way leaves a module without ndarray.
    return cupy is not None and hasattr(cupy, "ndarray") and isinstance(a, cupy.ndarray)


def get_array_module(*arrays: Any) -> ModuleType:
    """NumPy or CuPy, whichever the arrays belong to; things that are not arrays (None, numbers) do not count.

    Raises DeviceError where a NumPy array meets a CuPy one.
    """
    on_device = [i for i, a in enumerate(arrays) if _is_cupy(a)]
    if not on_device:
        return np
    on_host = [i for i, a in enumerate(arrays) if isinstance(a, np.ndarray)]
    if on_host:
        host, device = arrays[on_host[0]], arrays[on_device[0]]
        raise DeviceError(
            f"arrays of two devices in one operation: argument {on_host[0]} is a NumPy array of shape {host.shape}, "
            f"argument {on_device[0]} a CuPy array of shape {device.shape}; move one of them first: "
            "device.asarray(a) brings it to the GPU, xpcnn.asnumpy(a) to the host"
        )
    return sys.modules["cupy"]


def asnumpy(array: Array) -> np.ndarray:
    """`array` as a NumPy array on the host; a CuPy array is copied there, a NumPy array is returned as it is."""
    return sys.modules["cupy"].asnumpy(array) if _is_cupy(array) else np.asarray(array)


def get_device(name: str | Device | None = "auto") -> Device:
    """The device of that name.

    name: "cpu" | "cuda" | "cuda:1" | "gpu" (= cuda) | "auto" (a usable GPU, else the CPU; `.why` says which and
    why). A Device is returned as it is, None means "cpu".

    Raises DeviceError where a CUDA device is asked for that cannot be used (with the cause and what mends it) and
    ConfigError for a name that is none of these.
    """
    if isinstance(name, Device):
        return name
    word = "cpu" if name is None else str(name).strip().lower()
    if word == "cpu":
        return CpuDevice()
    if word == "auto":
        try:
            device = _open_cuda(0)
        except DeviceError as error:
            return CpuDevice(why=f"auto: no usable GPU ({str(error).split(';')[0]})")
        device.why = f"auto: {device.name} answered a probe"
        return device
    match = re.fullmatch(r"(?:cuda|gpu)(?::(\d+))?", word)
    if match is None:
        raise ConfigError(f'no device is called {name!r}; use "cpu", "cuda", "cuda:1", "gpu" or "auto"')
    return _open_cuda(int(match[1] or 0))


def _open_cuda(index: int) -> CudaDevice:
    """A CUDA device that has answered a probe: counted, and one element allocated and read back."""
    try:
        cupy = importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise DeviceError(f"CuPy is installed but incomplete: {error}; reinstall it: {_INSTALL}") from error
        raise DeviceError(f"CuPy is not installed; {_INSTALL}, or use --device cpu") from error
    except ImportError as error:
        raise DeviceError(
            f"CuPy is installed but cannot be loaded: {_first_words(error)}; "
            f"it is often built for another CUDA version: uninstall it, then {_INSTALL}"
        ) from error
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise DeviceError(_explain(str(error))) from error
    if index >= count:
        have = "no CUDA device" if count == 0 else f"CUDA devices 0 to {count - 1}"
        raise DeviceError(f"cuda:{index} does not exist: this machine has {have}; name one of these or --device cpu")
    try:
        with cupy.cuda.Device(index):
            answer = int(cupy.asarray([41], dtype="int32")[0]) + 1
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise DeviceError(
            f"cuda:{index} has no memory left for even one element; end another program that uses it (nvidia-smi "
            "lists them) or use --device cpu"
        ) from error
    except runtime.CUDARuntimeError as error:
        raise DeviceError(_explain(str(error))) from error
    if answer != 42:
        raise DeviceError(f"cuda:{index} answered a probe wrongly ({answer} for 42); check the card, or --device cpu")
    return CudaDevice(cupy, index)


def _first_words(error: ImportError) -> str:
    """The first line with words in it of what made the import fail (CuPy's own text is framed by ==== lines)."""
    lines = str(error.__cause__ or error).splitlines()
    return next((line.strip() for line in lines if any(c.isalnum() for c in line)), "no reason given")


def _explain(message: str) -> str:
    """What a CUDA runtime error means for the person at the keyboard."""
    if "InsufficientDriver" in message:
        return (
            "the NVIDIA driver is older than this CuPy's CUDA; update the driver, or install the CuPy of an "
            f"older CUDA: {_INSTALL}"
        )
    if "NoDevice" in message:
        return "no CUDA device was found (is CUDA_VISIBLE_DEVICES empty?); use --device cpu"
    return f"the CUDA runtime cannot be used: {message}; check that nvidia-smi answers, or use --device cpu"
