from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.modules import Module
from tests.ops.cuda.checks import normal
from xpcnn import optimizers as host
from xpcnn.device import Array, Device
from xpcnn.errors import ShapeError
from xpcnn.ops.cuda import gradients
from xpcnn.ops.cuda import optimizers as cuda
from xpcnn.ops.cuda.optimizers import Rules

SIZE, STEPS = 700, 5

Update = Callable[[Array, Array, tuple[Array, ...], float, int, Rules], None]
# By name: how many arrays of state, and one update (params, grads, state, lr, t, rules).
UPDATES: dict[str, tuple[int, Update]] = {
    "sgd": (0, lambda p, g, s, lr, t, rules: cuda.sgd(p, g, lr=lr, rules=rules)),
    "momentum": (1, lambda p, g, s, lr, t, rules: cuda.momentum(p, g, *s, lr=lr, rules=rules)),
    "nesterov": (1, lambda p, g, s, lr, t, rules: cuda.nesterov(p, g, *s, lr=lr, rules=rules)),
    "adagrad": (1, lambda p, g, s, lr, t, rules: cuda.adagrad(p, g, *s, lr=lr, rules=rules)),
    "rmsprop": (1, lambda p, g, s, lr, t, rules: cuda.rmsprop(p, g, *s, lr=lr, rules=rules)),
    "adam": (2, lambda p, g, s, lr, t, rules: cuda.adam(p, g, *s, lr=lr, t=t, rules=rules)),
}


def assert_equal(got: np.ndarray, want: np.ndarray, gpu: Device, name: str) -> None:
    """The same bits; on a card, Adam's powers may end otherwise in their last place."""
    if name.startswith("adam") and not isinstance(gpu.xp, Module):
        np.testing.assert_allclose(got, want, rtol=4 * float(np.finfo(want.dtype).eps))
    else:
        np.testing.assert_array_equal(got, want)


def run(gpu: Device, name: str, dtype: str, options: dict[str, Any], rules: dict[str, Any]) -> None:
    """Some updates by both, with a learning rate that changes."""
    grad_dtype = dtype
    dtype = "float64" if dtype == "float64" else "float32"
    p = normal(0, (SIZE,), dtype)
    count, update = UPDATES[name]
    device_p, state = gpu.asarray(p), tuple(gpu.xp.zeros(SIZE, dtype=dtype) for _ in range(count))
    optimizer = host.make_optimizer(name, **options)
    room = gradients.clip_room(device_p)
    for t in range(1, STEPS + 1):
        optimizer.lr = lr = 0.1 / t
        g = normal(t, (SIZE,), grad_dtype)
        optimizer.update({"W": p}, {"W": g.astype(dtype)})
        device_g, used = gpu.asarray(g), dict(rules)
        if (most := options.get("clip_norm")) is not None:
            used["clip_factor"] = gradients.clip_factor(device_g, most, room, clip_value=options.get("clip_value"))
        update(device_p, device_g, state, lr, t, Rules(**used))
        assert_equal(gpu.asnumpy(device_p), p, gpu, name)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", UPDATES)
def test_every_optimizer_s_bits(gpu: Device, name: str, dtype: str) -> None:
    run(gpu, name, dtype, {}, {})


@pytest.mark.parametrize("name", UPDATES)
def test_decay_and_limits(gpu: Device, name: str) -> None:
    run(gpu, name, "float32", {"weight_decay": 0.1, "clip_value": 0.8}, {"weight_decay": 0.1, "clip_value": 0.8})


def test_clipping_by_norm(gpu: Device) -> None:
    # In float64, where the host's sum and this one differ in no bit that the factor shows after five steps.
    p, g = normal(0, (SIZE,), "float64"), normal(1, (SIZE,), "float64")
    device_p, device_g = gpu.asarray(p), gpu.asarray(g)
    host.make_optimizer("sgd", lr=0.1, clip_norm=2.0, clip_value=1.0).update({"W": p}, {"W": g})
    factor = gradients.clip_factor(device_g, 2.0, gradients.clip_room(device_g), clip_value=1.0)
    cuda.sgd(device_p, device_g, lr=0.1, rules=Rules(clip_value=1.0, clip_factor=factor))
    np.testing.assert_allclose(gpu.asnumpy(device_p), p, rtol=1e-14)


def test_adamw_decays_apart_from_the_gradient(gpu: Device) -> None:
    p = normal(0, (SIZE,), "float32")
    device_p, m, v = gpu.asarray(p), gpu.xp.zeros(SIZE, dtype="float32"), gpu.xp.zeros(SIZE, dtype="float32")
    optimizer = host.make_optimizer("adamw", lr=0.01, weight_decay=0.2)
    for t in range(1, STEPS + 1):
        g = normal(t, (SIZE,), "float32")
        optimizer.update({"W": p}, {"W": g})
        cuda.adam(device_p, gpu.asarray(g), m, v, lr=0.01, t=t, decoupled_decay=0.2)
    assert_equal(gpu.asnumpy(device_p), p, gpu, "adamw")


@pytest.mark.parametrize("name", UPDATES)
def test_scaled_float16_steps_of_which_some_are_skipped(gpu: Device, name: str) -> None:
    """Half-precision gradients of a scaled loss move float32 parameters as the unscaled ones would; a bad step moves
    nothing and does not count."""
    p = normal(0, (SIZE,), "float32")
    count, update = UPDATES[name]
    device_p = gpu.asarray(p)
    state = tuple(gpu.xp.zeros(SIZE, dtype="float32") for _ in range(count))
    scaling = gradients.loss_scale(device_p, first=256.0)
    optimizer = host.make_optimizer(name, lr=0.01)
    for step in range(STEPS):
        g = (normal(step, (SIZE,), "float32") / 8).astype("float16")
        scaled = g * np.float16(float(scaling.scale[0]))  # a power of two: exact
        if step == 2:
            scaled[5] = np.inf
        else:
            optimizer.update({"W": p}, {"W": g.astype("float32")})
        device_g = gpu.asarray(scaled)
        gradients.find_bad(device_g, scaling)
        rules = Rules(skip=scaling.bad, scale=scaling.scale)
        if name == "adam":
            cuda.adam(device_p, device_g, *state, lr=0.01, t=scaling.step, rules=rules)
        else:
            update(device_p, device_g, state, 0.01, 0, rules)
        gradients.adjust_scale(scaling)
        assert_equal(gpu.asnumpy(device_p), p, gpu, name)
    assert int(scaling.step[0]) == STEPS - 1
    assert float(scaling.scale[0]) == 128.0


def test_arrays_that_do_not_fit(gpu: Device) -> None:
    half, single = gpu.xp.zeros(4, dtype="float16"), gpu.xp.zeros(4, dtype="float32")
    with pytest.raises(ShapeError, match=r"params must be \(4,\) float32, got \(4,\) float16"):
        cuda.sgd(half, half, lr=0.1)
    with pytest.raises(ShapeError, match="state 0 must be"):
        cuda.momentum(single, single, half, lr=0.1)
