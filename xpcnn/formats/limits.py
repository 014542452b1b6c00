"""What a file from a stranger may cost, and words out of it that are safe to show."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from itertools import islice

__all__ = ["DEEPEST", "DEFLATION", "is_line", "listed", "most_unpacked", "not_a_file", "one_line", "shown"]

DEEPEST = 64  # lists in dicts in lists ...: far deeper than any file of ours, far from the end of the stack

DEFLATION = 1032  # deflate makes no more bytes than this out of one (zlib's technical notes)

_ALWAYS = 128 << 20
_RATIO = 64


def most_unpacked(packed: int) -> int:
    """How many bytes a compressed file of `packed` bytes may become: 128 MiB, or 64 times its size if that is more.

    Deflate can do more (`DEFLATION`), but only where there is nothing to say: pictures and weights stay under 20.
    """
    return max(_ALWAYS, _RATIO * packed)


def not_a_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to a device, pipe or socket, which has no size to check and may never end."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # missing, or no path at all: opening it has the better words
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def shown(value: object, length: int = 80) -> str:
    """A value out of a file as a message may show it: short, on one line, without control characters."""
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= length else f"{value[:length]!r}..."
    if isinstance(value, int) and value.bit_length() > 256:  # Python refuses to write out what is too long
        return "a very large number"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return f"a {type(value).__name__}"


def one_line(text: str, length: int = 200) -> str:
    """Words out of a file, or of a library about it, as part of a message: short, without control characters."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text[:length]).split())
    return f"{words}..." if len(text) > length else words


def is_line(text: str, length: int = 600) -> bool:
    """Whether a message is already what `one_line` makes."""
    return len(text) <= length and text.isprintable()


def listed(names: Collection[str], most: int = 5) -> str:
    """Names out of a file as part of a message: the first ones, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(map(shown, islice(names, most))) or "nothing") + more
