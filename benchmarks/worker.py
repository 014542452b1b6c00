"""One library in a process of its own: builds a workload, then does iterations when told to (harness.py starts it).

    python worker.py PEER TASK NET BATCH THREADS

It answers each line on standard input with a line of JSON on standard output:
    (at the start)  {"versions": ..., "start_seconds": ...}, or {"unavailable": why} and it ends
    run K           {"seconds": [...]}: the time of each of K iterations, after one that is not timed
    memory          {"peak_bytes": ...}
Whatever a library itself prints goes to standard error. It ends when standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, TextIO

__all__ = ["peak_bytes", "serve"]


def peak_bytes() -> int:
    """The most memory this process has had in RAM."""
    try:
        # getrusage's figure on Linux begins with that of the process that started this one, from before exec.
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def serve(call: Any, questions: TextIO, answer: Any) -> None:
    """Answers until the questions end."""
    for line in questions:
        word, _, number = line.strip().partition(" ")
        if word == "run":
            call()  # brings code and data back into the caches after the other libraries' turns
            seconds = []
            for _ in range(int(number)):
                start = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - start)
            answer({"seconds": seconds})
        elif word == "memory":
            answer({"peak_bytes": peak_bytes()})
        else:
            raise ValueError(f"a worker is asked to run or for its memory, got {line!r}")


def main() -> None:
    started = time.perf_counter()
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(words: dict[str, Any]) -> None:
        print(json.dumps(words), file=own, flush=True)

    from peers import PEERS, Unavailable
    from workloads import NETS, Workload

    name, task, net, batch, threads = sys.argv[1:]
    peer = PEERS[name]
    try:
        module = peer.load()
        call = module.build(Workload(task, NETS[net], int(batch)), int(threads), **peer.options)
    except ModuleNotFoundError as error:
        return answer({"unavailable": f"{error.name} is not installed"})
    except Unavailable as error:
        return answer({"unavailable": str(error)})
    call()
    answer({"versions": module.versions(), "start_seconds": time.perf_counter() - started})
    call()
    return serve(call, sys.stdin, answer)


if __name__ == "__main__":
    main()
