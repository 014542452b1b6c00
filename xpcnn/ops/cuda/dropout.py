"""Dropout whose mask is drawn where it is used, forward and backward: no memory for it."""

from __future__ import annotations

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.ops.cuda.module import launch, output

__all__ = ["dropout"]

_LOW32, _LOW64 = 2**32 - 1, 2**64 - 1


def dropout(
    x: Array,
    keep: float,
    scale: float,
    *,
    seed: int,
    stream: int,
    step: int,
    first: int = 0,
    out: Array | None = None,
) -> Array:
    """x * mask * scale with the very mask that `rng.keep_mask` gives for the same keep, seed, stream, step and first;
    its own gradient too. x: any shape, the first axis being the batch; `out` may be x. Sources: Srivastava et al.
    2014; Philox: Salmon et al. 2011."""
    out = output(get_array_module(x), out, x.shape, x.dtype)
    if x.size == 0:
        return out
    start = first * (x.size // x.shape[0])
    blocks = (start + x.size + 3) // 4 - start // 4
    threshold, key = round(keep * 2**32), seed & _LOW64
    words = (np.uint64(start), np.uint64(threshold), np.uint64(key), np.uint32(step & _LOW32))
    arguments = (x, out, blocks, x.size, *words, np.uint32(stream & _LOW32), float(scale))
    launch("dropout", "dropout", x.dtype, arguments, threads_wanted=blocks)
    return out
