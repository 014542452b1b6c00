"""The modules that stand in for cupy, cupy.cuda, ... : every public name of CuPy, and no other."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from tests.fake_cupy import array, creation, functions, kernels, memory, nccl, pinned, runtime, streams, ufuncs
from tests.fake_cupy.names import cupy_version, members, names, words

_DTYPES = words(
    """
    bool_ byte cdouble complex128 complex64 double float16 float32 float64 half int16 int32 int64 int8 int_ intc
    intp longlong short single ubyte uint uint16 uint32 uint64 uint8 uintc uintp ulonglong ushort csingle
    complexfloating floating generic inexact integer number signedinteger unsignedinteger
    """
)


_BELOW = object()


class Module(ModuleType):
    """A module of the double: names of CuPy's that it lacks say so, others do not exist."""

    def __getattr__(self, name: str) -> Any:
        if name in members(self.__name__):
            raise NotImplementedError(f"{self.__name__}.{name} is in CuPy, but the double does not do it")
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted(members(self.__name__))


def _function(full: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        return functions.call(full, args, kwargs)

    function.__name__ = function.__qualname__ = full.rpartition(".")[2]
    function.__module__ = full.rpartition(".")[0]
    return function


def _bound(full: str, made: Any) -> Any:
    """A function of the double's own under CuPy's parameters."""

    @functools.wraps(made)
    def function(*args: Any, **kwargs: Any) -> Any:
        functions.bind(full, args, kwargs)
        return made(*args, **kwargs)

    return function


def _cupy() -> dict[str, Any]:
    found: dict[str, Any] = dict(ufuncs.UFUNCS)
    for name in functions.COMPUTED + functions.WAITING:
        found.setdefault(name, _function(f"cupy.{name}"))
    for name in functions.TELLING:
        found[name] = functools.partial(lambda n, *args, **kwargs: functions.tell(n, args, kwargs), name)
    for name in words(
        """
    array asarray asanyarray ascontiguousarray asfortranarray asnumpy copy empty zeros ones full empty_like
    zeros_like ones_like full_like arange linspace eye identity
    """
    ):
        found[name] = _bound(f"cupy.{name}", getattr(creation, name))
    for name in _DTYPES:
        found[name] = getattr(np, name)
    for name in ["pi", "e", "inf", "nan", "newaxis", "dtype", "finfo", "iinfo"]:
        found[name] = getattr(np, name)
    return {
        **found,
        "ndarray": array.ndarray,
        "ufunc": ufuncs.ufunc,
        "copyto": functions.copyto,
        "RawKernel": kernels.RawKernel,
        "RawModule": kernels.RawModule,
        "get_default_memory_pool": lambda: memory.pool,
        "get_default_pinned_memory_pool": pinned.PinnedMemoryPool,
        "get_array_module": lambda *args: modules()["cupy"] if functions.arrays_in(*args) else np,
        "is_available": lambda: True,
        **dict.fromkeys(["linalg", "lib", "random", "cuda"], _BELOW),
    }


_STREAM = {"Stream": streams.Stream, "Event": streams.Event, "get_current_stream": streams.current}
_MEMORY = {
    "MemoryPointer": memory.MemoryPointer,
    "MemoryPool": memory.Pool,
    "Memory": memory.Memory,
}
_PINNED = {
    "PinnedMemoryPointer": pinned.PinnedMemoryPointer,
    "PinnedMemoryPool": pinned.PinnedMemoryPool,
    "alloc_pinned_memory": pinned.alloc_pinned_memory,
}
_RUNTIME = words(
    """
    CUDARuntimeError getDeviceCount getDevice setDevice memGetInfo getDeviceProperties deviceSynchronize
    streamSynchronize runtimeGetVersion driverGetVersion
    """
)


def _contents() -> dict[str, dict[str, Any]]:
    """Each module's path and names; _BELOW stands for the module of that name."""
    return {
        "cupy": _cupy(),
        "cupy.cuda": {
            **_STREAM,
            **_MEMORY,
            **_PINNED,
            "Device": runtime.Device,
            "get_elapsed_time": streams.get_elapsed_time,
            "alloc": lambda size: memory.MemoryPointer(memory.Memory(size), 0),
            "is_available": lambda: True,
            "get_device_id": lambda: 0,
            **dict.fromkeys(["runtime", "stream", "memory", "pinned_memory", "device", "driver", "compiler"], _BELOW),
        },
        "cupy.cuda.runtime": {name: getattr(runtime, name) for name in _RUNTIME},
        # Not an attribute of cupy.cuda until it is imported.
        "cupy.cuda.nccl": {n: getattr(nccl, n) for n in members("cupy.cuda.nccl") if hasattr(nccl, n)},
        "cupy.cuda.stream": _STREAM,
        "cupy.cuda.memory": {**_MEMORY, "OutOfMemoryError": memory.OutOfMemoryError},
        "cupy.cuda.pinned_memory": _PINNED,
        "cupy.cuda.device": {"Device": runtime.Device},
        "cupy.cuda.driver": {"CUDADriverError": kernels.CUDADriverError},
        "cupy.cuda.compiler": {"CompileException": kernels.CompileException},
        "cupy.lib": {"stride_tricks": _BELOW},
        "cupy.lib.stride_tricks": {
            name: _bound(f"cupy.lib.stride_tricks.{name}", getattr(creation, name))
            for name in ("as_strided", "sliding_window_view")
        },
        "cupy.linalg": {"norm": _function("cupy.linalg.norm")},
        "cupy.random": {},
        "cupyx": {n: getattr(pinned, n) for n in vars(pinned) if n.endswith("_pinned") and f"cupyx.{n}" in names()},
    }


@functools.cache
def modules() -> dict[str, Module]:
    """All modules of the double, by path. A name that CuPy does not have cannot get in."""
    made = {path: Module(path) for path in _contents()}
    for path, contents in _contents().items():
        for name, thing in contents.items():
            assert name in members(path), f"{path}.{name} is none of CuPy's names"
            setattr(made[path], name, made[f"{path}.{name}"] if thing is _BELOW else thing)
    made["cupy"].__version__ = cupy_version()
    made["cupy"].__path__ = made["cupy.cuda"].__path__ = made["cupy.lib"].__path__ = []
    return made
