"""A run's whole state in one file: safetensors with JSON metadata and a checksum over both."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata as packages
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

import xpcnn
from xpcnn.errors import CheckpointError, XpcnnError
from xpcnn.formats.limits import one_line, shown
from xpcnn.formats.safetensors import load_safetensors, save_safetensors
from xpcnn.formats.tables import json_table
from xpcnn.threads import blas_architectures, usual_threads

if TYPE_CHECKING:
    from xpcnn.network import Network
    from xpcnn.training.trainer import Trainer

__all__ = ["load_checkpoint", "parameters_in", "read_checkpoint", "restore", "save_checkpoint", "versions"]

FORMAT = "xpcnn checkpoint 1"
_COUNTS = ("epoch", "batch", "step_count", "network_step", "right", "seen")
_TABLES = ("data", "versions", "config")  # {} in a checkpoint from before there were any


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        digest.update(f"\0{name}\0{a.dtype.str}\0{arrays[name].shape}\0".encode())
        digest.update(a.data)
    return digest.hexdigest()


def versions(network: Network) -> dict[str, str]:
    """What has a say in the bits of a run beside its configuration: another of these may round otherwise."""
    found = {"xpcnn": xpcnn.__version__, "Python": platform.python_version(), "NumPy": np.__version__}
    cpu = network.device.name == "cpu"
    for name in ["llvmlite"] if cpu else ["cupy-cuda12x", "cupy-cuda13x"]:
        try:
            found[name] = packages.version(name)
        except packages.PackageNotFoundError:
            continue  # not there: then it is not in the table
    if cpu:
        found["threads"] = str(usual_threads() if network.threads is None else network.threads)
        found["BLAS for"] = ", ".join(sorted(blas_architectures()))
    return found


def save_checkpoint(
    path: str | PathLike[str], trainer: Trainer, config: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Writes all that `load_checkpoint` needs to go on to the same bits; the file appears whole or not at all.

    config: the run's resolved configuration, JSON-ready, kept beside the state (None in a table says nothing).
    """
    arrays, values = trainer.state()
    values["model"] = trainer.network.config
    values["data"] = trainer.fingerprints
    values["versions"] = {**versions(trainer.network), **trainer.team.versions}
    if config is not None:
        values["config"] = {name: {k: v for k, v in t.items() if v is not None} for name, t in config.items()}
    text = json.dumps(values)
    save_safetensors(path, arrays, {"format": FORMAT, "values": text, "sha256": _checksum(arrays, text)})


def read_checkpoint(path: str | PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, values) of a checkpoint. Raises CheckpointError where it is damaged or something else."""
    arrays, metadata = load_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this version of xpcnn (wanted {FORMAT!r})")
    text = metadata.get("values", "")
    if metadata.get("sha256") != _checksum(arrays, text):
        raise CheckpointError(f"{path} is damaged: its checksum does not fit its contents; use an older checkpoint")
    return arrays, json_table(text, path)


def parameters_in(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a network predicts with, of a checkpoint's arrays: the averages where the run makes them."""
    for prefix in ("average/", "network/"):
        found = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        if found:
            return found
    return {}


def load_checkpoint(path: str | PathLike[str], trainer: Trainer) -> None:
    """Puts a trainer, made with the same arguments and data, where the checkpoint's was.

    Raises CheckpointError for a file that is damaged, and for a network, an optimizer or data that are not its own.
    """
    restore(trainer, *read_checkpoint(path), source=path)


def restore(
    trainer: Trainer, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], source: str | PathLike[str]
) -> None:
    """`load_checkpoint` for what `read_checkpoint` has read from `source`."""
    for name in _COUNTS:
        count = values.get(name, 0)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise CheckpointError(f"{source} does not hold the state of such a run: its {name} is {shown(count)}")
    for name in _TABLES:
        if not isinstance(values.get(name, {}), dict):
            raise CheckpointError(f"{source} does not hold the state of such a run: its {name} is no table")
    for part, was in values.get("data", {}).items():
        now = trainer.fingerprints.get(part, "none")
        if was != now:
            raise CheckpointError(
                f"{source}: the {one_line(part)} data is not what this run began with: it was {shown(was)} and is "
                f"{now!r}; bring the old data back, or start a new run"
            )
    try:
        trainer.load_state(arrays, values, source=source)
    except XpcnnError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise CheckpointError(f"{source} does not hold the state of such a run ({reason})") from error
