"""The book's words for a convolution, as arguments of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpcnn.errors import ConfigError

__all__ = ["conv_arguments"]

_WORDS = {"filter_num": "filters", "filter_size": "size", "pad": "pad", "stride": "stride"}


def conv_arguments(given: Mapping[str, Any] | None, defaults: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Arguments for `xpcnn.layers.conv` from filter_num, filter_size, pad and stride.

    Raises ConfigError for a word that is none of these.
    """
    words = {**defaults, **(given or {})}
    unknown = sorted(set(words) - set(_WORDS))
    if unknown:
        raise ConfigError(f"{name} takes {', '.join(_WORDS)}, got {', '.join(unknown)}")
    return {_WORDS[word]: value for word, value in words.items()}
