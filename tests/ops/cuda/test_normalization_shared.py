"""Batch normalisation of a batch that several processes share, against the whole batch's in one process.

The processes are played one after another, twice: the first time to hear what each would bring to the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, assert_near, judged, normal
from tests.ops.cuda.test_normalization import parameters
from xpcnn.device import Device
from xpcnn.ops import reference
from xpcnn.ops.cuda import normalization as norm
from xpcnn.ops.cuda import normalization_shared as shared

SHAPES = [(5, 3), (2, 4, 3, 5), (41, 2, 10, 10), (9, 1, 23, 31)]


def together(size: int, work: Callable[[int, shared.AddUp], Any]) -> list[Any]:
    """What `work(rank, add_up)` gives for each of `size` processes."""
    brought: list[Any] = []
    for rank in range(size):
        work(rank, lambda a: brought.append(a.copy()))
    total = sum(brought[1:], brought[0])
    return [work(rank, lambda a: a.__setitem__(Ellipsis, total)) for rank in range(size)]


def _cuts(N: int, size: int) -> list[slice]:
    """As shares go: one more or one less, and with 7 processes for 5 samples some with none."""
    return [slice(N * r // size, N * (r + 1) // size) for r in range(size)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "size"), [*((shape, 2) for shape in SHAPES), (SHAPES[0], 7), (SHAPES[1], 3)])
@pytest.mark.parametrize("relu", [False, True])
def test_parts_are_normalised_as_the_whole(
    gpu: Device, shape: tuple[int, ...], size: int, relu: bool, dtype: str
) -> None:
    x, dout = normal(7, shape, dtype) + np.dtype(dtype).type(2), normal(8, shape, dtype)
    gamma, beta, mean, var = parameters(shape[1], dtype)
    there = [gpu.asarray(a) for a in (gamma, beta)]
    cuts = _cuts(len(x), size)

    def forward(rank: int, add_up: shared.AddUp) -> Any:
        running = [gpu.asarray(a.copy()) for a in (mean, var)]
        numbers: dict[str, Any] = {"momentum": 0.8, "eps": 1e-3, "relu": relu}
        part = gpu.asarray(x[cuts[rank]])
        return *shared.batch_norm_train_shared(part, *there, *running, add_up, rank, size, **numbers), running

    parts = together(size, forward)
    y = np.concatenate([gpu.asnumpy(y) for y, _, _ in parts])
    whole, _ = norm.batch_norm_train(
        gpu.asarray(x), *there, *(gpu.asarray(a.copy()) for a in (mean, var)), momentum=0.8, eps=1e-3, relu=relu
    )
    count, calculation = x.size // shape[1], gamma.dtype.name
    want, x_hat, inverse_std, batch_mean, batch_var = reference.batch_norm_forward(judged(x), gamma, beta, 1e-3)
    want = reference.relu_forward(want) if relu else want
    magnitude = 3.0 * float(np.abs(gamma).max() * inverse_std.max()) + float(np.abs(want).max())
    assert_near(y, want, dtype, terms=count, magnitude=magnitude)
    assert_near(y, judged(gpu.asnumpy(whole)), dtype, terms=count, magnitude=magnitude)
    for _, statistics, running in parts:
        assert_near(gpu.asnumpy(statistics.mean), batch_mean, calculation, count)
        assert_near(gpu.asnumpy(statistics.inverse_std), inverse_std, calculation, count, 5 * float(inverse_std.max()))
        assert_near(gpu.asnumpy(running[0]), mean * 0.8 + batch_mean * 0.2, calculation, count)
        assert_near(gpu.asnumpy(running[1]), var * 0.8 + batch_var * 0.2, calculation, count, 5.0)
        for a, b in zip((statistics.mean, statistics.inverse_std, *running), _bits(parts[0]), strict=True):
            np.testing.assert_array_equal(gpu.asnumpy(a), gpu.asnumpy(b))  # the same bits in every process

    def backward(rank: int, add_up: shared.AddUp) -> Any:
        part, behind = [gpu.asarray(a[cuts[rank]]) for a in (dout, x)], parts[rank][0] if relu else None
        return shared.batch_norm_backward_shared(*part, there[0], parts[rank][1], add_up, len(x), behind)

    dx, dgamma, dbeta = zip(*together(size, backward), strict=True)
    masked = reference.relu_backward(dout, y) if relu else dout
    wants = reference.batch_norm_backward(judged(masked), x_hat, gamma, inverse_std)
    largest = float(np.abs(judged(masked)).sum() * max(1.0, float(np.abs(x_hat).max())))
    found = np.concatenate([gpu.asnumpy(a) for a in dx])
    assert_near(found, wants[0], dtype, terms=count, magnitude=30.0 * float(np.abs(gamma).max() * inverse_std.max()))
    for own, wanted in ((dgamma, wants[1]), (dbeta, wants[2])):
        total = np.sum([judged(gpu.asnumpy(a)) for a in own], axis=0)
        assert_near(total.astype(dtype), wanted, dtype, terms=count, magnitude=largest)


def _bits(part: Any) -> tuple[Any, ...]:
    return part[1].mean, part[1].inverse_std, *part[2]
