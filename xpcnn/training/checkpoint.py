"""A run's whole state in one file: safetensors with JSON metadata and a checksum over both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from xpcnn.errors import CheckpointError
from xpcnn.formats.safetensors import load_safetensors, save_safetensors

if TYPE_CHECKING:
    from xpcnn.training.trainer import Trainer

__all__ = ["load_checkpoint", "read_checkpoint", "save_checkpoint"]

FORMAT = "xpcnn checkpoint 1"


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        digest.update(f"\0{name}\0{a.dtype.str}\0{arrays[name].shape}\0".encode())
        digest.update(a.data)
    return digest.hexdigest()


def save_checkpoint(path: str | PathLike[str], trainer: Trainer) -> None:
    """Writes all that `load_checkpoint` needs to go on to the same bits; the file appears whole or not at all."""
    arrays, values = trainer.state()
    text = json.dumps({**values, "model": trainer.network.config})
    save_safetensors(path, arrays, {"format": FORMAT, "values": text, "sha256": _checksum(arrays, text)})


def read_checkpoint(path: str | PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, values) of a checkpoint. Raises CheckpointError where it is damaged or something else."""
    arrays, metadata = load_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this version of xpcnn (wanted {FORMAT!r})")
    text = metadata.get("values", "")
    if metadata.get("sha256") != _checksum(arrays, text):
        raise CheckpointError(f"{path} is damaged: its checksum does not fit its contents; use an older checkpoint")
    values: dict[str, Any] = json.loads(text)
    return arrays, values


def load_checkpoint(path: str | PathLike[str], trainer: Trainer) -> None:
    """Puts a trainer, made with the same arguments, where the checkpoint's was."""
    arrays, values = read_checkpoint(path)
    trainer.load_state(arrays, values, source=path)
