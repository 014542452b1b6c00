"""`xpcnn` with one rank that comes to a bad end: python dying_rank.py RANK WHEN HOW ARGUMENTS...

WHEN: "start" (while it loads its data) or a number of steps done. HOW: "kill" (by SIGKILL), "raise" (an error that
nobody foresaw), "interrupt" (it gets a SIGINT, and goes on).
"""

from __future__ import annotations

import os
import signal
import sys
import time

import xpcnn.cli.train
from tests.communication.processes import keep_errors
from xpcnn.cli.main import main
from xpcnn.communication import world
from xpcnn.training.trainer import Trainer


def end(how: str) -> None:
    sys.stderr.write(f"gone at {time.time()}\n")
    sys.stderr.flush()
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    else:
        raise RuntimeError("something nobody foresaw")


keep_errors()
rank, when, how = sys.argv[1:4]
del sys.argv[1:4]
if world().rank == int(rank):
    if when == "start":
        xpcnn.cli.train.load_run_data = lambda settings: end(how)  # type: ignore[assignment,misc,return-value]
    else:
        step = Trainer.step

        def stepping(trainer: Trainer, x: object, t: object) -> object:
            if trainer.step_count == int(when):
                end(how)
            return step(trainer, x, t)

        Trainer.step = stepping  # type: ignore[assignment,method-assign]
main()
