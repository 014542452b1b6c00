"""A host loader's batches on a GPU: the same bits, from a data set that lies there or through two pinned buffers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fake_cupy.counts import counts
from tests.fake_cupy.install import installed
from xpcnn.data import augment
from xpcnn.data.device_loader import DeviceLoader, on_device
from xpcnn.data.loader import Loader
from xpcnn.device import CudaDevice, asnumpy, get_device


def _data(dtype: str, N: int = 23) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, 1, 4, 3)).astype(dtype)
    return x, rng.integers(0, 10, N).astype(np.uint8)


_WAYS = {
    "bytes": ("uint8", {"scale": 1 / 255}),
    "bytes by an odd factor": ("uint8", {"scale": 0.3}),
    "floats": ("float32", {}),
    "double floats": ("float64", {}),
    "short integers, which no kernel gathers": ("int16", {"scale": 1 / 255}),
    "augmented": ("uint8", {"scale": 1 / 255, "augment": augment.RandomShift(1)}),
    "in order": ("uint8", {"shuffle": False}),
    "float64 batches": ("uint8", {"scale": 1 / 255, "dtype": "float64"}),
}


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("start", [0, 2])
def test_the_batches_are_the_host_loader_s_bits(cuda: CudaDevice, way: str, start: int) -> None:
    dtype, options = _WAYS[way]
    loader = Loader(*_data(dtype), batch_size=5, seed=7, **options)
    there = on_device(loader, cuda)
    assert isinstance(there, DeviceLoader)
    assert len(there) == len(loader)
    for epoch in range(2):
        got = [(asnumpy(x).copy(), asnumpy(t).copy()) for x, t in there.epoch(epoch, start)]
        wanted = list(loader.epoch(epoch, start))
        assert len(got) == len(wanted)
        for (x, t), (want_x, want_t) in zip(got, wanted, strict=True):
            assert x.dtype == want_x.dtype
            np.testing.assert_array_equal(x, want_x)
            np.testing.assert_array_equal(t, want_t)


def test_a_cpu_gets_the_loader_itself() -> None:
    loader = Loader(*_data("uint8"), batch_size=5)
    assert on_device(loader, get_device("cpu")) is loader


def test_an_epoch_moves_its_permutation_and_nothing_else() -> None:
    with installed():
        loader = DeviceLoader(Loader(*_data("uint8"), batch_size=5, scale=1 / 255), get_device("cuda"))
        list(loader.epoch(0))
        with counts.watch() as seen:
            list(loader.epoch(1))
        assert (seen.host_to_device.number, seen.host_to_device.bytes) == (1, 23 * 8)
        assert seen.device_to_host.number == 0
        assert not seen.syncs
        assert seen.allocations.number == 1  # for the permutation


@pytest.mark.parametrize("how", ["augmented", "too large"])
def test_other_data_streams_without_waiting_for_the_steps(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, t = _data("uint8", N=200)
    with installed():
        device = get_device("cuda")
        if how == "too large":
            monkeypatch.setattr(device, "memory", lambda: {"free": 2 * (x.nbytes + t.nbytes) - 1})
        options = {"augment": augment.RandomShift(1)} if how == "augmented" else {}
        loader = DeviceLoader(Loader(x, t, batch_size=10, scale=1 / 255, **options), device)
        assert not loader.resident
        list(loader.epoch(0))
        with counts.watch() as seen:
            batches = sum(1 for _ in loader.epoch(1))
        assert seen.host_to_device.number == 2 * batches
        assert seen.allocations.number == 0
        # Only on copies that were started two batches before; never on a stream or the device.
        assert set(seen.syncs) <= {"Event.synchronize"}
