"""Going on with a run: its newest checkpoint that can be read, and the configuration it was made with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpcnn.atomic import leftovers
from xpcnn.cli.common import warn
from xpcnn.cli.config import checked, merge, read_config
from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.formats.limits import one_line, shown
from xpcnn.training.callbacks import Checkpoints
from xpcnn.training.checkpoint import restore, versions
from xpcnn.training.rotation import Saved, newest, set_aside
from xpcnn.training.trainer import Trainer

__all__ = ["check_run", "clean", "find_checkpoint", "resume_trainer", "resumed_settings"]

Tables = dict[str, dict[str, Any]]

CHANGEABLE = ("device", "epochs", "keep", "save_every", "threads")
_WHERE = ("name", "dir", "source")  # of the data, whose contents are held against the checkpoint
_OURS = ("config.toml", "metrics.csv", "metrics.jsonl", "model.safetensors", "curves.png", "best.ckpt", "last.ckpt")


def check_run(folder: Path) -> None:
    """Raises CheckpointError for a folder that no run has begun in."""
    if not any((folder / name).is_file() for name in ("config.toml", "last.ckpt", "last.1.ckpt", "best.ckpt")):
        raise CheckpointError(f"{folder} holds no last.ckpt to resume from; start afresh with --out {folder}")


def clean(folder: Path) -> None:
    """Removes what killed processes have left half-written; only for the folder's one process."""
    for name, meant in leftovers(folder).items():
        if meant in _OURS or meant.endswith(".ckpt.new"):
            (folder / name).unlink(missing_ok=True)
    for path in folder.glob(".*.ckpt.new"):
        path.unlink()


def find_checkpoint(folder: Path) -> Saved | None:
    """The newest checkpoint, with a line about every damaged one; None for a run killed before its first."""
    saved = newest(folder)
    for reason in saved.damaged.values() if saved else ():
        warn(reason)
    if saved is None:
        warn(f"{folder} holds no last.ckpt yet; beginning its run again")
    elif saved.damaged or saved.path.name != "last.ckpt":
        warn(f"going on from {saved.path}, after step {shown(saved.values.get('step_count'))}")
    return saved


def resumed_settings(
    folder: Path, saved: Saved | None, flags: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]
) -> Tables:
    """The configuration of a run that goes on: its own, but for where, how long and how often it may be changed.

    given: further options, of which none may be set. Raises ConfigError for what cannot change.
    """
    fixed = [k for name in ("model", "train") for k, v in flags[name].items() if v is not None and k not in CHANGEABLE]
    fixed += [k for k, v in flags["data"].items() if v is not None and k != "dir"]
    fixed += [name for name, value in given.items() if value is not None]
    if fixed:
        raise ConfigError(
            f"--resume goes on with the run as it was; {', '.join(dict.fromkeys(fixed))} cannot change "
            f"({', '.join(CHANGEABLE)} and the data folder can)"
        )
    kept = _kept(saved)
    try:
        config = read_config(folder / "config.toml")
    except ConfigError as error:
        if kept is None:
            raise
        warn(f"{error}; taking the configuration out of the checkpoint")
        config = kept
    if kept is not None:
        _check_unchanged(folder, merge(config), merge(kept))
    return merge(config, flags)


def _kept(saved: Saved | None) -> Tables | None:
    kept = saved.values.get("config") if saved else None
    return checked(kept, saved.path) if saved and isinstance(kept, dict) else None


def _check_unchanged(folder: Path, config: Tables, kept: Tables) -> None:
    for name, table in json.loads(json.dumps(config, default=str)).items():
        free = CHANGEABLE if name == "train" else _WHERE if name == "data" else ()
        for key in sorted({*table, *kept[name]} - set(free)):
            if table.get(key) != kept[name].get(key):
                raise ConfigError(
                    f"{folder / 'config.toml'} was changed: [{name}] {one_line(key)} was "
                    f"{_word(kept[name].get(key))} and is {_word(table.get(key))}; put it back, or start a new run"
                )


def _word(value: object) -> str:
    return "left out" if value is None else one_line(json.dumps(value), 80)


def resume_trainer(trainer: Trainer, saved: Saved, checkpoints: Checkpoints | None) -> None:
    """Puts the trainer where the checkpoint's was, and makes last.ckpt that checkpoint if it was another.

    checkpoints: None where another process keeps the folder.
    """
    restore(trainer, saved.arrays, saved.values, saved.path)
    now, then = {**versions(trainer.network), **trainer.team.versions}, saved.values.get("versions", {})
    changed = [
        f"{name} {one_line(str(then.get(name, 'none')), 40)} (now {now.get(name, 'none')})"
        for name in sorted({*now, *then})
        if now.get(name) != then.get(name)
    ]
    if then and changed:
        warn(f"the run was saved with {one_line(', '.join(changed), 400)}; it may go on to other bits")
    if checkpoints is None:
        return
    for path in saved.damaged:
        warn(f"{path} is now {os.path.basename(set_aside(path))}")
    if saved.path.name == "last.ckpt":
        checkpoints.loaded(trainer)
    else:
        checkpoints.save(trainer)
