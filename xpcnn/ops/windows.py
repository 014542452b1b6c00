"""Windows over any number of spatial axes: sizes, strides, pads and the slices that a window's places see.

`geometry.py` says the same for pictures; here n is the number of axes behind (N, C). Pads are written
(begin of axis 1, ..., begin of axis n, end of axis 1, ..., end of axis n), as ONNX does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.ops.geometry import check_size, output_size, whole

__all__ = [
    "Ints",
    "as_tuple",
    "auto_pads",
    "grown_pads",
    "inside",
    "output_sizes",
    "padded_nd",
    "pads_of",
    "window_slices_nd",
]

Ints = int | Sequence[int]  # one for all axes, or one for each
Slices = tuple[slice, ...]


def _values(value: Ints, count: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * count


def as_tuple(value: Ints, n: int, name: str, least: int = 1) -> tuple[int, ...]:
    """`value` as one whole number for each of n axes: an int counts for all. Raises ShapeError for anything else."""
    values = _values(value, n)
    try:
        result = tuple(whole(v, name, least) for v in values)
    except ConfigError:
        result = ()
    if len(result) != n or len(values) != n:
        raise ShapeError(f"{name} must be a whole number of at least {least} or {n} of them, got {value!r}")
    return result


def pads_of(pad: Ints, n: int) -> tuple[int, ...]:
    """`pad` as (begin..., end...) of n axes: an int counts for all, n numbers for both sides of their axes."""
    values = _values(pad, 2 * n)
    if len(values) == n:
        values = values * 2
    try:
        return as_tuple(values, 2 * n, "pad", 0)
    except ShapeError:
        raise ShapeError(
            f"pad over {n} axes must be an int, {n} numbers or {2 * n} (begin..., end...), none negative, got {pad!r}"
        ) from None


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def output_sizes(
    sizes: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
    ceil: bool = False,
) -> tuple[int, ...]:
    """Number of window positions along each axis of an input of `sizes`; pads are (begin..., end...).

    ceil: where elements are left over, one more window hangs over the end; a last window that begins in the pad behind
    the input is left out (as PyTorch and ONNX have it).
    Raises ShapeError where no window fits.
    """
    n = len(sizes)
    if not len(window) == len(stride) == len(dilation) == n or len(pads) != 2 * n:
        raise ShapeError(
            f"an input of {n} spatial axes (sizes {tuple(sizes)}) needs window, stride and dilation of {n} numbers and "
            f"{2 * n} pads, got {tuple(window)}, {tuple(stride)}, {tuple(dilation)} and {tuple(pads)}"
        )
    both = [begin + end for begin, end in zip(pads[:n], pads[n:], strict=True)]
    out = []
    for i in range(n):
        more = stride[i] - 1 if ceil else 0
        count = output_size(sizes[i], window[i], stride[i], both[i] + more, dilation[i])
        if ceil and (count - 1) * stride[i] >= sizes[i] + pads[i]:
            count -= 1
        out.append(count)
    if any(count < 1 for count in out):
        spread = [d * (w - 1) + 1 for w, d in zip(window, dilation, strict=True)]
        there = [size + pad for size, pad in zip(sizes, both, strict=True)]
        raise ShapeError(
            f"a window of {_times(spread)} does not fit an input of {_times(sizes)} padded to {_times(there)}; "
            "use a larger input, more pad or a smaller window"
        )
    return tuple(out)


def window_slices_nd(
    window: Sequence[int], out: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Iterator[tuple[int, Slices]]:
    """For each place in the window, counted in C order, the slices of all axes that it sees over all positions."""
    spans = [s * (count - 1) + 1 for s, count in zip(stride, out, strict=True)]
    for flat, place in enumerate(itertools.product(*map(range, window))):
        firsts = [f * d for f, d in zip(place, dilation, strict=True)]
        yield flat, tuple(slice(a, a + span, s) for a, span, s in zip(firsts, spans, stride, strict=True))


def inside(pads: Sequence[int], sizes: Sequence[int]) -> Slices:
    """The slices of the padded input, spatial axes only, that hold the input itself."""
    return tuple(slice(begin, begin + size) for begin, size in zip(pads, sizes, strict=False))


def padded_nd(x: Array, pads: Sequence[int], value: float = 0.0) -> Array:
    """x (N, C, *sizes) with `value` around its spatial axes; x itself where there is nothing to add."""
    if not any(pads):
        return x
    n = len(pads) // 2
    sizes = x.shape[2:]
    xp = get_array_module(x)
    shape = (*x.shape[:2], *(size + pads[i] + pads[n + i] for i, size in enumerate(sizes)))
    check_size(shape, x.itemsize, "padded input", host=xp is np)
    y = xp.full(shape, value, dtype=x.dtype)
    y[(slice(None), slice(None), *inside(pads, sizes))] = x
    return y


def grown_pads(
    pads: Sequence[int],
    sizes: Sequence[int],
    window: Sequence[int],
    out: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """`pads` with as much more at the ends as windows need that hang over them (ceil)."""
    n = len(sizes)
    ends = []
    for i in range(n):
        last = (out[i] - 1) * stride[i] + (window[i] - 1) * dilation[i] + 1
        ends.append(max(pads[n + i], last - sizes[i] - pads[i]))
    return (*pads[:n], *ends)


def auto_pads(
    kind: str, sizes: Sequence[int], window: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """ONNX's auto_pad as pads: "SAME_UPPER" and "SAME_LOWER" give ceil(size / stride) positions, "VALID" pads nothing.

    An odd number of pads has its extra one at the end (UPPER) or at the beginning (LOWER). Raises ConfigError for
    another kind.
    """
    if kind == "VALID":
        return (0,) * (2 * len(sizes))
    if kind not in ("SAME_UPPER", "SAME_LOWER"):
        raise ConfigError(f"auto_pad is one of SAME_UPPER, SAME_LOWER and VALID, got {kind!r}")
    smaller, larger = [], []
    for size, w, s, d in zip(sizes, window, stride, dilation, strict=True):
        total = max((math.ceil(size / s) - 1) * s + d * (w - 1) + 1 - size, 0)
        smaller.append(total // 2)
        larger.append(total - total // 2)
    return (*smaller, *larger) if kind == "SAME_UPPER" else (*larger, *smaller)
