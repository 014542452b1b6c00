"""`python -m tests.faults.run --kills 200`: kills training processes by the hundred and prints what came of it."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from random import Random

from tests.faults.kill import Tally, reference, survive
from tests.faults.runs import CASES, make_data


def main() -> None:
    """Kills until there were enough of them; ends with an AssertionError at the first run that differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, help="a folder to work in (a new one)")
    arguments = parser.parse_args()
    begun, rng, tally = time.perf_counter(), Random(arguments.seed), Tally()
    with tempfile.TemporaryDirectory(dir=arguments.place) as name:
        place = Path(name)
        make_data(place)
        wholes = {case: reference(place, case) for case in CASES}
        while tally.kills < arguments.kills:
            case = list(CASES)[tally.runs % len(CASES)]
            survive(place, case, wholes[case], rng, min(8, arguments.kills - tally.kills), tally)
    print(
        f"seed {arguments.seed}: {tally.kills} kills ({tally.starting} while starting, {tally.training} after the "
        f"first line, {tally.writing} of them with a file half-written), {tally.stopped} stopped by SIGINT or SIGTERM; "
        f"{tally.runs} runs resumed to their end, {tally.bits:,} bits compared and equal; "
        f"{time.perf_counter() - begun:.0f} s"
    )


if __name__ == "__main__":
    main()
