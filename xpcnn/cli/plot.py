"""`xpcnn plot`: figures of a run."""

from __future__ import annotations

import csv
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer

from xpcnn.cli.common import DataDir, DatasetName, ModelName, Source, load_run_data, say, warn
from xpcnn.cli.config import run_config
from xpcnn.cli.predict import class_names, probabilities, reading
from xpcnn.data.dataset import Dataset, as_float
from xpcnn.device import asnumpy
from xpcnn.errors import CheckpointError, ConfigError, DataError
from xpcnn.layers import Convolution, Pooling
from xpcnn.models import make_model
from xpcnn.models.files import load_model
from xpcnn.network import Network
from xpcnn.pictures import open_picture, read_picture
from xpcnn.training.checkpoint import read_checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot"]

_BATCH = 256


class Kind(StrEnum):
    """What to draw."""

    curves = "curves"
    filters = "filters"
    activations = "activations"
    responses = "responses"
    confusion = "confusion"
    mistakes = "mistakes"


class _Job(NamedTuple):
    """What the command line said."""

    source: Path
    picture: Path | None
    data_dir: Path | None
    dataset: str | None
    model: str | None
    config: dict[str, dict[str, Any]]


def plot(
    kind: Annotated[Kind, typer.Argument(help="What to draw.")],
    source: Source,
    out: Annotated[Path | None, typer.Option(help="Where to: .png, .svg or .pdf (KIND.png in the run folder).")] = None,
    picture: Annotated[Path | None, typer.Option(help="The picture for activations and responses.")] = None,
    data_dir: DataDir = None,
    dataset: DatasetName = None,
    model: ModelName = None,
) -> None:
    """Draw a run: accuracy and loss, filters, feature maps, confusions, mistakes."""
    from xpcnn.plots import SUFFIXES, save_figure

    path = out or (source if source.is_dir() else Path()) / f"{kind.value}.png"
    if path.suffix.lower() not in SUFFIXES:  # before what may take minutes
        raise ConfigError(f"--out {path}: figures are written as {', '.join(SUFFIXES)}")
    job = _Job(source, picture, data_dir, dataset, model, run_config(source))
    draw = {
        Kind.curves: _curves,
        Kind.filters: _filters,
        Kind.activations: _activations,
        Kind.responses: _responses,
        Kind.confusion: _confusion,
        Kind.mistakes: _mistakes,
    }[kind]
    save_figure(draw(job), path)
    say(str(path))


# -- a run's course --------------------------------------------------------------------------------------------------


def _curves(job: _Job) -> Figure:
    from xpcnn.plots import plot_curves

    folder = job.source if job.source.is_dir() else job.source.parent
    rows = _read_metrics(folder / "metrics.csv")
    return plot_curves(rows, _step_losses(folder / "last.ckpt"))


def _read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, figures that are empty left out. Raises DataError with path and line."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; curves are drawn from the run folder of xpcnn train")
    rows: list[dict[str, float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                epoch = int(row["epoch"])
                rows.append({**{name: float(value) for name, value in row.items() if value}, "epoch": epoch})
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{path}, row {len(rows) + 1}: not the metrics of a run ({error!r})") from error
    if not rows:
        raise DataError(f"{path}: no epoch is finished yet, so there is nothing to draw")
    return rows


def _step_losses(path: Path) -> list[float] | None:
    """The loss of every step, which only the checkpoint keeps; without it the curves do with the epochs."""
    if not path.is_file():
        return None
    try:
        return [float(v) for v in read_checkpoint(path)[0]["history/step_losses"]]
    except (CheckpointError, KeyError) as error:
        warn(f"the loss of each step is left out: {error}")
        return None


# -- a network's filters and feature maps ----------------------------------------------------------------------------


def _first_convolution(network: Network) -> tuple[str, np.ndarray[Any, Any]]:
    for name, layer in network.layers.items():
        if isinstance(layer, Convolution):
            return name, asnumpy(layer.params["W"])
    raise ConfigError("this network has no convolution, so it has no filters to show")


def _filters(job: _Job) -> Figure:
    from xpcnn.plots import plot_filters

    network = load_model(job.source, job.model)
    name, after = _first_convolution(network)
    seed = job.config.get("model", {}).get("seed", job.config.get("train", {}).get("seed"))
    if seed is None:
        return plot_filters(after, layer=f"layer {name}")
    before = _first_convolution(make_model(network.config, seed=seed))[1]
    return plot_filters(before, after, layer=f"layer {name}")


def _activations(job: _Job) -> Figure:
    from xpcnn.plots import plot_activations

    network = load_model(job.source, job.model)
    names = class_names(network, job.config)
    if job.picture is not None:
        x = read_picture(job.picture, network.input_shape, **reading(network, job.config))
        what = job.picture.name
    else:
        data = _data(job, network)
        x, what = as_float(data.x_test[0]), f"first test picture of {data.name}"
    p = probabilities(network, x[None], job.source)[0]
    outputs = network.activations(x[None])
    shown = {
        name: asnumpy(outputs[name])
        for name, layer in network.layers.items()
        if isinstance(layer, Convolution | Pooling)
    }
    return plot_activations(x, shown, note=f"{what}, taken for {names[p.argmax()]} ({p.max():.2%})")


def _responses(job: _Job) -> Figure:
    from xpcnn.plots import plot_filter_responses

    if job.picture is None:
        raise ConfigError("responses are those to a picture; name one with --picture FILE")
    name, weights = _first_convolution(load_model(job.source, job.model))
    return plot_filter_responses(open_picture(job.picture), weights, layer=f"layer {name}")


# -- right and wrong on the test set ---------------------------------------------------------------------------------


def _data(job: _Job, network: Network) -> Dataset:
    """The data set that was named, or the run's own, with the run's own split into training and test pictures."""
    data = load_run_data(job.config, job.dataset, job.data_dir, network.input_shape)
    K = network.output_shape[0]
    if data.image_shape != network.input_shape or len(data.classes) != K:
        raise ConfigError(
            f"{data.name} has pictures of {data.image_shape} in {len(data.classes)} classes, the network takes "
            f"{network.input_shape} and tells {K} apart; name its own data set with --dataset"
        )
    return data


def _judged(job: _Job) -> tuple[Dataset, np.ndarray[Any, Any]]:
    """The data set and the probabilities (N, K) of its test pictures."""
    network = load_model(job.source, job.model)
    data = _data(job, network)
    starts = range(0, len(data.x_test), _BATCH)
    pieces = [probabilities(network, as_float(data.x_test[i : i + _BATCH]), job.source) for i in starts]
    return data, np.concatenate(pieces)


def _confusion(job: _Job) -> Figure:
    from xpcnn.plots import confusion_matrix, plot_confusion

    data, p = _judged(job)
    return plot_confusion(confusion_matrix(data.t_test, p.argmax(axis=1), len(data.classes)), data.classes)


def _mistakes(job: _Job) -> Figure:
    from xpcnn.plots import plot_mistakes

    data, p = _judged(job)
    return plot_mistakes(data.x_test, data.t_test, p.argmax(axis=1), p, data.classes)
