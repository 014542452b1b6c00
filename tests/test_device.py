"""Devices: names, moving data, and an explanation for every way in which a GPU can fail to be there.

A stand-in module named `cupy` plays the parts of CuPy that the branches need; real CuPy runs where `device` is cuda.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace, TracebackType
from typing import Any

import numpy as np
import pytest

import xpcnn.device
from xpcnn.device import CpuDevice, Device, asnumpy, get_array_module, get_device
from xpcnn.errors import ConfigError, DeviceError


class _DeviceArray:
    """The stand-in's `cupy.ndarray`: host memory that NumPy's functions are not offered."""

    __array_ufunc__ = None

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape, self.dtype = values.shape, values.dtype

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __getitem__(self, key: Any) -> Any:
        return self.values[key]


class _CUDARuntimeError(RuntimeError):
    pass


class _OutOfMemoryError(MemoryError):
    pass


class _StandIn(ModuleType):
    """A module `cupy` with `count` devices; `probe_fails` and `count_fails` are raised, `spoils` the probe's answer."""

    def __init__(
        self,
        count: int = 1,
        count_fails: Exception | None = None,
        probe_fails: Exception | None = None,
        spoils: int = 0,
    ) -> None:
        super().__init__("cupy")
        self.ndarray = _DeviceArray
        self.entered: list[int] = []
        self.synchronized: list[int] = []
        module = self

        class _Device:
            def __init__(self, index: int) -> None:
                self.index = index

            def __enter__(self) -> _Device:
                module.entered.append(self.index)
                return self

            def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
                return None

            def synchronize(self) -> None:
                module.synchronized.append(self.index)

        def get_device_count() -> int:
            if count_fails is not None:
                raise count_fails
            return count

        def asarray(a: Any, dtype: Any = None) -> _DeviceArray:
            if probe_fails is not None:
                raise probe_fails
            values = a.values if isinstance(a, _DeviceArray) else np.asarray(a)
            return _DeviceArray(values.astype(dtype or values.dtype) + spoils)

        self.asarray = asarray
        self.asnumpy = lambda a: a.values.copy()
        self.get_default_memory_pool = lambda: SimpleNamespace(used_bytes=lambda: 512)
        self.cuda = SimpleNamespace(
            Device=_Device,
            memory=SimpleNamespace(OutOfMemoryError=_OutOfMemoryError),
            runtime=SimpleNamespace(
                CUDARuntimeError=_CUDARuntimeError, getDeviceCount=get_device_count, memGetInfo=lambda: (1000, 4000)
            ),
        )


def _stand_in(monkeypatch: pytest.MonkeyPatch, **behaviour: Any) -> _StandIn:
    module = _StandIn(**behaviour)
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def _cupy_file(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Makes `import cupy` run a file of that text."""
    (folder / "cupy.py").write_text(text)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(str(folder))


# ------------------------------------------------------------------------------------------------------- names
@pytest.mark.parametrize("name", ["cpu", "CPU", " cpu ", None])
def test_the_cpu_by_name(name: str | None) -> None:
    device = get_device(name)
    assert (device.name, device.xp, device.why) == ("cpu", np, "asked for")
    assert repr(device) == "<Device cpu>"


@pytest.mark.parametrize(
    ("name", "index"), [("cuda", 0), ("gpu", 0), ("GPU", 0), ("cuda:0", 0), ("cuda:1", 1), ("gpu:1", 1)]
)
def test_a_gpu_by_name(monkeypatch: pytest.MonkeyPatch, name: str, index: int) -> None:
    cupy = _stand_in(monkeypatch, count=2)
    device = get_device(name)
    assert (device.name, device.xp, device.why) == (f"cuda:{index}", cupy, "asked for")
    assert cupy.entered == [index]  # the probe ran on that GPU


@pytest.mark.parametrize("name", ["tpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:1:2", "cpu:0", "autos", 0])
def test_names_that_mean_nothing(name: Any) -> None:
    with pytest.raises(ConfigError, match='use "cpu", "cuda", "cuda:1", "gpu" or "auto"') as caught:
        get_device(name)
    assert repr(name) in str(caught.value)


def test_a_device_is_its_own_name(device: Device) -> None:
    assert get_device(device) is device


def test_equal_devices_are_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, count=2)
    assert get_device("cpu") == CpuDevice(why="another reason")
    assert len({get_device(name) for name in ("cpu", None, "cuda", "gpu:0", "cuda:1")}) == 3
    assert get_device("cpu") != "cpu"


# --------------------------------------------------------------------------------- why a GPU cannot be used
def _refusal(name: str = "cuda") -> str:
    with pytest.raises(DeviceError) as caught:
        get_device(name)
    text = str(caught.value)
    assert "\n" not in text
    return text


def _says(text: str, *words: str) -> None:
    for word in words:
        assert word in text


def test_no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)  # what Python itself uses to mean: there is no such module
    _says(_refusal(), "CuPy is not installed", 'pip install "xpcnn[cuda12]"', 'pip install "xpcnn[cuda13]"', "cpu")


# CuPy frames its text in lines of = and keeps the loader's own error as the cause.
_FRAMED = """
try:
    raise ImportError("libcudart.so.11.0: cannot open shared object file")
except ImportError as error:
    raise ImportError("\\n" + "=" * 64 + "\\nFailed to import CuPy.\\n" + "=" * 64) from error
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_FRAMED, "libcudart.so.11.0: cannot open shared object file"),
        ("raise ImportError('\\n====\\n  built for another ABI\\nmore')", "built for another ABI"),
        ("raise ImportError", "no reason given"),
    ],
)
def test_a_cupy_that_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, reason: str) -> None:
    _cupy_file(monkeypatch, tmp_path, text)
    _says(_refusal(), f"cannot be loaded: {reason};", "uninstall it, then pip install")


def test_a_cupy_with_a_part_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _cupy_file(monkeypatch, tmp_path, "import a_part_of_cupy_that_is_missing")
    _says(_refusal(), "incomplete", "a_part_of_cupy_that_is_missing", "reinstall it")


_RUNTIME_ERRORS = [
    (
        "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
        ("the NVIDIA driver is older than this CuPy's CUDA", "update the driver", "pip install"),
    ),
    (
        "cudaErrorNoDevice: no CUDA-capable device is detected",
        ("no CUDA device was found", "CUDA_VISIBLE_DEVICES", "--device cpu"),
    ),
    (
        "cudaErrorUnknown: unknown error",
        ("the CUDA runtime cannot be used: cudaErrorUnknown: unknown error", "nvidia-smi", "--device cpu"),
    ),
]


@pytest.mark.parametrize("when", ["count_fails", "probe_fails"])
@pytest.mark.parametrize(("message", "words"), _RUNTIME_ERRORS)
def test_runtime_errors(monkeypatch: pytest.MonkeyPatch, when: str, message: str, words: tuple[str, ...]) -> None:
    _stand_in(monkeypatch, **{when: _CUDARuntimeError(message)})
    _says(_refusal(), *words)


@pytest.mark.parametrize(
    ("name", "count", "words"),
    [
        ("cuda", 0, ("cuda:0 does not exist", "this machine has no CUDA device", "--device cpu")),
        ("cuda:2", 2, ("cuda:2 does not exist", "CUDA devices 0 to 1")),
        ("gpu:1", 1, ("cuda:1 does not exist", "CUDA devices 0 to 0")),
    ],
)
def test_an_index_out_of_range(monkeypatch: pytest.MonkeyPatch, name: str, count: int, words: tuple[str, ...]) -> None:
    _stand_in(monkeypatch, count=count)
    _says(_refusal(name), *words)


def test_a_full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, probe_fails=_OutOfMemoryError("out of memory allocating 512 bytes"))
    _says(_refusal(), "cuda:0 has no memory left", "nvidia-smi", "--device cpu")


def test_a_gpu_that_computes_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, spoils=1)
    _says(_refusal(), "answered a probe wrongly (43 for 42)", "--device cpu")


def test_auto_takes_a_gpu_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch)
    device = get_device("auto")
    assert (device.name, device.why) == ("cuda:0", "auto: cuda:0 answered a probe")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (None, "CuPy is not installed"),
        ({"count": 0}, "cuda:0 does not exist: this machine has no CUDA device"),
        (
            {"count_fails": _CUDARuntimeError("cudaErrorInsufficientDriver: x")},
            "the NVIDIA driver is older than this CuPy's CUDA",
        ),
    ],
)
def test_auto_falls_back_to_the_cpu_saying_why(
    monkeypatch: pytest.MonkeyPatch, behaviour: dict[str, Any] | None, reason: str
) -> None:
    if behaviour is None:
        monkeypatch.setitem(sys.modules, "cupy", None)
    else:
        _stand_in(monkeypatch, **behaviour)
    for device in (get_device(), get_device("auto")):
        assert (device.name, device.why) == ("cpu", f"auto: no usable GPU ({reason})")


# -------------------------------------------------------------------------------------------------- moving data
@pytest.mark.parametrize("dtype", [None, "float32", "int64"])
def test_there_and_back(device: Device, dtype: str | None) -> None:
    host = np.arange(6, dtype="float32").reshape(2, 3)
    there = device.asarray(host, dtype=dtype)
    assert get_array_module(there) is device.xp
    assert there.dtype == (dtype or "float32")
    assert device.asarray(there) is there
    back = device.asnumpy(there)
    assert type(back) is np.ndarray
    np.testing.assert_array_equal(back, host)
    np.testing.assert_array_equal(asnumpy(there), host)
    assert device.asnumpy(device.asarray([[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]


def test_host_arrays_are_not_copied() -> None:
    host = np.ones(3)
    assert asnumpy(host) is host
    assert get_device("cpu").asarray(host) is host


def test_from_a_gpu_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch)
    gpu, cpu = get_device("cuda"), get_device("cpu")
    there = gpu.asarray(np.array([1.5, 2.5]))
    assert isinstance(there, _DeviceArray)
    for back in (cpu.asarray(there, dtype="float32"), cpu.asnumpy(there), gpu.asnumpy(there), asnumpy(there)):
        assert type(back) is np.ndarray
        assert back.tolist() == [1.5, 2.5]
    assert cpu.asarray(there, dtype="float32").dtype == np.float32


def test_work_goes_to_the_gpu_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = _stand_in(monkeypatch, count=4)
    device = get_device("cuda:3")
    cupy.entered.clear()
    device.asarray([1.0])
    device.synchronize()
    assert device.memory() == {"used": 512, "free": 1000, "total": 4000}
    assert (cupy.entered, cupy.synchronized) == ([3, 3], [3])


def test_memory_and_synchronize(device: Device) -> None:
    device.synchronize()
    figures = device.memory()
    assert set(figures) <= {"used", "free", "total"}
    assert all(isinstance(figure, int) and figure >= 0 for figure in figures.values())
    if sys.platform == "linux":
        assert figures.keys() == {"used", "free", "total"}
        assert max(figures["used"], figures["free"]) <= figures["total"]


# ------------------------------------------------------------------------------------------- get_array_module
def test_the_module_of_arrays(device: Device) -> None:
    a = device.asarray([1.0, 2.0])
    assert get_array_module(a) is device.xp
    assert get_array_module(None, 3, a, a, 2.0) is device.xp
    assert get_array_module() is np
    assert get_array_module(None, 1.0, [1, 2]) is np


@pytest.mark.parametrize("host_first", [True, False])
def test_arrays_of_two_devices(monkeypatch: pytest.MonkeyPatch, host_first: bool) -> None:
    cupy = _stand_in(monkeypatch)
    host, there = np.zeros((2, 3)), cupy.asarray(np.zeros((4, 5)))
    arguments = (None, host, there) if host_first else (None, there, host)
    with pytest.raises(DeviceError) as caught:
        get_array_module(*arguments)
    numpy_at, cupy_at = (1, 2) if host_first else (2, 1)
    _says(
        str(caught.value),
        f"argument {numpy_at} is a NumPy array of shape (2, 3)",
        f"argument {cupy_at} a CuPy array of shape (4, 5)",
        "device.asarray(a)",
        "xpcnn.asnumpy(a)",
    )
    assert get_array_module(there, there, None) is cupy


def test_a_cupy_that_failed_half_way_is_not_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
    assert get_array_module(np.zeros(2)) is np
    assert asnumpy([1, 2]).tolist() == [1, 2]


@pytest.mark.parametrize("code", ["import xpcnn.device", "import xpcnn.device as d; d.get_device('cpu').asarray([1])"])
def test_cupy_is_not_imported_until_it_is_asked_for(tmp_path: Path, code: str) -> None:
    # A cupy.py that ends the process with code 77 stands first on the path: importing it cannot go unseen.
    (tmp_path / "cupy.py").write_text("import os; os._exit(77)")
    root = str(Path(xpcnn.device.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), root])}

    def exit_code(line: str) -> int:
        return subprocess.run([sys.executable, "-c", line], env=environment, check=False).returncode

    assert exit_code(code) == 0
    assert exit_code("import xpcnn.device as d; d.get_device('cuda')") == 77
