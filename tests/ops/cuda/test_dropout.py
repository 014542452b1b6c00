from __future__ import annotations

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, assert_same, normal
from xpcnn.device import Device
from xpcnn.ops import reference
from xpcnn.ops.cuda.dropout import dropout
from xpcnn.rng import keep_mask


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 3, 3, 3), (300, 7)])
@pytest.mark.parametrize(
    ("seed", "stream", "step", "first"), [(0, 0, 0, 0), (2**63 - 1, 2**32 - 1, 5, 3), (-7, 12345, 2**33 + 1, 101)]
)
def test_the_mask_is_the_host_s(
    gpu: Device, seed: int, stream: int, step: int, first: int, shape: tuple[int, ...], dtype: str
) -> None:
    x, where = normal(0, shape, dtype), {"seed": seed, "stream": stream, "step": step, "first": first}
    for keep in (0.5, 0.9, 1.0):
        # A power of two as the scale, so that float16 is rounded alike in one multiplication and in two.
        want = reference.dropout(x, keep_mask(np, shape, keep, **where), 2.0)
        there = gpu.asarray(x)
        assert_same(gpu.asnumpy(dropout(there, keep, 2.0, **where)), want, dtype)
        assert dropout(there, keep, 2.0, **where, out=there) is there
        assert_same(gpu.asnumpy(there), want, dtype)


def test_pieces_have_the_whole_batch_s_mask(gpu: Device) -> None:
    x, where = np.ones((10, 7), dtype="float32"), {"seed": 1, "stream": 2, "step": 3}
    whole = gpu.asnumpy(dropout(gpu.asarray(x), 0.5, 2.0, **where))
    for first, last in ((0, 3), (3, 4), (4, 10), (10, 10)):
        piece = dropout(gpu.asarray(x[first:last]), 0.5, 2.0, **where, first=first)
        np.testing.assert_array_equal(gpu.asnumpy(piece), whole[first:last])
