"""The last checkpoints of a run: last.ckpt, and the ones before it as last.1.ckpt, last.2.ckpt and so on.

At every instant there is a whole newest one under one of these names, also where a process is killed or a disk
fills in the middle of the changing of names.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.atomic import sync_folder
from xpcnn.errors import CheckpointError
from xpcnn.training.checkpoint import read_checkpoint

__all__ = ["Saved", "incoming", "newest", "set_aside", "settle"]


@dataclass
class Saved:
    """A checkpoint that could be read. damaged: the newer files that could not, each with the reason."""

    path: Path
    arrays: dict[str, np.ndarray]
    values: dict[str, Any]
    damaged: dict[Path, str]


def incoming(path: Path) -> Path:
    """Where the file that is to become `path` is written first."""
    return path.with_name(f".{path.name}.new")


def settle(path: Path, keep: int) -> None:
    """Makes `incoming(path)` the newest; `path` becomes number 1, number 1 becomes 2; `keep` stay in all."""
    if path.exists():
        older = _older(path)
        for number in sorted(older, reverse=True):
            if number + 1 >= keep:
                older[number].unlink()
            else:
                os.replace(older[number], _numbered(path, number + 1))
        if keep > 1:
            _second_name(path, _numbered(path, 1))
    os.replace(incoming(path), path)
    sync_folder(path.parent)


def newest(folder: Path) -> Saved | None:
    """The newest checkpoint of a run that can be read, best.ckpt where no other can; None where there is none.

    Raises CheckpointError, with every reason, where there are some and none can be read.
    """
    last = folder / "last.ckpt"
    older = _older(last)
    damaged: dict[Path, str] = {}
    for path in (last, *(older[number] for number in sorted(older)), folder / "best.ckpt"):
        if not os.path.lexists(path):
            continue
        try:
            return Saved(path, *read_checkpoint(path), damaged)
        except CheckpointError as error:
            damaged[path] = str(error)
    if damaged:
        raise CheckpointError(
            f"no checkpoint in {folder} can be read ({'; '.join(damaged.values())}); "
            "without these files --resume begins the run again"
        )
    return None


def set_aside(damaged: Path) -> Path:
    """Renames a damaged checkpoint, so that it does not take the place of a good one; returns its new name."""
    aside = damaged.with_name(f"damaged-{damaged.name}")
    os.replace(damaged, aside)
    return aside


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def _older(path: Path) -> dict[int, Path]:
    pattern = re.compile(re.escape(path.stem) + r"\.([1-9][0-9]{0,5})" + re.escape(path.suffix), re.ASCII)
    names = os.listdir(path.parent)
    return {int(match[1]): path.parent / match[0] for name in names if (match := pattern.fullmatch(name))}


def _second_name(path: Path, other: Path) -> None:
    """Gives a file a second name, so that the first is never missing; where the disk has no links, only that name."""
    try:
        os.link(path, other)
    except OSError:
        os.replace(path, other)
