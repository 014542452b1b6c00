"""RawKernel and RawModule: CUDA text compiled by g++ and run on the host, with every launch checked."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

from tests.fake_cupy import build, launching, streams
from tests.fake_cupy.counts import counts
from tests.fake_cupy.names import lacking

_STATIC_SHARED = 48 << 10
_OPT_IN_SHARED = 227 << 10  # of sm_90


class CompileException(Exception):
    """CuPy's, raised at a kernel's first use."""

    def __init__(self, msg: str, source: str, name: str, options: tuple[str, ...], backend: str = "nvrtc") -> None:
        super().__init__(msg)
        self._msg, self.source, self.name, self.options, self.backend = msg, source, name, options, backend

    def __str__(self) -> str:
        return self._msg


class CUDADriverError(RuntimeError):
    """CuPy's, for launches that the driver refuses."""


class Library:
    """A text's kernels, loaded."""

    def __init__(self, code: str, options: tuple[str, ...], expressions: tuple[str, ...]) -> None:
        if build.compiler() is None:
            import pytest

            pytest.skip("no g++ here: CUDA kernels cannot be run on the CPU")
        try:
            self.path, self.facts = build.build(code, options, expressions)
        except build.CompileError as error:
            raise CompileException(str(error), code, "kernel.cu", options) from None
        self.dll = ctypes.CDLL(str(self.path))
        self.code, self.options, self.expressions = code, options, expressions

    @classmethod
    @functools.cache
    def of(cls, code: str, options: tuple[str, ...], expressions: tuple[str, ...] = ()) -> Library:
        """The library of a text, built and loaded once in a process."""
        return cls(code, options, expressions)

    def has(self, name: str) -> bool:
        # A kernel without extern "C" has another name in the library, as it has for CUDA.
        return name in self.facts and (name in self.expressions or hasattr(self.dll, name))


class RawKernel:
    """CuPy's: compiled at its first launch."""

    __getattr__ = lacking("cupy.RawKernel")

    def __init__(
        self,
        code: str,
        name: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        *,
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        jitify: bool = False,
    ) -> None:
        if not isinstance(options, tuple):
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")
        if translate_cucomplex or enable_cooperative_groups or jitify or backend != "nvrtc":
            raise NotImplementedError("the double compiles plain NVRTC text only")
        self.code, self.name, self.options, self.backend = code, name, options, backend
        self.enable_cooperative_groups, self.file_path = enable_cooperative_groups, None
        self.__name__ = name
        self._expressions: tuple[str, ...] = ()
        self._dynamic_shared = _STATIC_SHARED

    @functools.cached_property
    def _library(self) -> Library:
        library = Library.of(self.code, self.options, self._expressions)
        if not library.has(self.name):
            raise CUDADriverError("CUDA_ERROR_NOT_FOUND: named symbol not found")
        return library

    @property
    def _facts(self) -> dict[str, Any]:
        return self._library.facts[self.name]

    @functools.cached_property
    def _parameters(self) -> list[launching.Parameter]:
        tell = getattr(self._library.dll, f"fake_signature_{self._facts['symbol']}")
        tell.restype = ctypes.c_char_p
        return [launching.Parameter.of(word) for word in tell().decode().split()]

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0, stream: Any = None
    ) -> None:
        sizes = launching.sizes(grid), launching.sizes(block)
        self._check_sizes(*sizes, shared_mem)
        arguments = launching.pack(self.name, self._parameters, args)
        streams.touch(arguments.read, arguments.written, stream)
        counts.launch(self.name)
        launching.runner()(self._library, self._facts, *sizes, shared_mem, arguments)
        arguments.check_guards(f"kernel {self.name}")

    def _check_sizes(self, grid: tuple[int, int, int], block: tuple[int, int, int], shared_mem: int) -> None:
        threads = block[0] * block[1] * block[2]
        if min(grid + block) < 1 or threads > 1024 or block[2] > 64 or grid[0] >= 2**31 or max(grid[1:]) > 65535:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: invalid argument (grid {grid}, block {block})")
        if threads > self._facts["threads"]:
            raise CUDADriverError(
                f"CUDA_ERROR_INVALID_VALUE: {self.name} has launch bounds of {self._facts['threads']}, not {threads}"
            )
        if self.shared_size_bytes > _STATIC_SHARED:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_PTX: {self.name} declares {self.shared_size_bytes} shared bytes")
        if shared_mem > self._dynamic_shared or self.shared_size_bytes + shared_mem > max(
            _STATIC_SHARED, self._dynamic_shared + self.shared_size_bytes
        ):
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {shared_mem} bytes of shared memory were not asked for")

    def compile(self, log_stream: Any = None) -> None:
        assert self._library is not None

    @property
    def shared_size_bytes(self) -> int:
        return int(self._facts["shared"])

    @property
    def max_threads_per_block(self) -> int:
        return int(self._facts["threads"])

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._dynamic_shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if size + self.shared_size_bytes > _OPT_IN_SHARED:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self._dynamic_shared = size

    @property
    def attributes(self) -> dict[str, int]:
        names = ("max_threads_per_block", "shared_size_bytes", "max_dynamic_shared_size_bytes")
        return {name: getattr(self, name) for name in names}


class RawModule:
    """CuPy's: several kernels in one text."""

    __getattr__ = lacking("cupy.RawModule")

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Sequence[str] | None = None,
        jitify: bool = False,
    ) -> None:
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if path is not None:
            raise NotImplementedError("the double cannot run compiled device code")
        RawKernel(code, "", options, backend, translate_cucomplex=translate_cucomplex, jitify=jitify)
        self.code, self.options, self.backend, self.file_path = code, options, backend, path
        self.enable_cooperative_groups = enable_cooperative_groups
        self.name_expressions = None if name_expressions is None else tuple(name_expressions)

    def get_function(self, name: str) -> RawKernel:
        kernel = RawKernel(self.code, name, self.options, self.backend)
        kernel._expressions = self.name_expressions or ()
        assert kernel._library is not None  # CuPy, too, looks the name up here
        return kernel

    def compile(self, log_stream: Any = None) -> None:
        Library.of(self.code, self.options, self.name_expressions or ())


def run_here(
    library: Library,
    facts: dict[str, Any],
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    shared_mem: int,
    arguments: launching.Arguments,
) -> None:
    """Runs a kernel in this process."""
    run = getattr(library.dll, f"fake_run_{facts['symbol']}")
    run.restype = ctypes.c_char_p
    dims = [(ctypes.c_uint * 3)(*size) for size in (grid, block)]
    wrong = run(*dims, ctypes.c_size_t(shared_mem), arguments.addresses(), int(facts["waits"]), launching.order())
    if wrong is not None:
        raise launching.KernelError(f"kernel {facts['symbol']}: {wrong.decode()}")


launching.set_runner(run_here)
