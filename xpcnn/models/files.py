"""A network from what a run left behind: its folder, its parameter file or a checkpoint; or from an ONNX file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.device import Device
from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.formats import load_arrays
from xpcnn.formats.safetensors import load_safetensors
from xpcnn.formats.tables import json_table, read_toml
from xpcnn.graph import at_most
from xpcnn.models import make_model
from xpcnn.network import Network
from xpcnn.training.checkpoint import parameters_in, read_checkpoint

__all__ = ["find_parameters", "load_model"]

_SMALL = 1 << 22  # parameters that any file may ask for, so that what does not fit is told name by name


def find_parameters(source: str | PathLike[str]) -> Path:
    """The parameter file of a run folder (model.safetensors, else last.ckpt), or the file itself."""
    path = Path(source)
    if not path.is_dir():
        return path
    for name in ("model.safetensors", "last.ckpt"):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path} holds neither model.safetensors nor last.ckpt; is it a run folder of xpcnn train?")


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, model configuration or {}) of a parameter file or checkpoint."""
    if path.suffix == ".ckpt":
        arrays, values = read_checkpoint(path)
        config = values.get("model")
        if not isinstance(config, dict):
            raise CheckpointError(f"{path} does not say which model it is of")
        return parameters_in(arrays), config
    if path.suffix == ".safetensors":
        arrays, metadata = load_safetensors(path)
        return arrays, json_table(metadata.get("model", "{}"), path)
    return load_arrays(path), {}


def load_model(
    source: str | PathLike[str], model: str | None = None, *, device: str | Device = "cpu", **more: Any
) -> Network:
    """The trained network of `source`: a run folder, a .safetensors, .npz or .pkl file, a .ckpt, or an .onnx.

    model: which of xpcnn.models it is, where the file does not say so itself (the book's .pkl files do not). more:
    further arguments of the model (of an .onnx: dtype). Raises CheckpointError for a file that cannot be read or does
    not fit, ConfigError where no model is known, or where that of an .onnx is no Network that gives a row of scores.
    """
    path = find_parameters(source)
    if path.suffix.lower() == ".onnx":
        return _from_onnx(path, model, device, **more)
    arrays, config = _read(path)
    if model is not None:
        config = {"model": model, **({} if config.get("model") != model else config)}
    folder_config = path.parent / "config.toml"
    if not config and folder_config.is_file():
        table = read_toml(folder_config).get("model", {})
        config = table if isinstance(table, dict) else {}
    if not config:
        raise ConfigError(f'{path} does not say which model its parameters belong to; name it, such as model="simple"')
    with at_most(max(_SMALL, sum(a.size for a in arrays.values()))):
        network = make_model(config, **{"seed": 0, **more}, device=device)
    network.load_arrays(arrays, source=path)
    return network


def _from_onnx(
    path: Path, model: str | None, device: str | Device, dtype: str | None = None, seed: int = 0, **more: Any
) -> Network:
    if model is not None or more:
        words = ", ".join(filter(None, ["model" if model is not None else "", *more]))
        raise ConfigError(f"{path} says itself which layers it has; leave out: {words}")
    from xpcnn.onnx import load  # needs the extra `onnx`

    found = load(path, device, seed=seed)
    if not isinstance(found, Network):
        raise ConfigError(
            f"{path} is not a network from samples to scores: {found.why}; "
            "xpcnn.onnx.load(path).run({name: array}) calculates what it gives"
        )
    if len(found.output_shape) != 1:
        raise ConfigError(f"{path} gives {found.output_shape} a sample, not a row of scores of classes")
    return found if dtype is None or found.dtype == dtype else found.copy(dtype)
