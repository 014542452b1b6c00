"""Looking at all gradients at once: clipping by their norm, infinities, and the scale of the loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.ops.cuda.module import THREADS, launch

__all__ = ["ClipRoom", "LossScale", "adjust_scale", "clip_factor", "clip_room", "find_bad", "loss_scale"]

_BLOCKS = 512


class LossScale(NamedTuple):
    """Dynamic loss scaling's state, all on the device: no step waits to learn whether it counted."""

    scale: Array  # (1,) float32: what the loss is multiplied by
    bad: Array  # (1,) int32: whether a gradient of this step is infinite or NaN
    good: Array  # (1,) int32: good steps since the scale last changed
    step: Array  # (1,) int64: steps that counted


class ClipRoom(NamedTuple):
    """The factor of clipping by norm, and room to find it."""

    factor: Array  # (1,) float64
    sums: Array  # float64, a number a block


def loss_scale(like: Array, first: float = 65536.0) -> LossScale:
    """A LossScale that begins at `first`, on the device of `like`."""
    xp = get_array_module(like)
    kinds = (np.int32, np.int32, np.int64)
    return LossScale(xp.full(1, first, dtype=np.float32), *(xp.zeros(1, dtype=kind) for kind in kinds))


def clip_room(like: Array) -> ClipRoom:
    """A ClipRoom on the device of `like`."""
    xp = get_array_module(like)
    return ClipRoom(xp.ones(1, dtype=np.float64), xp.empty(_BLOCKS, dtype=np.float64))


def find_bad(grads: Array, state: LossScale) -> None:
    """Sets state.bad where a gradient of the flat array `grads` (any of the three dtypes) is infinite or NaN."""
    launch("gradients", "find_bad", grads.dtype, (grads, state.bad, grads.size), threads_wanted=grads.size)


def adjust_scale(state: LossScale, interval: int = 2000, least: float = 1.0, most: float = 2.0**24) -> None:
    """After the update: a bad step halves the scale, `interval` good ones in a row double it; good steps are counted,
    `bad` is cleared. Source: Micikevicius et al. 2018, section 3.2."""
    limits = (np.int32(interval), np.float32(least), np.float32(most))
    arguments = (state.scale, state.bad, state.good, state.step, *limits)
    launch("gradients", "adjust_scale", state.scale.dtype, arguments, blocks=1, threads=1)


def clip_factor(
    grads: Array, most: float, room: ClipRoom, *, clip_value: float | None = None, scale: Array | None = None
) -> Array:
    """room.factor = min(1, most / norm of all gradients), NaN where the norm is; summed in float64, in fixed order.

    grads: flat. scale: (1,) float32 that the gradients are divided by first; clip_value: then limited to this.
    """
    blocks = min(_BLOCKS, max(1, -(-grads.size // THREADS)))
    limit = float("inf") if clip_value is None else float(clip_value)
    launch("gradients", "square_sums", grads.dtype, (grads, room.sums, grads.size, scale, limit), blocks=blocks)
    arguments = (room.sums, room.factor, blocks, np.float64(most))
    launch("gradients", "clip_factor", grads.dtype, arguments, blocks=1)
    return room.factor
