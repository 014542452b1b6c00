"""A real card for what only a card can show; the double as well, where it can follow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fake_cupy.install import installed
from xpcnn.device import CudaDevice, get_device
from xpcnn.errors import DeviceError


@pytest.fixture(params=[pytest.param("card", marks=pytest.mark.gpu), "double"])
def card(request: pytest.FixtureRequest) -> Iterator[CudaDevice]:
    if request.param == "double":
        with installed():
            yield get_device("cuda")
        return
    try:
        device = get_device("cuda")
    except DeviceError as error:
        pytest.skip(f"no usable GPU: {error}")
    yield device


@pytest.fixture
def real(card: CudaDevice) -> CudaDevice:
    """A real card only."""
    if "fake_cupy" in type(card.xp).__module__ or not hasattr(card.xp, "__file__"):
        pytest.skip("the double does everything at once: it cannot show this")
    return card
