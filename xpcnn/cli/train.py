"""`xpcnn train`: a network, a data set, a run folder."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from xpcnn.cli import common
from xpcnn.cli.common import (
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
from xpcnn.cli.config import make_folder, merge, read_config, recipe, save_every, write_config
from xpcnn.cli.lock import run_lock
from xpcnn.cli.resume import check_run, clean, find_checkpoint, resume_trainer, resumed_settings
from xpcnn.cli.setup import make_network, trainer_arguments
from xpcnn.cli.signals import INTERRUPTED, StopOnSignals
from xpcnn.cli.together import agree_on_settings, first_of_each_host_first, ranks_of
from xpcnn.communication import Communicator
from xpcnn.data.dataset import Dataset
from xpcnn.device import Device
from xpcnn.errors import ConfigError, DistributedError, TrainingError
from xpcnn.network import Network
from xpcnn.training.callbacks import Callback, Checkpoints, EarlyStopping, MetricsFiles
from xpcnn.training.callbacks.base import saving
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
    augment: Annotated[str | None, typer.Option(help="Such as shift=2,rotate=10,zoom=0.1,flip.")] = None,
    average: Annotated[
        float | None, typer.Option(help="Decay of a moving average of the parameters, which is kept: 0.999.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batches and dropout (0).")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float64, or float16 on a GPU (float32).")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU's matrix products (all).")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without a lower test loss.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder (runs/MODEL-DATASET-TIME).")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    save_every_: Annotated[
        str | None, typer.Option("--save-every", help="Also save within epochs: 500 (steps), 30s, 5m.")
    ] = None,
    keep: Annotated[int | None, typer.Option(help="How many of the last checkpoints to keep (2).")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file like a run folder's config.toml.")] = None,
    recipe_: Annotated[
        str | None, typer.Option("--recipe", help="fast or best: settings that come with xpcnn; flags go over them.")
    ] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Together with all that mpiexec -n N has started.")
    ] = False,
    sync_batch_norm: Annotated[
        bool | None,
        typer.Option("--sync-batch-norm/--own-batch-norm", help="Over all of them, or each over its part [sync]."),
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
            "average": average,
            "seed": seed,
            "dtype": dtype,
            "threads": threads,
            "patience": patience,
            "device": device or ("cuda" if gpu else None),
            "save_every": save_every_,
            "keep": keep,
            "sync_batch_norm": sync_batch_norm,
        },
    }
    if data_dir is not None:
        flags["data"]["dir"] = str(data_dir.expanduser().absolute())  # found again from any folder
    with StopOnSignals() as signals, ExitStack() as held:
        ranks = held.enter_context(ranks_of(distributed))
        first, saved = ranks.rank == 0, None
        if resume is not None:
            if first:
                check_run(resume)
                _hold(held, resume)
                saved = find_checkpoint(resume)
            saved = ranks.from_first(saved)
            settings = resumed_settings(resume, saved, flags, {"config": config, "recipe": recipe_, "out": out})
        else:
            settings = merge(recipe(recipe_) if recipe_ else {}, read_config(config) if config else {}, flags)
        agree_on_settings(ranks, settings)
        choice = choose_device(settings["train"]["device"], gpu, ranks=ranks)
        limit_threads(settings["train"]["threads"])
        settings["data"]["name"] = absolute(settings["data"]["name"])
        data = first_of_each_host_first(ranks, lambda: load_run_data(settings))
        network = make_network(settings, data, choice)
        settings["model"] = {**network.config, "seed": network.seed}
        settings["data"] |= lasting(settings["data"]["name"], data)
        folder = resume or ranks.from_first(_new_folder(out, settings) if first else None)
        steps, seconds = save_every(settings["train"]["save_every"])
        checkpoints = Checkpoints(folder, steps, seconds, settings["train"]["keep"], settings)
        callbacks = [signals, *_patience(settings), MetricsFiles(folder), checkpoints]
        trainer = _trainer(settings, network, data, callbacks, quiet, ranks if distributed else False)
        trainer.team.agree(trainer)
        # Only now, when nothing is wrong with them; a resumed run may have more epochs.
        if resume is None and first:
            make_folder(folder)
            _hold(held, folder)
            _check_new(folder)  # by now another process may have made it
        elif saved is not None:
            resume_trainer(trainer, saved, checkpoints if first else None)
        if first:
            write_config(folder / "config.toml", settings)
        if not quiet:
            _announce(data, trainer, choice)
        _run(folder, trainer, checkpoints, signals, quiet, first)


def _hold(held: ExitStack, folder: Path) -> None:
    reason = held.enter_context(run_lock(folder))
    if reason is not None:
        warn(f"{folder} cannot be locked ({reason}); see to it that no other process trains in it")
    clean(folder)


def _new_folder(out: Path | None, settings: Mapping[str, Mapping[str, Any]]) -> Path:
    name = Path(settings["data"]["name"]).stem or "data"
    folder = out or Path("runs") / f"{settings['model']['model']}-{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    _check_new(folder)
    return folder


def _check_new(folder: Path) -> None:
    if (folder / "config.toml").exists():
        raise ConfigError(f"{folder} holds a run already; go on with it (--resume {folder}) or name another --out")


def _patience(settings: Mapping[str, Mapping[str, Any]]) -> list[Callback]:
    patience = settings["train"]["patience"]
    return [] if patience is None else [EarlyStopping(patience)]


def _trainer(
    settings: Mapping[str, Mapping[str, Any]],
    network: Network,
    data: Dataset,
    callbacks: list[Callback],
    quiet: bool,
    distributed: bool | Communicator,
) -> Trainer:
    arrays = (data.x_train, data.t_train, data.x_test, data.t_test)
    how = trainer_arguments(settings)
    return Trainer(network, *arrays, **how, verbose=not quiet, callbacks=callbacks, distributed=distributed)


def _announce(data: Dataset, trainer: Trainer, device: Device) -> None:
    network = trainer.network
    parameters = sum(a.size for a in network.params.values())
    say(f"{data.name}: {len(data.x_train):,} training and {len(data.x_test):,} test pictures from {data.source}")
    say(f"{type(network).__name__}: {parameters:,} parameters, {network.dtype}, on {device.name} ({device.why})")
    if trainer.team.ranks > 1:
        say(f"{trainer.team.ranks} processes, each with its part of every batch of {trainer.mini_batch_size}")
    if trainer.step_count:
        say(f"going on at epoch {trainer.epoch + 1}, batch {trainer.batch + 1} of {len(trainer.loader)}")


def _run(
    folder: Path, trainer: Trainer, checkpoints: Checkpoints, signals: StopOnSignals, quiet: bool, first: bool
) -> None:
    """Trains and leaves the results; what ends it before its time says what has been kept."""
    try:
        with warnings.catch_warnings():
            # NanGuard says it in one line, with the step and the layer.
            warnings.filterwarnings("ignore", r"(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
            trainer.train()
        _finish(folder, trainer, checkpoints, quiet, first)
    except MemoryError as error:
        reason = f"out of memory ({str(error) or 'no more to be had'}); try a smaller --batch-size"
        raise TrainingError(reason + _kept(folder, checkpoints)) from error
    except (DistributedError, TrainingError) as error:
        raise TrainingError(f"{error}{_kept(folder, checkpoints)}") from error
    except (Exception, KeyboardInterrupt):
        if not signals.raised:
            raise
        warn(f"interrupted{_kept(folder, checkpoints)}")
        raise typer.Exit(common.INTERRUPTED) from None


def _kept(folder: Path, checkpoints: Checkpoints) -> str:
    path = folder / "last.ckpt"
    if checkpoints.saved_step is None or not path.is_file():
        return ""
    return f"; {path} keeps step {checkpoints.saved_step}, from where xpcnn train --resume {folder} goes on"


def _finish(folder: Path, trainer: Trainer, checkpoints: Checkpoints, quiet: bool, first: bool) -> None:
    interrupted = trainer.stop_reason == INTERRUPTED and trainer.epoch < trainer.epochs
    if not first:
        if interrupted:
            raise typer.Exit(common.INTERRUPTED)
        return
    if interrupted:
        checkpoints.save(trainer)  # the signal may have come after the step's own saving
        warn(f"interrupted; go on with: xpcnn train --resume {folder}")
        raise typer.Exit(common.INTERRUPTED)
    if trainer.stop_reason is not None and not quiet:
        say(f"stopped: {trainer.stop_reason}")
    from xpcnn.plots import plot_curves, save_figure

    with saving():
        trainer.network.save_params(folder / "model.safetensors")
        save_figure(plot_curves(trainer.history.rows), folder / "curves.png")
    if not trainer.history.rows:
        return
    row = trainer.history[-1]
    say(f"everything is in {folder}: model.safetensors, last.ckpt, best.ckpt, metrics.csv, curves.png, config.toml")
    say(f"try: xpcnn predict {folder} PICTURE.png   xpcnn plot filters {folder}   xpcnn evaluate {folder}")
    say(f"test accuracy {row['test_acc']:.2%} after {row['epoch']} epochs")
