"""Sizes of windows: strides, pads and output sizes, with errors in words."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral

from xpcnn.device import CpuDevice
from xpcnn.errors import ConfigError, ShapeError

__all__ = [
    "IntPair",
    "PadLike",
    "check_pool_pad",
    "check_size",
    "no_larger_than",
    "output_size",
    "pair",
    "quad",
    "whole",
    "window_output",
]

IntPair = int | Sequence[int]
PadLike = int | Sequence[int]

_ADDRESSES = 2**63 - 1
_LEAST_ITEM = 2  # bytes of float16, the smallest number that layers work with


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def whole(value: object, name: str, least: int = 1) -> int:
    """`value` as an int. Raises ConfigError for anything that is not a whole number of at least `least`."""
    if not _whole(value) or int(value) < least:  # type: ignore[call-overload]
        raise ConfigError(f"{name} is one of the whole numbers from {least} on, got {value!r}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def pair(value: IntPair, name: str, least: int = 1) -> tuple[int, int]:
    """`value` as (height, width): an int counts for both. Raises ShapeError for anything else."""
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(values) != 2 or not all(_whole(v) and v >= least for v in values):
        raise ShapeError(f"{name} must be a whole number of at least {least} or a pair (h, w) of them, got {value!r}")
    return int(values[0]), int(values[1])


def quad(pad: PadLike) -> tuple[int, int, int, int]:
    """`pad` as (top, left, bottom, right): an int counts for all four, (h, w) for both sides of each axis."""
    values = tuple(pad) if isinstance(pad, Sequence) and not isinstance(pad, str) else (pad,) * 4
    if len(values) == 2:
        values = values * 2
    if len(values) != 4 or not all(_whole(v) and v >= 0 for v in values):
        raise ShapeError(f"pad must be an int, (h, w) or (top, left, bottom, right), none negative, got {pad!r}")
    return int(values[0]), int(values[1]), int(values[2]), int(values[3])


@functools.cache
def _host_memory() -> int:
    """Bytes of memory that this machine has; where the system does not tell, as many as there can be."""
    return CpuDevice().memory().get("total", _ADDRESSES)


# How many bytes an array may have, where a model from a stranger says its shape. It belongs to the thread that set it.
_most: ContextVar[int | None] = ContextVar("bytes of an array", default=None)


@contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """`check_size` inside lets no array have more than `size` bytes."""
    token = _most.set(size)
    try:
        yield
    finally:
        _most.reset(token)


def check_size(shape: Sequence[int], itemsize: int, what: str, host: bool = True) -> None:
    """Raises ShapeError, before any memory is taken, for an array that cannot be.

    Its bytes must be countable in 63 bits, and on the host (a GPU says by itself what it has no room for) no more
    than the machine has; and no more than `no_larger_than` says.
    """
    size = math.prod(shape) * itemsize
    most = _host_memory() if host else _ADDRESSES
    limit = _most.get()
    if limit is not None and (span := math.prod(n or 1 for n in shape) * itemsize) > limit:
        # As if no axis were 0: on the way to an array without elements others are made, such as its axes' numbers.
        raise ShapeError(
            f"{what} of shape {_shown(shape)} would take {_amount(span)}, {_amount(max(limit, 0))} are left for it"
        )
    if size > most:
        there = f"this machine has {_amount(most)}" if most < _ADDRESSES else "more than there are addresses"
        raise ShapeError(
            f"{what} of shape {_shown(shape)} would take {_amount(size)}, {there}; "
            "take smaller pictures, batches or layers, less pad or a larger stride"
        )


def _shown(shape: Sequence[int]) -> str:
    """A shape that a file may have made up, in a message: Python refuses to write out numbers that are too long."""
    if len(shape) > 32 or any(int(n).bit_length() > 256 for n in shape):
        return f"({len(shape)} axes)"
    return str(tuple(shape))


def _amount(size: int) -> str:
    if size < 2**27:
        return f"{size:,} bytes"
    if size.bit_length() > 256:
        return "more bytes than there are addresses"
    return f"{size / 2**30:,.1f} GiB" if size < 1000 * 2**30 else f"{size // 2**30:,} GiB"


def output_size(size: int, window: int, stride: int = 1, pad: int = 0, dilation: int = 1) -> int:
    """Number of window positions along one axis; `pad` is the sum over both of its sides (book, section 7.2.4)."""
    return (size + pad - dilation * (window - 1) - 1) // stride + 1


def window_output(
    size: tuple[int, int], window: tuple[int, int], stride: IntPair, pad: PadLike, dilation: IntPair = 1
) -> tuple[int, int]:
    """(OH, OW) for pictures of `size` (H, W). Raises ShapeError where not even one window fits, or nothing at all."""
    window = pair(window, "window")
    stride_h, stride_w = pair(stride, "stride")
    dilation_h, dilation_w = pair(dilation, "dilation")
    top, left, bottom, right = quad(pad)
    out_h = output_size(size[0], window[0], stride_h, top + bottom, dilation_h)
    out_w = output_size(size[1], window[1], stride_w, left + right, dilation_w)
    if out_h < 1 or out_w < 1:
        spread = (dilation_h * (window[0] - 1) + 1, dilation_w * (window[1] - 1) + 1)
        raise ShapeError(
            f"a window of {spread[0]}x{spread[1]} does not fit a picture of {size[0]}x{size[1]} padded to "
            f"{size[0] + top + bottom}x{size[1] + left + right}; use a larger picture, more pad or a smaller window"
        )
    check_size((size[0] + top + bottom, size[1] + left + right), _LEAST_ITEM, "one padded channel")
    return out_h, out_w


def check_pool_pad(window: tuple[int, int], pad: PadLike) -> None:
    """Raises ShapeError for pads as large as the pooling window: a window of nothing but pad has no largest element."""
    top, left, bottom, right = quad(pad)
    if max(top, bottom) >= window[0] or max(left, right) >= window[1]:
        raise ShapeError(f"a pooling window of {window[0]}x{window[1]} needs pads smaller than itself, got pad={pad!r}")
