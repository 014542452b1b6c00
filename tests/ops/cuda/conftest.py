"""The double of CuPy, then a real GPU where one is usable: the same test body runs on both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fake_cupy.install import installed
from tests.fake_cupy.launching import backwards
from xpcnn.device import Device, get_device
from xpcnn.errors import DeviceError
from xpcnn.ops.cuda import module


@pytest.fixture(params=["double", "double, wide", pytest.param("card", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A CUDA device: `gpu.asarray` takes arrays there, `gpu.asnumpy` back.

    "wide": with the 64-bit indices of huge arrays, grids so small that a thread takes several elements, and threads
    and blocks run last to first, which must not matter.
    """
    if request.param == "card":
        try:
            yield get_device("cuda")
        except DeviceError as error:
            pytest.skip(f"no usable GPU: {error}")
        return
    with installed():
        if request.param == "double":
            yield get_device("cuda")
            return
        monkeypatch.setattr(module, "WIDE", 0)
        monkeypatch.setattr(module, "MAX_BLOCKS", 2)
        with backwards():
            yield get_device("cuda")
