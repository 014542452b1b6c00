"""Window arithmetic against counting, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import oracles
from xpcnn.errors import ShapeError
from xpcnn.ops.geometry import check_size, no_larger_than, output_size, pair, quad, window_output


@pytest.mark.parametrize(
    ("value", "want"),
    [(3, (3, 3)), ((1, 2), (1, 2)), ([4, 5], (4, 5)), (np.int64(2), (2, 2)), ((np.int32(1), 2), (1, 2))],
)
def test_pair(value: Any, want: tuple[int, int]) -> None:
    got = pair(value, "stride")
    assert got == want
    assert all(type(v) is int for v in got)


@pytest.mark.parametrize(
    "value", [0, -1, 1.5, 2.0, True, None, "2", "12", (1,), (1, 2, 3), (1, 0), (1, 2.0), np.array([1, 2]), {1, 2}]
)
def test_pair_refuses(value: Any) -> None:
    with pytest.raises(ShapeError, match="stride must be a whole number of at least 1") as caught:
        pair(value, "stride")
    assert repr(value) in str(caught.value)


def test_pair_with_another_least() -> None:
    assert pair(0, "pad", least=0) == (0, 0)
    with pytest.raises(ShapeError, match="at least 2"):
        pair((2, 1), "window", least=2)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (0, (0, 0, 0, 0)),
        (2, (2, 2, 2, 2)),
        ((1, 2), (1, 2, 1, 2)),
        ([1, 2, 3, 4], (1, 2, 3, 4)),
        (np.int64(1), (1,) * 4),
    ],
)
def test_quad(value: Any, want: tuple[int, ...]) -> None:
    got = quad(value)
    assert got == want
    assert all(type(v) is int for v in got)


@pytest.mark.parametrize(
    "value", [-1, 0.5, False, None, "same", "12", (), (1,), (1, 2, 3), (1, 2, 3, -4), (1,) * 5, np.array([1, 2])]
)
def test_quad_refuses(value: Any) -> None:
    with pytest.raises(ShapeError, match="pad must be an int") as caught:
        quad(value)
    assert repr(value) in str(caught.value)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    size=st.integers(1, 12),
    window=st.integers(1, 5),
    stride=st.integers(1, 4),
    before=st.integers(0, 4),
    after=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
def test_output_size_counts_the_windows(
    size: int, window: int, stride: int, before: int, after: int, dilation: int
) -> None:
    fitting = oracles.positions(size + before + after, window, stride, dilation)
    assume(fitting)
    assert output_size(size, window, stride, before + after, dilation) == len(fitting)


@pytest.mark.parametrize(
    ("size", "window", "stride", "pad", "dilation", "want"),
    [
        ((28, 28), (5, 5), 1, 0, 1, (24, 24)),  # the book's SimpleConvNet
        ((24, 24), (2, 2), 2, 0, 1, (12, 12)),
        ((227, 227), (11, 11), 4, 0, 1, (55, 55)),  # AlexNet
        ((7, 7), (5, 5), 1, 0, 1, (3, 3)),
        ((9, 7), (3, 2), (2, 3), (1, 0, 0, 2), (2, 1), (3, 3)),
    ],
)
def test_window_output(size, window, stride, pad, dilation, want) -> None:
    assert window_output(size, window, stride, pad, dilation) == want


@pytest.mark.parametrize(
    ("window", "pad", "dilation", "words"),
    [
        ((5, 1), 0, 1, "a window of 5x1 does not fit a picture of 4x6 padded to 4x6"),
        ((1, 3), (0, 1, 0, 0), 4, "a window of 1x9 does not fit a picture of 4x6 padded to 4x7"),
    ],
)
def test_no_window_fits(window, pad, dilation, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        window_output((4, 6), window, 1, pad, dilation)


@pytest.mark.parametrize(
    ("argument", "value"), [("window", (0, 3)), ("window", (-1, 1)), ("stride", 0), ("dilation", 0), ("pad", -1)]
)
def test_senseless_arguments_are_named(argument: str, value: Any) -> None:
    arguments = {"size": (6, 6), "window": (2, 2), "stride": 1, "pad": 0, "dilation": 1} | {argument: value}
    with pytest.raises(ShapeError, match=argument):
        window_output(**arguments)


def test_a_limit_to_what_may_be_made() -> None:
    with no_larger_than(1000):
        check_size((10, 25), 4, "an array")
        with no_larger_than(10), pytest.raises(ShapeError, match=r"shape \(11,\) would take 11 bytes, 10 bytes"):
            check_size((11,), 1, "an array")
        with pytest.raises(ShapeError, match="1,004 bytes"):
            check_size((251,), 4, "an array")
        with pytest.raises(ShapeError, match="4,000 bytes"):  # made on the way to an array without elements
            check_size((0, 1000), 4, "an array")
    check_size((0, 1000), 4, "an array")
    check_size((251,), 4, "an array")


@pytest.mark.parametrize("shape", [(2**60,) * 2000, (10**6000,), (2**62,) * 30])
def test_sizes_that_cannot_be_written_out(shape) -> None:
    with pytest.raises(ShapeError, match="would take") as caught:
        check_size(shape, 4, "an array")
    assert len(str(caught.value)) < 1000
