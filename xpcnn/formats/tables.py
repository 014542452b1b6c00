"""Words and numbers in tables: TOML files and the JSON inside other files, held to sizes that a reader can bear."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.formats.limits import DEEPEST, not_a_file, one_line, shown

__all__ = ["json_table", "read_toml"]

_LONGEST = 1 << 20
_QUOTED = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML file of at most 1 MiB, tables and lists in it at most 64 deep, whole numbers of 64 bits.

    Raises ConfigError, with file and reason.
    """
    try:
        if not_a_file(path):
            raise ValueError("it is a device or pipe, not a file")
        with Path(path).open("rb") as file:
            data = file.read(_LONGEST + 1)
        if len(data) > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST:,} bytes")
        text = data.decode("utf-8").replace("\r\n", "\n")
        _check_dots(text)
        tables = tomllib.loads(text)
        _check_values(tables)
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(f"cannot read {os.fspath(path)}: {one_line(reason)}") from error
    return tables


def json_table(text: str, source: object) -> dict[str, Any]:
    """The table that a file's JSON text holds, at most 64 deep. Raises CheckpointError, naming `source`."""
    try:
        table = json.loads(text)
        _check_values(table)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else one_line(str(error))
        raise CheckpointError(f"{source}: its metadata is not JSON: {reason}") from error
    if not isinstance(table, dict):
        raise CheckpointError(f"{source}: its metadata is {shown(table)}, not a table")
    return table


def _check_dots(text: str) -> None:
    """Refuses keys of very many parts, for which tomllib takes memory by the square of their number."""
    for number, line in enumerate(_QUOTED.sub("", text).split("\n"), start=1):
        if line.count(".") > DEEPEST and line.partition("#")[0].count(".") > DEEPEST:
            raise ValueError(f"line {number} has more than {DEEPEST} dots; break it into several")


def _check_values(value: object) -> None:
    """Holds depth and numbers to what the rest of the program, and its messages, can take."""
    level: list[object] = [value]
    for _ in range(DEEPEST):
        below: list[object] = []
        for item in level:
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                raise ValueError("it holds a whole number of more than 64 bits")
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        if not below:
            return
        level = below
    raise ValueError(f"it is nested more than {DEEPEST} deep")
