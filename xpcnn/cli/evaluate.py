"""`xpcnn evaluate`: how good a trained network is on a test set."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from xpcnn.cli.common import DataDir, DatasetName, DeviceName, Gpu, ModelName, Source, choose_device, load_run_data, say
from xpcnn.cli.config import run_config
from xpcnn.data.loader import Loader
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
    data = load_run_data(run_config(source), dataset, data_dir, network.input_shape)
    batches = Loader(data.x_test, data.t_test, batch_size, shuffle=False, prefetch=0, scale=1.0 / 255.0, dtype=dtype)
    loss, accuracy = network.evaluate_batches(batches.epoch(0))
    right = round(accuracy * len(data.x_test))
    if as_json:
        say(json.dumps({"dataset": data.name, "count": len(data.x_test), "right": right, "loss": loss}))
        return
    say(f"{data.name}: {right:,} of {len(data.x_test):,} test pictures right ({accuracy:.2%}), mean loss {loss:.6f}")
