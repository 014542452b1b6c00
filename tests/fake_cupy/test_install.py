"""The double in CuPy's place: its names, what it says of those it lacks, and that it goes away again."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from tests.fake_cupy.install import installed
from tests.fake_cupy.modules import modules
from tests.fake_cupy.names import cupy_version, members, names
from xpcnn.device import get_array_module, get_device


def test_the_list_is_of_cupy_14() -> None:
    assert cupy_version().startswith("14.")
    assert len(names()) > 1000
    assert names()["cupy.sum"] == ("function", "(a, axis=, dtype=, out=, keepdims=)")


@pytest.mark.parametrize("path", sorted(modules()))
def test_a_module_has_no_other_names_than_cupys(path: str) -> None:
    made = {name for name in vars(modules()[path]) if not name.startswith("_")}
    assert made <= members(path).keys()


@pytest.mark.parametrize("name", ["errstate", "nditer", "vecdot", "matvec", "Generator", "float128", "tensor"])
def test_names_that_cupy_lacks(name: str) -> None:
    with installed() as cupy, pytest.raises(AttributeError, match=f"module 'cupy' has no attribute '{name}'"):
        getattr(cupy, name)


def test_methods_that_cupys_generator_lacks() -> None:
    for name in ("normal", "shuffle", "permutation"):
        assert f"cupy.random.Generator.{name}" not in names()
    assert "cupy.random.Generator.standard_normal" in names()


def test_names_that_the_double_does_not_do() -> None:
    with installed() as cupy:
        for owner, name in (
            (cupy, "ElementwiseKernel"),
            (cupy, "fft"),
            (cupy.random, "default_rng"),
            (cupy.zeros(1), "put"),
        ):
            with pytest.raises(NotImplementedError, match=f"{name} is in CuPy, but the double does not do it"):
                getattr(owner, name)
        with pytest.raises(AttributeError):
            _ = cupy.zeros(1).numpy
        with pytest.raises(NotImplementedError):
            _ = cupy.add.accumulate
        with pytest.raises(AttributeError):
            _ = cupy.add.identify


def test_installing_and_going_away() -> None:
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("cupy", "cupyx")}
    with installed() as cupy:
        import cupy as imported
        import cupy.cuda.runtime
        import cupyx

        assert imported is cupy
        assert cupyx.empty_pinned(2).shape == (2,)
        assert cupy.__version__ == cupy_version()
        assert cupy.cuda.runtime.getDeviceCount() == 1
    assert {name: m for name, m in sys.modules.items() if name.split(".")[0] in ("cupy", "cupyx")} == before


def test_what_was_there_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = ModuleType("cupy")
    monkeypatch.setitem(sys.modules, "cupy", mine)
    with installed() as cupy:
        assert sys.modules["cupy"] is cupy
    assert sys.modules["cupy"] is mine


def test_a_card_like_an_h100() -> None:
    with installed() as cupy:
        device = get_device("cuda")
        assert device.name == "cuda:0"
        assert get_array_module(device.asarray([1.0])) is cupy
        about = cupy.cuda.runtime.getDeviceProperties(0)
        assert (about["major"], about["minor"], about["warpSize"]) == (9, 0, 32)
        assert cupy.cuda.Device().compute_capability == "90"
        free, total = cupy.cuda.runtime.memGetInfo()
        assert 0 < free <= total
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorInvalidDevice"), cupy.cuda.Device(1):
            pass
