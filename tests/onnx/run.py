"""ONNX's own conformance tests: `python -m tests.onnx.run` counts them all, `... Conv MaxPool` tells each of these.

`--program`: run each as a Program, even where it could be a Network.
"""

from __future__ import annotations

import collections
import sys
import warnings

from tests.onnx.conformance import Case, all_cases, attempt, in_scope
from tests.onnx.excluded import reason_for


def main(arguments: list[str]) -> None:
    """Runs the tests that use any of the named operators, or counts all."""
    program = "--program" in arguments
    wanted = {a for a in arguments if not a.startswith("-")}
    warnings.simplefilter("ignore")
    if not wanted:
        count(program)
        return
    for case in all_cases():
        if wanted & case.operators:
            error = attempt(case, program)
            print(f"passed {case.name}" if error is None else f"failed {case.name}: {error}", flush=True)


def count(program: bool) -> None:
    """Prints how many of each kind passed, failed and were left out, and why."""
    reasons: collections.Counter[str] = collections.Counter()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for case in all_cases():
        word, reason = _state(case, program)
        counts[case.kind][word] += 1
        if reason:
            reasons[reason] += 1
    for kind, c in counts.items():
        run = c["passed"] + c["failed"]
        print(f"{kind}: {run} run, {c['passed']} passed, {c['excluded']} excluded, {c['other']} of other operators")
    for reason, number in reasons.most_common():
        print(f"  excluded {number}: {reason}")


def _state(case: Case, program: bool) -> tuple[str, str | None]:
    if not in_scope(case):
        return "other", None
    reason = reason_for(case.name)
    if reason is not None:
        return "excluded", reason
    error = attempt(case, program)
    if error is not None:
        print(f"failed {case.name}: {error}", flush=True)
    return ("passed" if error is None else "failed"), None


if __name__ == "__main__":
    main(sys.argv[1:])
