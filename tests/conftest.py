"""Fixtures that every test file may use."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fake_cupy.install import installed
from xpcnn.device import CudaDevice, Device, get_device
from xpcnn.errors import DeviceError


@functools.cache
def _cuda_or_reason() -> Device | str:
    try:
        return get_device("cuda")
    except DeviceError as error:
        return str(error)


def pytest_report_header() -> str:
    found = _cuda_or_reason()
    return f"cuda: a double of CuPy over host memory ({found})" if isinstance(found, str) else f"cuda: {found!r}"


@contextmanager
def _cuda() -> Iterator[CudaDevice]:
    found = _cuda_or_reason()
    if isinstance(found, CudaDevice):
        yield found
        return
    with installed():
        double = get_device("cuda")
        assert isinstance(double, CudaDevice)
        yield double


@pytest.fixture
def cuda() -> Iterator[CudaDevice]:
    """A real GPU where one is usable, else the double."""
    with _cuda() as device:
        yield device


@pytest.fixture
def double() -> Iterator[CudaDevice]:
    """The double, whatever card may be there: for processes that are threads, which a card's NCCL refuses."""
    with installed():
        found = get_device("cuda")
        assert isinstance(found, CudaDevice)
        yield found


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """The CPU, then a real GPU where one is usable, else the double: the same test body runs on both."""
    if request.param == "cpu":
        yield get_device("cpu")
        return
    with _cuda() as device:
        yield device
