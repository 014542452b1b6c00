"""Kernels joined into one call do what they do one by one."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from xpcnn.ops.cpu.compiled import ConvKernels, available, why_not
from xpcnn.ops.cpu.compiled.affine import AffineKernels
from xpcnn.ops.cpu.compiled.arrays import Bound
from xpcnn.ops.cpu.compiled.program import joined

pytestmark = pytest.mark.skipif(not available(), reason=why_not())


def chain():
    """Three kernels of two kinds, each reading what the one before wrote: input, output, and the calls."""
    rng = np.random.default_rng(0)

    def random(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    x, y, z, scores = random(2, 6, 6, 3), random(2, 4, 4, 5), random(2, 7), random(2, 4)
    calls = [
        ConvKernels(3, 5, 3, 3, IW=6).forward(x, random(3, 3, 3, 5), random(5), y, relu=True),
        AffineKernels(80, 7).forward(y.reshape(2, 80), random(80, 7), random(7), z, True, 5),
        AffineKernels(7, 4).forward(z, random(7, 4), None, scores),
    ]
    return x, scores, calls


def test_one_after_the_other():
    x, scores, calls = chain()
    program = joined(calls)
    assert len(program.calls) == 1
    for seed in range(3):
        x[...] = np.random.default_rng(seed).standard_normal(x.shape)
        for call in calls:
            call()
        expected = scores.tobytes()
        scores[...] = 0.0
        program()
        assert scores.tobytes() == expected


def test_keeps_its_arrays_alive():
    x, scores, calls = chain()
    expected = scores.copy()
    program = joined(calls)
    del x, calls
    gc.collect()
    rubbish = [np.full(1000, np.nan, np.float32) for _ in range(100)]
    scores[...] = 0.0
    program()
    assert scores.tobytes() == expected.tobytes()
    assert len(rubbish) == 100


def test_what_is_no_kernel_is_called_from_python():
    a = np.ones(3)
    fill = Bound([(a.fill, (2.0,))], (a,))
    _, _, calls = chain()
    program = joined([*calls, fill])
    assert len(program.calls) == 1 + sum(len(call.calls) for call in calls)
    program()
    assert (a == 2.0).all()


def test_nothing_to_do():
    joined([])()
    joined([Bound([], ()), Bound([], ())])()
