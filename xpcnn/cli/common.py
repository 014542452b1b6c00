"""What the commands share: option types, messages, errors as one line and an exit code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from xpcnn.device import Device, get_device
from xpcnn.errors import ConfigError, TrainingError, XpcnnError

__all__ = [
    "BatchSize",
    "DataDir",
    "DatasetName",
    "DeviceName",
    "Gpu",
    "ModelName",
    "Source",
    "choose_device",
    "guarded",
    "limit_threads",
    "say",
    "warn",
]

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

Source = Annotated[Path, typer.Argument(help="A run folder, or a file: .safetensors, .npz, .pkl, .ckpt.")]
ModelName = Annotated[str | None, typer.Option("--model", help="simple, deep, lenet5 or alexnet.")]
DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", help="mnist, fashion-mnist, cifar10, cifar100, mnist-5k, a folder or an .npz file."),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The folder to look for data in first.")]
DeviceName = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:N, gpu or auto.")]
Gpu = Annotated[bool, typer.Option("--gpu", help="The same as --device cuda.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Samples a step.")]

P = ParamSpec("P")
R = TypeVar("R")


def say(text: str) -> None:
    """A line on standard output."""
    typer.echo(text)


def warn(text: str) -> None:
    """A line on standard error."""
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
            sys.stderr.close()
            code = FAILED
        raise typer.Exit(code)

    return run


def choose_device(name: str | None, gpu: bool, default: str = "cpu") -> Device:
    """The device that --device or --gpu asks for. Raises ConfigError where they contradict each other."""
    if gpu and name not in (None, "cuda", "gpu") and not str(name).startswith("cuda:"):
        raise ConfigError(f"--gpu and --device {name} contradict each other; give one of them")
    return get_device(name or ("cuda" if gpu else default))


def limit_threads(threads: int | None) -> Any:
    """Holds BLAS to `threads` threads for the rest of the process (None: as many as it likes)."""
    if threads is None:
        return None
    if threads < 1:
        raise ConfigError(f"--threads is at least 1, got {threads}")
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=threads, user_api="blas")
