"""A batch out of a data set on the device: what indexing gives, scaled to the host loader's bits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, assert_same
from xpcnn.device import Device
from xpcnn.errors import ShapeError
from xpcnn.ops.cuda.batches import ROWS, gather_batch


def _data(held: str, N: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, *shape)) if held == "uint8" else rng.standard_normal((N, *shape))
    return x.astype(held), rng.integers(0, 10, N)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("held", ROWS)
@pytest.mark.parametrize("taken", [0, 1, 5, 40])
@pytest.mark.parametrize(("divisor", "factor"), [(0.0, 1.0), (255.0, 1.0), (0.0, 0.3)])
def test_it_is_indexing_and_one_rounding(
    gpu: Device, dtype: str, held: str, taken: int, divisor: float, factor: float
) -> None:
    x, t = _data(held, 23, (2, 5, 3))
    order = np.random.default_rng(1).integers(0, 23, taken)
    out, labels = gpu.xp.empty((taken, 2, 5, 3), dtype=dtype), gpu.xp.empty(taken, dtype=np.int64)
    arrays = (gpu.asarray(a) for a in (x, t, order))
    gather_batch(*arrays, out, labels, divisor=divisor, factor=factor)
    calculation = np.float64 if dtype == "float64" else np.float32
    rows = x[order].astype(calculation)
    assert_same(gpu.asnumpy(out), rows / calculation(divisor) if divisor else rows * calculation(factor), dtype)
    np.testing.assert_array_equal(gpu.asnumpy(labels), t[order])


@pytest.mark.parametrize("fault", ["rows", "labels", "dtype"])
def test_what_does_not_fit_is_refused(gpu: Device, fault: str) -> None:
    x, t = _data("float32", 6, (4,))
    order = np.arange(3)
    out = np.empty((3, 5 if fault == "rows" else 4), np.float32)
    labels = np.empty(2 if fault == "labels" else 3, np.int64)
    t = t.astype(np.int32) if fault == "dtype" else t
    with pytest.raises(ShapeError, match="does not go into"):
        gather_batch(*(gpu.asarray(a) for a in (x, t, order, out, labels)))
