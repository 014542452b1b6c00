from __future__ import annotations

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, normal
from xpcnn.device import Device
from xpcnn.ops.cuda import gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [None, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("size", [1, 1000])
def test_infinities_are_found(gpu: Device, size: int, bad: float | None, dtype: str) -> None:
    g = normal(0, (size,), dtype)
    if bad is not None:
        g[size // 2] = bad
    state = gradients.loss_scale(gpu.asarray(g))
    gradients.find_bad(gpu.asarray(g), state)
    assert bool(state.bad[0]) is (bad is not None)


def test_the_scale_follows_good_and_bad_steps(gpu: Device) -> None:
    state = gradients.loss_scale(gpu.xp.zeros(1, dtype="float16"), first=8.0)
    fine, bad = (gpu.xp.full(3, v, dtype="float16") for v in (1.0, np.inf))
    seen = []
    for g in (fine, fine, bad, bad, bad, bad, fine, fine, fine, fine, fine, fine):
        gradients.find_bad(g, state)
        gradients.adjust_scale(state, interval=2, most=4.0)
        seen.append((float(state.scale[0]), int(state.good[0]), int(state.step[0]), int(state.bad[0])))
    # Doubled by the second good step in a row, but to 4 at most; halved by bad ones, to 1 at least.
    scales = [8, 4, 2, 1, 1, 1, 1, 2, 2, 4, 4, 4]
    goods = [1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0]
    steps = [1, 2, 2, 2, 2, 2, 3, 4, 5, 6, 7, 8]
    assert seen == [(s, g, n, 0) for s, g, n in zip(scales, goods, steps, strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 700, 5000])
def test_the_clipping_factor(gpu: Device, size: int, dtype: str) -> None:
    g = normal(0, (size,), dtype)
    room = gradients.clip_room(gpu.asarray(g))
    for clip_value, scale in ((None, None), (0.5, None), (0.5, 4.0), (None, 0.25)):
        used = g.astype("float64") / (scale or 1.0)
        used = used if clip_value is None else np.clip(used, -clip_value, clip_value)
        norm = float(np.sqrt((used**2).sum()))
        device_scale = None if scale is None else gpu.xp.full(1, scale, dtype="float32")
        for most in (norm / 3, norm * 3):
            factor = gradients.clip_factor(gpu.asarray(g), most, room, clip_value=clip_value, scale=device_scale)
            # Squares are rounded to what is calculated in: half an eps each, so half an eps of the norm.
            eps = np.finfo("float64" if dtype == "float64" else "float32").eps
            assert float(factor[0]) == pytest.approx(min(1.0, most / norm), rel=float(eps) + 1e-14)


def test_a_norm_within_the_limit_changes_nothing_and_nan_is_not_hidden(gpu: Device) -> None:
    g = gpu.asarray(np.array([3.0, 4.0], dtype="float32"))
    room = gradients.clip_room(g)
    assert float(gradients.clip_factor(g, 5.0, room)[0]) == 1.0
    assert float(gradients.clip_factor(g, 2.5, room)[0]) == 0.5
    g[1] = np.nan
    assert np.isnan(float(gradients.clip_factor(g, 5.0, room)[0]))
    g[1] = np.inf
    assert float(gradients.clip_factor(g, 5.0, room)[0]) == 0.0
