"""A run's configuration: defaults, under a TOML file, under the command line's flags."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from xpcnn.atomic import atomic_write
from xpcnn.errors import ConfigError
from xpcnn.formats.limits import one_line, shown
from xpcnn.formats.tables import read_toml

__all__ = [
    "DEFAULTS",
    "checked",
    "image_size",
    "make_folder",
    "merge",
    "read_config",
    "recipe",
    "run_config",
    "save_every",
    "write_config",
]

# The whole layout of config.toml; None (left out in TOML) means: as the part itself decides.
DEFAULTS: dict[str, dict[str, Any]] = {
    "model": {"model": "simple"},
    "data": {
        "name": "mnist",
        "dir": None,
        "augment": None,
        "image_size": None,
        "colour": None,
        "classes": None,
        "source": None,
    },
    "train": {
        "epochs": 20,
        "batch_size": 100,
        "optimizer": "adam",
        "lr": None,
        "weight_decay": None,
        "clip_norm": None,
        "schedule": "constant",
        "average": None,
        "label_smoothing": 0.0,
        "patience": None,
        "seed": 0,
        "dtype": "float32",
        "device": "auto",
        "threads": None,
        "save_every": None,
        "keep": 2,
        "sync_batch_norm": True,
    },
}
_WHOLE = ("epochs", "batch_size", "seed", "threads", "patience", "keep")
_REALS = ("lr", "weight_decay", "clip_norm", "average", "label_smoothing")
_WORDS = {"data": ("name", "dir", "augment", "source"), "train": ("optimizer", "schedule", "dtype", "device")}


def read_config(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a TOML file. Raises ConfigError, with file and reason, for a file or word that will not do."""
    return checked(read_toml(path), path)


def checked(tables: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """The tables, read from `path`, once their names and texts are seen to be right; else ConfigError."""
    for name, table in tables.items():
        if name not in DEFAULTS or not isinstance(table, dict):
            raise ConfigError(f"{path}: [{one_line(name)}] is not one of the tables [{'], ['.join(DEFAULTS)}]")
        unknown = sorted(set(table) - set(DEFAULTS[name]))
        if unknown and name != "model":  # a model's arguments are checked by the model
            raise ConfigError(f"{path}: [{name}] knows {', '.join(DEFAULTS[name])}; not {one_line(', '.join(unknown))}")
        for key in _WORDS.get(name, ()):
            if not isinstance(table.get(key, ""), str):
                raise ConfigError(f"{path}: [{name}] {key} is a text in quotes, got {shown(table[key])}")
    return tables


def recipe(name: str) -> dict[str, dict[str, Any]]:
    """The tables of a recipe that comes with xpcnn. Raises ConfigError, naming them all, for another name."""
    folder = resources.files("xpcnn") / "recipes"
    names = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    if name not in names:
        raise ConfigError(f"no recipe is called {name!r}; there are {', '.join(names)}")
    with resources.as_file(folder / f"{name}.toml") as path:
        return read_config(path)


def merge(*layers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """One configuration from several, later ones on top; a None says nothing. Raises ConfigError for wrong types."""
    merged = {name: dict(table) for name, table in DEFAULTS.items()}
    for layer in layers:
        for name, table in layer.items():
            given = {key: value for key, value in table.items() if value is not None}
            if name == "model" and given.get("model", merged["model"].get("model")) != merged["model"].get("model"):
                merged["model"] = {}  # another model: the arguments of the first mean nothing to it
            merged[name].update(given)
    train = merged["train"]
    whole = {**{key: train[key] for key in _WHOLE}, "a model's seed": merged["model"].get("seed")}
    for key, number in whole.items():
        if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
            raise ConfigError(f"{key} is a whole number, got {shown(number)}")
    for key in _REALS:
        number = train[key]
        if number is not None and (not isinstance(number, int | float) or isinstance(number, bool)):
            raise ConfigError(f"{key} is a number, got {shown(number)}")
        if number is not None and not math.isfinite(number):
            raise ConfigError(f"{key} is a finite number, got {shown(number)}")
    if not isinstance(train["sync_batch_norm"], bool):
        raise ConfigError(f"sync_batch_norm is true or false, got {shown(train['sync_batch_norm'])}")
    data = merged["data"]
    image_size(data["image_size"])
    if not isinstance(data["colour"], bool | None):
        raise ConfigError(f"colour is true or false, got {shown(data['colour'])}")
    return merged


def run_config(source: Path) -> dict[str, dict[str, Any]]:
    """The configuration of the run that `source` is, or lies in; {} where there is none. Raises ConfigError."""
    path = (source if source.is_dir() else source.parent) / "config.toml"
    if not path.is_file():
        return {}
    config = read_config(path)
    merge(config)  # for its checks alone: what a file does not say must not look as if it had said it
    return config


def write_config(path: Path, config: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a configuration as TOML, whole or not at all, making its folder; what is None is left out."""
    make_folder(path.parent)
    tables = {name: {k: v for k, v in table.items() if v is not None} for name, table in config.items()}
    with atomic_write(path) as file:
        tomli_w.dump(tables, file)


def make_folder(folder: Path) -> None:
    """Makes a run folder and those above it, where they are missing. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the run folder {folder}: {error.strerror or error}") from error


def save_every(text: str | int | None) -> tuple[int | None, float | None]:
    """(steps, seconds) of --save-every: "500" is steps, "30s" or "5m" time."""
    if text is None:
        return None, None
    word = str(text).strip().lower()
    seconds = {"s": 1.0, "m": 60.0, "h": 3600.0}
    if re.fullmatch("[0-9]{1,9}[smh]", word) and int(word[:-1]):
        return None, int(word[:-1]) * seconds[word[-1]]
    if re.fullmatch("[0-9]{1,18}", word) and int(word):
        return int(word), None
    raise ConfigError(f"--save-every is a number of steps such as 500 or a time such as 30s or 5m, got {shown(text)}")


def image_size(text: str | int | None) -> tuple[int, int] | None:
    """(height, width) of --image-size: "64" is a square's side, "48x64" height and width."""
    if text is None:
        return None
    sides = [] if isinstance(text, bool) else str(text).strip().lower().split("x")
    if len(sides) in (1, 2) and all(re.fullmatch("[0-9]{1,9}", side) and int(side) for side in sides):
        return int(sides[0]), int(sides[-1])
    raise ConfigError(f"--image-size is a side such as 64 or height and width such as 48x64, got {shown(text)}")
