"""`xpcnn train` in several processes: one voice, one folder, one end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

from xpcnn.cli.common import be_silent
from xpcnn.communication import Alone, Communicator, Lifeline, world
from xpcnn.training.distributed_facts import agree

__all__ = ["agree_on_settings", "first_of_each_host_first", "ranks_of"]

R = TypeVar("R")

_EACH_ITS_OWN = ("threads", "device", "dir")  # settings in which hosts may differ


@contextmanager
def ranks_of(distributed: bool) -> Iterator[Communicator]:
    """The processes that mpiexec has started, or this one alone; from here on only the first of them says anything.

    One that ends by an error, or dies, ends them all; an exit code that all come to is no error.
    """
    communicator = world() if distributed else Alone()
    leave: typer.Exit | None = None
    with Lifeline(communicator):
        if communicator.rank > 0:
            be_silent()
        try:
            yield communicator
        except typer.Exit as code:
            leave = code
    if leave is not None:
        raise leave


def agree_on_settings(ranks: Communicator, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises DistributedError on all ranks where they were given different flags or files."""
    said = {
        f"[{name}] {key}": value
        for name, table in settings.items()
        for key, value in table.items()
        if key not in _EACH_ITS_OWN
    }
    agree(ranks, {"configuration": said})


def first_of_each_host_first(ranks: Communicator, load: Callable[[], R]) -> R:
    """What `load` gives; one process of a host goes before the others, so that they find what it has fetched."""
    if ranks.local_rank == 0:
        found = load()
    ranks.all(None, limit=None)  # a download may take its time
    return found if ranks.local_rank == 0 else load()
