"""An update of all parameters at once on a GPU, with clipping, weight decay and loss scaling in the same launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xpcnn.device import Array
from xpcnn.flat import FlatArrays
from xpcnn.ops.cuda.gradients import adjust_scale, clip_factor, clip_room, find_bad
from xpcnn.ops.cuda.optimizers import Rules

if TYPE_CHECKING:
    from xpcnn.optimizers.base import Optimizer

__all__ = ["update_flat"]


def update_flat(optimizer: Optimizer, lr: float, flat: FlatArrays, state: Sequence[Array]) -> None:
    """Changes `flat.params` by one step. Where gradients that were scaled have overflowed, nothing changes but the
    scale; the host is not told."""
    scaling = flat.scaling
    scale = None if scaling is None else scaling.scale
    if scaling is not None:
        find_bad(flat.grads, scaling)
    factor = None
    if optimizer.clip_norm is not None:
        if flat.clip_room is None:
            flat.clip_room = clip_room(flat.params)
        most, value = optimizer.clip_norm, optimizer.clip_value
        factor = clip_factor(flat.grads, most, flat.clip_room, clip_value=value, scale=scale)
    rules = Rules(
        skip=None if scaling is None else scaling.bad,
        scale=scale,
        clip_value=optimizer.clip_value,
        clip_factor=factor,
        weight_decay=optimizer.weight_decay if optimizer.decay_in_gradient else 0.0,
    )
    optimizer.launch(lr, flat.params, flat.grads, state, rules, None if scaling is None else scaling.step)
    if scaling is not None:
        adjust_scale(scaling)
