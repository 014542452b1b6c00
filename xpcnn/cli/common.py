"""What the commands share: option types, messages, errors as one line and an exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from xpcnn.cli.config import image_size
from xpcnn.communication import Communicator
from xpcnn.communication.choose import own_device
from xpcnn.data.dataset import Dataset
from xpcnn.data.registry import NAMES, load_dataset
from xpcnn.device import Device, get_device
from xpcnn.errors import ConfigError, TrainingError, XpcnnError

__all__ = [
    "BatchSize",
    "Colour",
    "DataDir",
    "DatasetName",
    "DeviceName",
    "Gpu",
    "ImageSize",
    "ModelName",
    "Source",
    "absolute",
    "be_silent",
    "choose_device",
    "guarded",
    "lasting",
    "limit_threads",
    "load_run_data",
    "say",
    "warn",
]

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

Source = Annotated[Path, typer.Argument(help="A run folder, or a file: .safetensors, .npz, .pkl, .ckpt, .onnx.")]
ModelName = Annotated[str | None, typer.Option("--model", help="simple, deep, resnet18, ...: see docs/models.md.")]
DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", help="mnist, fashion-mnist, cifar10, cifar100, mnist-5k, a folder or an .npz file."),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The folder to look for data in first.")]
DeviceName = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:N, gpu or auto.")]
Gpu = Annotated[bool, typer.Option("--gpu", help="The same as --device cuda.")]
ImageSize = Annotated[
    str | None,
    typer.Option("--image-size", help="Bring a folder's pictures to 64 (a side) or 48x64 (height x width)."),
]
Colour = Annotated[
    bool | None, typer.Option("--colour/--grey", help="A folder's pictures in colour or grey [as they are].")
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Samples a step.")]

P = ParamSpec("P")
R = TypeVar("R")


_silent = False  # of several processes that train together, all but the first


def be_silent() -> None:
    """From now on this process says nothing: another one does."""
    global _silent
    _silent = True


def say(text: str) -> None:
    """A line on standard output."""
    if not _silent:
        typer.echo(text)


def warn(text: str) -> None:
    """A line on standard error."""
    if not _silent:
        typer.echo(f"xpcnn: {text}", err=True)


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """The command with every foreseen failure as one line on standard error and the exit code that it means."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except TrainingError as error:
            warn(str(error))
            code = FAILED
        except XpcnnError as error:
            warn(str(error))
            code = BAD_INPUT
        except MemoryError as error:
            warn(f"out of memory ({str(error) or 'no more to be had'}); try a smaller --batch-size")
            code = FAILED
        except KeyboardInterrupt:
            warn("interrupted")
            code = INTERRUPTED
        except BrokenPipeError:  # whoever read our output has gone, as `| head` does
            # What is left to flush at exit must go somewhere, or Python ends with a code and words of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = FAILED
        raise typer.Exit(code)

    return run


def choose_device(name: str | None, gpu: bool, default: str = "cpu", ranks: Communicator | None = None) -> Device:
    """The device that --device or --gpu asks for. Raises ConfigError where they contradict each other.

    ranks: the processes that train together, each of which takes a GPU of its own.
    """
    if gpu and name not in (None, "cuda", "gpu") and not str(name).startswith("cuda:"):
        raise ConfigError(f"--gpu and --device {name} contradict each other; give one of them")
    wanted = name or ("cuda" if gpu else default)
    return get_device(wanted) if ranks is None else own_device(ranks, wanted)


def load_run_data(
    config: Mapping[str, Mapping[str, Any]],
    dataset: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    shape: tuple[int, ...] | None = None,
) -> Dataset:
    """A run's data set, or the one named instead, cut into training and test pictures by the run's seed.

    shape: (C, H, W) that the run's network takes, if there is one yet: a folder's pictures are brought to it, else
    to the configuration's image_size and colour. Raises DataError; ConfigError for a configured size or colour that
    a data set of another kind does not have.
    """
    saved = config.get("data", {})
    size, colour = image_size(saved.get("image_size")), saved.get("colour")
    if shape is not None:
        if len(shape) != 3:
            raise ConfigError(f"data sets are of pictures (C, H, W); this network takes {shape}")
        size, colour = (shape[1], shape[2]), shape[0] == 3
    data = load_dataset(
        dataset or saved.get("name", "mnist"),
        data_dir or saved.get("dir"),
        on_message=warn,
        seed=config.get("train", {}).get("seed", 0),
        image_size=size,
        colour=colour,
    )
    C, H, W = data.image_shape
    if shape is None and (size not in (None, (H, W)) or colour not in (None, C == 3)):
        raise ConfigError(
            f"--image-size, --colour and --grey are for folders of pictures; {data.name} has pictures of "
            f"{data.image_shape} (C, H, W)"
        )
    return data


def absolute(name: str) -> str:
    """A data set's name as it is, a path made absolute, so that a run finds its data again from any folder."""
    return name if name in NAMES or not Path(name).expanduser().exists() else str(Path(name).expanduser().absolute())


def lasting(name: str, data: Dataset) -> dict[str, Any]:
    """What a run's [data] notes of the data set called `name`, so that it is found and read again as it was."""
    found: dict[str, Any] = {"name": name, "source": data.source, "classes": list(data.classes)}
    if name == "mnist":
        found["name"] = data.name  # where mnist was not to be had, the sample that stood in for it
    elif data.name not in NAMES and Path(name).expanduser().is_dir():  # a folder of pictures
        C, H, W = data.image_shape
        found |= {"image_size": f"{H}x{W}", "colour": C == 3}
    return found


def limit_threads(threads: int | None) -> Any:
    """Holds BLAS to `threads` threads for the rest of the process (None: as many as it likes)."""
    if threads is None:
        return None
    if threads < 1:
        raise ConfigError(f"--threads is at least 1, got {threads}")
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=threads, user_api="blas")
