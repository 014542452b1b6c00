"""Where data sets are looked for: the folder given, $XPCNN_DATA, then the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from xpcnn.errors import DataError

__all__ = ["DataMissingError", "Place", "cache_dir", "places", "where"]


class DataMissingError(DataError):
    """A known data set that is in none of the places and could not be downloaded."""


class Place(NamedTuple):
    """A folder to look in, and who named it: "data_dir", "$XPCNN_DATA" or "cache"."""

    folder: Path
    origin: str


def cache_dir() -> Path:
    """The folder for downloads, in the user's cache folder of this system (not made here)."""
    import platformdirs

    return platformdirs.user_cache_path("xpcnn", appauthor=False) / "data"


def places(data_dir: str | os.PathLike[str] | None = None) -> list[Place]:
    """The folders to look in, in order; folders that do not exist are left in, to be named in messages."""
    found = []
    if data_dir is not None:
        found.append(Place(Path(data_dir).expanduser(), "data_dir"))
    if named := os.environ.get("XPCNN_DATA"):
        found.append(Place(Path(named).expanduser(), "$XPCNN_DATA"))
    found.append(Place(cache_dir(), "cache"))
    return found


def where(data_dir: str | os.PathLike[str] | None) -> str:
    """The places in words, for messages."""
    return ", ".join(
        f"{place.folder}{'' if place.folder.is_dir() else ' (no such folder)'}" for place in places(data_dir)
    )
