"""The book's words for a convolution."""

from __future__ import annotations

from typing import Any

import pytest

from xpcnn.errors import ConfigError
from xpcnn.models.parameters import conv_arguments

_USUAL = {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        (None, {}),
        ({}, {}),
        ({"filter_num": 7}, {"filters": 7}),
        ({"filter_size": (3, 2), "pad": 1, "stride": 2}, {"size": (3, 2), "pad": 1, "stride": 2}),
    ],
)
def test_words(given: Any, changed: dict[str, Any]) -> None:
    usual = {"filters": 30, "size": 5, "pad": 0, "stride": 1}
    assert conv_arguments(given, _USUAL, "conv_param") == {**usual, **changed}
    assert _USUAL == {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}


def test_words_that_are_none() -> None:
    words = "conv_param_2 takes filter_num, filter_size, pad, stride, got colour, filters"
    with pytest.raises(ConfigError, match=words):
        conv_arguments({"filters": 3, "colour": 1, "pad": 0}, _USUAL, "conv_param_2")
