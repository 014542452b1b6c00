"""The `xpcnn` command: collects the commands and starts one."""

from __future__ import annotations

from typing import Annotated

import typer

from xpcnn import __version__
from xpcnn.cli.bench import bench
from xpcnn.cli.common import guarded, say
from xpcnn.cli.evaluate import evaluate
from xpcnn.cli.export import export
from xpcnn.cli.info import info
from xpcnn.cli.plot import plot
from xpcnn.cli.predict import predict
from xpcnn.cli.train import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="xpcnn",
    help="Convolutional neural networks from one readable source, on NumPy or CuPy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (train, evaluate, predict, plot, export, bench, info):
    app.command()(guarded(command))


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"xpcnn {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Convolutional neural networks from one readable source, on NumPy or CuPy."""


def main() -> None:
    """Runs the command that the process was given."""
    app()
