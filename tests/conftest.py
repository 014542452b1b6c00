"""Fixtures that every test file may use."""

from __future__ import annotations

import functools

import pytest

from xpcnn.device import Device, get_device
from xpcnn.errors import DeviceError


@functools.cache
def _cuda_or_reason() -> Device | str:
    try:
        return get_device("cuda")
    except DeviceError as error:
        return str(error)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Device:
    """The CPU, then a real GPU where one is usable: the same test body runs on both, with xp = device.xp."""
    if request.param == "cpu":
        return get_device("cpu")
    found = _cuda_or_reason()
    if isinstance(found, str):
        pytest.skip(f"no usable GPU: {found}")
    return found
