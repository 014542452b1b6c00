"""`xpcnn train`: a network, a data set, a run folder."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from xpcnn.cli.common import (
    INTERRUPTED,
    BatchSize,
    Colour,
    DataDir,
    DatasetName,
    DeviceName,
    Gpu,
    ImageSize,
    ModelName,
    absolute,
    choose_device,
    lasting,
    limit_threads,
    load_run_data,
    say,
    warn,
)
from xpcnn.cli.config import merge, read_config, recipe, save_every, write_config
from xpcnn.data.augment import parse_augment
from xpcnn.data.dataset import Dataset
from xpcnn.device import Device
from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.models import make_model
from xpcnn.network import Network
from xpcnn.training.callbacks import Callback, Checkpoints, EarlyStopping, MetricsFiles
from xpcnn.training.checkpoint import load_checkpoint, save_checkpoint
from xpcnn.training.trainer import Trainer

__all__ = ["train"]


def train(
    model: ModelName = None,
    dataset: DatasetName = None,
    data_dir: DataDir = None,
    image_size: ImageSize = None,
    colour: Colour = None,
    device: DeviceName = None,
    gpu: Gpu = False,
    epochs: Annotated[int | None, typer.Option(help="Whole passes over the training data (20).")] = None,
    batch_size: BatchSize = None,
    optimizer: Annotated[
        str | None, typer.Option(help="sgd, momentum, nesterov, adagrad, rmsprop, adam or adamw (adam).")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate (the optimizer's own; 0.001 for adam).")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="constant, step:epochs=5,factor=0.1, cosine, cosine:warmup=500, onecycle.")
    ] = None,
    augment: Annotated[str | None, typer.Option(help="Such as shift=2,rotate=10,flip.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batches and dropout (0).")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64 (float32).")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU's matrix products (all).")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without a lower test loss.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder (runs/MODEL-DATASET-TIME).")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    save_every_: Annotated[
        str | None, typer.Option("--save-every", help="Also save within epochs: 500 (steps), 30s, 5m.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file like a run folder's config.toml.")] = None,
    recipe_: Annotated[
        str | None, typer.Option("--recipe", help="fast or best: settings that come with xpcnn; flags go over them.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only where things are, and errors.")] = False,
) -> None:
    """Train a network on a data set; everything the run is lies in one folder."""
    flags: dict[str, dict[str, Any]] = {
        "model": {"model": model, "seed": seed},  # over a file's own [model] seed too
        "data": {"name": dataset, "augment": augment, "image_size": image_size, "colour": colour},
        "train": {
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "lr": lr,
            "schedule": schedule,
            "seed": seed,
            "dtype": dtype,
            "threads": threads,
            "patience": patience,
            "device": device or ("cuda" if gpu else None),
            "save_every": save_every_,
        },
    }
    if data_dir is not None:
        flags["data"]["dir"] = str(data_dir.expanduser().absolute())  # found again from any folder
    if resume is not None:
        settings = _resumed(resume, flags, config, recipe_, out)
    else:
        settings = merge(recipe(recipe_) if recipe_ else {}, read_config(config) if config else {}, flags)
    choice = choose_device(settings["train"]["device"], gpu)
    limit_threads(settings["train"]["threads"])
    settings["data"]["name"] = absolute(settings["data"]["name"])
    data = load_run_data(settings)
    network = _network(settings, data, choice)
    settings["model"] = {**network.config, "seed": network.seed}
    settings["data"] |= lasting(settings["data"]["name"], data)
    folder = resume or _new_folder(out, settings)
    trainer = _trainer(settings, network, data, folder, quiet)
    if resume is not None:
        load_checkpoint(resume / "last.ckpt", trainer)
    # Only now, when nothing is wrong with them; a resumed run may have more epochs.
    write_config(folder / "config.toml", settings)
    if not quiet:
        _announce(settings, network, data, trainer, choice)
    with _stop_on_signals(trainer), warnings.catch_warnings():
        # NanGuard says it in one line, with the step and the layer.
        warnings.filterwarnings("ignore", r"(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
        trainer.train()
    _finish(folder, trainer, quiet)


def _resumed(
    folder: Path,
    flags: Mapping[str, Mapping[str, Any]],
    config: Path | None,
    recipe_name: str | None,
    out: Path | None,
) -> dict[str, dict[str, Any]]:
    """The configuration of a run that goes on: its own, but for where, how long and how often it may be changed."""
    if not (folder / "last.ckpt").is_file():
        raise CheckpointError(f"{folder} holds no last.ckpt to resume from; start afresh with --out {folder}")
    changeable = {"epochs", "device", "threads", "save_every"}
    fixed = [k for name in ("model", "train") for k, v in flags[name].items() if v is not None and k not in changeable]
    fixed += [k for k, v in flags["data"].items() if v is not None and k != "dir"]
    given = (("config", config), ("recipe", recipe_name), ("out", out))
    fixed += [name for name, value in given if value is not None]
    if fixed:
        raise ConfigError(
            f"--resume goes on with the run as it was; {', '.join(dict.fromkeys(fixed))} cannot change "
            f"({', '.join(sorted(changeable))} and the data folder can)"
        )
    return merge(read_config(folder / "config.toml"), flags)


def _network(settings: Mapping[str, Mapping[str, Any]], data: Dataset, device: Device) -> Network:
    train = settings["train"]
    wanted = dict(settings["model"])
    wanted.setdefault("input_dim", list(data.image_shape))
    wanted.setdefault("output_size", len(data.classes))
    wanted.setdefault("seed", train["seed"])
    network = make_model(wanted, dtype=train["dtype"], device=device)
    if network.input_shape != data.image_shape:
        raise ConfigError(
            f"the model takes pictures of {network.input_shape}, {data.name} has {data.image_shape} (C, H, W)"
        )
    if network.output_shape[0] < len(data.classes):
        raise ConfigError(
            f"the model tells {network.output_shape[0]} classes apart, {data.name} has {len(data.classes)}; "
            f"set output_size = {len(data.classes)} in [model] or leave it out"
        )
    network.use_threads(train["threads"])
    network.use_loss(SoftmaxWithLoss(train["label_smoothing"]))
    return network


def _new_folder(out: Path | None, settings: Mapping[str, Mapping[str, Any]]) -> Path:
    name = Path(settings["data"]["name"]).stem or "data"
    folder = out or Path("runs") / f"{settings['model']['model']}-{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if (folder / "config.toml").exists():
        raise ConfigError(f"{folder} holds a run already; go on with it (--resume {folder}) or name another --out")
    return folder


def _trainer(
    settings: Mapping[str, Mapping[str, Any]], network: Network, data: Dataset, folder: Path, quiet: bool
) -> Trainer:
    train = settings["train"]
    augment = settings["data"]["augment"]
    steps, seconds = save_every(train["save_every"])
    callbacks: list[Callback] = [EarlyStopping(train["patience"])] if train["patience"] is not None else []
    callbacks += [MetricsFiles(folder), Checkpoints(folder, steps, seconds)]
    param = {key: train[key] for key in ("lr", "weight_decay", "clip_norm") if train[key] is not None}
    return Trainer(
        network,
        data.x_train,
        data.t_train,
        data.x_test,
        data.t_test,
        epochs=train["epochs"],
        mini_batch_size=train["batch_size"],
        optimizer=train["optimizer"],
        optimizer_param=param,
        seed=train["seed"],
        schedule=train["schedule"],
        augment=None if augment is None else parse_augment(augment),
        scale=1.0 / 255.0,
        train_accuracy="running",
        verbose=not quiet,
        callbacks=callbacks,
    )


def _announce(
    settings: Mapping[str, Mapping[str, Any]], network: Network, data: Dataset, trainer: Trainer, device: Device
) -> None:
    parameters = sum(a.size for a in network.params.values())
    say(f"{data.name}: {len(data.x_train):,} training and {len(data.x_test):,} test pictures from {data.source}")
    say(f"{type(network).__name__}: {parameters:,} parameters, {network.dtype}, on {device.name} ({device.why})")
    if trainer.step_count:
        say(f"going on at epoch {trainer.epoch + 1}, batch {trainer.batch + 1} of {len(trainer.loader)}")


@contextmanager
def _stop_on_signals(trainer: Trainer) -> Iterator[None]:
    """While open, SIGINT and SIGTERM end training after the step under way; a second one ends it at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if trainer.stop_reason == "interrupted":
            raise KeyboardInterrupt
        trainer.stop_reason = "interrupted"

    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _finish(folder: Path, trainer: Trainer, quiet: bool) -> None:
    if trainer.stop_reason == "interrupted" and trainer.epoch < trainer.epochs:
        save_checkpoint(folder / "last.ckpt", trainer)  # the signal may have come after the step's own saving
        warn(f"interrupted; go on with: xpcnn train --resume {folder}")
        raise typer.Exit(INTERRUPTED)
    if trainer.stop_reason is not None and not quiet:
        say(f"stopped: {trainer.stop_reason}")
    from xpcnn.plots import plot_curves, save_figure

    trainer.network.save_params(folder / "model.safetensors")
    save_figure(plot_curves(trainer.history.rows), folder / "curves.png")
    if not trainer.history.rows:
        return
    row = trainer.history[-1]
    say(f"everything is in {folder}: model.safetensors, last.ckpt, best.ckpt, metrics.csv, curves.png, config.toml")
    say(f"try: xpcnn predict {folder} PICTURE.png   xpcnn plot filters {folder}   xpcnn evaluate {folder}")
    say(f"test accuracy {row['test_acc']:.2%} after {row['epoch']} epochs")
