"""Sizes, strides and pads over any number of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracles_nd
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.ops.windows import (
    as_tuple,
    auto_pads,
    grown_pads,
    inside,
    output_sizes,
    padded_nd,
    pads_of,
    window_slices_nd,
)


def test_one_number_for_each_axis() -> None:
    assert as_tuple(2, 3, "stride") == (2, 2, 2)
    assert as_tuple([1, np.int64(4)], 2, "stride") == (1, 4)
    assert as_tuple(0, 1, "output_pad", 0) == (0,)


@pytest.mark.parametrize("value", [0, (1, 2), (1, 2, 0), 1.5, "3", True, None, (1, 2, 3, 4)])
def test_strides_that_make_no_sense(value: Any) -> None:
    with pytest.raises(ShapeError, match="stride must be a whole number of at least 1 or 3 of them"):
        as_tuple(value, 3, "stride")


def test_pads() -> None:
    assert pads_of(1, 3) == (1,) * 6
    assert pads_of((1, 2, 3), 3) == (1, 2, 3, 1, 2, 3)
    assert pads_of([1, 2, 3, 4], 2) == (1, 2, 3, 4)
    assert pads_of((0, 2), 1) == (0, 2)  # begin and end of the only axis
    for pad in ((1, 2, 3), -1, (0, -1), 0.5, "1"):
        with pytest.raises(ShapeError, match=r"pad over 2 axes must be an int, 2 numbers or 4 \(begin..., end...\)"):
            pads_of(pad, 2)


_axis = st.tuples(*(st.integers(*limits) for limits in ((1, 9), (1, 4), (1, 4), (0, 3), (0, 3), (1, 3))))


@given(st.lists(_axis, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_output_sizes_against_counting(axes: list[tuple[int, ...]]) -> None:
    sizes, window, stride, begin, end, dilation = zip(*axes, strict=True)
    want = oracles_nd.reached(sizes, window, stride, begin + end, dilation)
    if 0 in want:
        with pytest.raises(ShapeError, match="does not fit an input"):
            output_sizes(sizes, window, stride, begin + end, dilation)
    else:
        assert output_sizes(sizes, window, stride, begin + end, dilation) == want


@given(st.lists(_axis, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_ceil_against_counting(axes: list[tuple[int, ...]]) -> None:
    sizes, window, stride, begin, end, dilation = zip(*axes, strict=True)
    if 0 in oracles_nd.reached(sizes, window, stride, begin + end, dilation):
        return
    want = []
    for size, w, s, b, e, d in axes:
        fitting = oracles_nd.reached((size,), (w,), (s,), (b, e), (d,))[0]
        count = fitting + ((fitting - 1) * s + (w - 1) * d + 1 < b + size + e)  # one more where elements are left over
        last_begins = (count - 1) * s
        count -= last_begins >= b + size
        want.append(count)
    got = output_sizes(sizes, window, stride, begin + end, dilation, ceil=True)
    assert got == tuple(want)
    # The grown pads make room for just these windows.
    pads = grown_pads(begin + end, sizes, window, got, stride, dilation)
    assert pads[: len(sizes)] == begin
    for i, (size, w, s, b, e, d) in enumerate(axes):
        assert pads[len(sizes) + i] == max(e, (got[i] - 1) * s + (w - 1) * d + 1 - size - b)


def test_a_window_that_does_not_fit_says_what_there_is() -> None:
    with pytest.raises(ShapeError, match="a window of 3x5x1 does not fit an input of 9x2x1 padded to 9x4x1"):
        output_sizes((9, 2, 1), (3, 3, 1), (1, 1, 1), (0, 1, 0, 0, 1, 0), (1, 2, 1))
    with pytest.raises(ShapeError, match=r"2 spatial axes \(sizes \(5, 5\)\) needs window, stride and dilation of 2"):
        output_sizes((5, 5), (3,), (1,), (0, 0), (1,))


@pytest.mark.parametrize(
    ("window", "out", "stride", "dilation"),
    [((3,), (4,), (2,), (1,)), ((2, 3), (3, 1), (1, 2), (2, 1)), ((2, 1, 2), (2, 3, 2), (2, 1, 1), (1, 1, 3))],
)
def test_slices_see_what_the_window_sees(window: Any, out: Any, stride: Any, dilation: Any) -> None:
    sizes = [(o - 1) * s + (w - 1) * d + 1 for o, s, w, d in zip(out, stride, window, dilation, strict=True)]
    x = np.arange(np.prod(sizes)).reshape(sizes)
    seen = {flat: x[slices] for flat, slices in window_slices_nd(window, out, stride, dilation)}
    assert sorted(seen) == list(range(int(np.prod(window))))
    for o, f, i in oracles_nd.links(sizes, window, out, stride, [0] * (2 * len(sizes)), dilation):
        flat = int(np.ravel_multi_index(f, window))
        assert seen[flat][o] == x[i]


def test_padded(device: Device) -> None:
    x = np.arange(1.0, 13.0, dtype=np.float32).reshape(1, 2, 2, 3)
    given = device.asarray(x)
    y = padded_nd(given, (1, 0, 0, 2), value=-1.0)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(asnumpy(y), np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2)), constant_values=-1.0))
    np.testing.assert_array_equal(asnumpy(y[(slice(None), slice(None), *inside((1, 0, 0, 2), (2, 3)))]), x)
    assert padded_nd(given, (0, 0, 0, 0)) is given


@given(st.lists(_axis, min_size=1, max_size=3), st.sampled_from(["SAME_UPPER", "SAME_LOWER"]))
@settings(max_examples=200, deadline=None)
def test_auto_pads(axes: list[tuple[int, ...]], kind: str) -> None:
    sizes, window, stride, _, _, dilation = zip(*axes, strict=True)
    pads = auto_pads(kind, sizes, window, stride, dilation)
    n = len(sizes)
    for i in range(n):
        more, less = (pads[n + i], pads[i]) if kind == "SAME_UPPER" else (pads[i], pads[n + i])
        assert more - less in (0, 1)
        total, wanted = more + less, -(-sizes[i] // stride[i])
        assert output_sizes(
            sizes[i : i + 1], window[i : i + 1], stride[i : i + 1], (0, total), dilation[i : i + 1]
        ) >= (wanted,)
        if total:  # one less, and a window is lost
            extent = (wanted - 1) * stride[i] + (window[i] - 1) * dilation[i] + 1
            assert sizes[i] + total == extent


def test_other_auto_pads() -> None:
    assert auto_pads("VALID", (5, 5), (3, 3), (1, 1), (1, 1)) == (0, 0, 0, 0)
    assert auto_pads("SAME_UPPER", (5,), (2,), (1,), (1,)) == (0, 1)
    assert auto_pads("SAME_LOWER", (5,), (2,), (1,), (1,)) == (1, 0)
    with pytest.raises(ConfigError, match="auto_pad is one of SAME_UPPER, SAME_LOWER and VALID, got 'SAME'"):
        auto_pads("SAME", (5,), (2,), (1,), (1,))
