"""`xpcnn evaluate`: how good a trained network is on a test set."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from xpcnn.cli.common import DataDir, DatasetName, DeviceName, Gpu, ModelName, Source, choose_device, say, warn
from xpcnn.data.loader import Loader
from xpcnn.data.registry import load_dataset
from xpcnn.errors import ConfigError
from xpcnn.models.files import load_model

__all__ = ["evaluate"]


def evaluate(
    source: Source,
    model: ModelName = None,
    dataset: DatasetName = None,
    data_dir: DataDir = None,
    device: DeviceName = None,
    gpu: Gpu = False,
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 100,
    dropout: Annotated[str | None, typer.Option(help="deep only: inverted, or book for the book's own rule.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Accuracy and mean loss of a trained network on the test pictures of a data set."""
    if batch_size < 1:
        raise ConfigError(f"--batch-size is at least 1, got {batch_size}")
    more: dict[str, Any] = {"dtype": dtype, **({} if dropout is None else {"dropout": dropout})}
    network = load_model(source, model, device=choose_device(device, gpu), **more)
    saved = _data_of(source)
    name = dataset or saved.get("name", "mnist")
    data = load_dataset(name, data_dir or saved.get("dir"), on_message=warn)
    batches = Loader(data.x_test, data.t_test, batch_size, shuffle=False, prefetch=0, scale=1.0 / 255.0, dtype=dtype)
    loss, accuracy = network.evaluate_batches(batches.epoch(0))
    right = round(accuracy * len(data.x_test))
    if as_json:
        say(json.dumps({"dataset": data.name, "count": len(data.x_test), "right": right, "loss": loss}))
        return
    say(f"{data.name}: {right:,} of {len(data.x_test):,} test pictures right ({accuracy:.2%}), mean loss {loss:.6f}")


def _data_of(source: Path) -> dict[str, Any]:
    """The [data] table of the run that `source` is or lies in; {} where there is none."""
    path = (source if source.is_dir() else source.parent) / "config.toml"
    if not path.is_file():
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("data", {})
    except ValueError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(table, dict):
        return {}
    wrong = [key for key in ("name", "dir") if not isinstance(table.get(key, ""), str)]
    if wrong:
        raise ConfigError(f"{path}: [data] {wrong[0]} is a text in quotes, got {table[wrong[0]]!r}")
    return table
