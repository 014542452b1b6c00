"""What scaling.py has measured, in tables, and the model's numbers beside it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cluster import Job, Link, Passes, Ready, fit_link, step
from report import markdown

from xpcnn.executors import exchange

__all__ = ["TOLERANCE", "USUAL", "Found", "bucket_words", "measured_job", "measured_link", "report"]

TOLERANCE = 0.10  # of a step's time, within which the model is said to agree with what was measured
USUAL = exchange.BUCKET  # where nothing is said

Found = Mapping[str, Any]  # what scaling.measure gives


def _turns(found: Found, name: str, key: str = "step") -> list[float]:
    return [turn[key] for turn in found["turns"][name]]


def _quiet(found: Found, name: str, key: str = "step") -> float:
    """The median of the quarter of all turns in which other programs did least."""
    return statistics.median(turn[key] for turn in _quietest(found, name))


def _quietest(found: Found, name: str) -> list[Mapping[str, Any]]:
    turns = sorted(found["turns"][name], key=lambda turn: turn["others"])
    return turns[: max(1, len(turns) // 4)]


def _usual(found: Found) -> int:
    buckets: list[int] = found["buckets"]
    return USUAL if USUAL in buckets else buckets[-1]


def bucket_words(size: float) -> str:
    """Its size, or that there is but one."""
    return "one" if size >= 1 << 30 else f"{size / 1024:,.0f} KiB"


def measured_link(nets: Sequence[Found]) -> tuple[Link, float, dict[int, float], dict[int, float]]:
    """The link between two processes here, its largest error, and seconds of sums by bytes: the fastest and medians."""
    turns: dict[int, list[float]] = {}
    for found in nets:
        for name in found["turns"]:
            if name.startswith("sum "):
                turns.setdefault(int(name.split()[1]), []).extend(_turns(found, name))
    best = {size: min(seconds) for size, seconds in sorted(turns.items())}
    link, error = fit_link("two processes here", best)
    return link, error, best, {size: statistics.median(turns[size]) for size in best}


def measured_job(found: Found, clock: str = "own_") -> Job:
    """What one process with one thread has to do, by its time on the processor, which other programs change least.

    clock: "" for seconds as they passed, in quiet turns.
    """
    parts = sorted(int(name.split()[1]) for name in found["turns"] if name.startswith("part "))
    whole = f"part {found['batch']}"
    lefts = zip(*([left for _, left in turn["ready"]] for turn in found["turns"][whole]), strict=True)
    sizes = [size for size, _ in found["turns"][whole][0]["ready"]]
    ready = tuple(Ready(size, statistics.median(left)) for size, left in zip(sizes, lefts, strict=True))

    def seconds(name: str, what: str) -> float:
        return statistics.median(_turns(found, name, clock + what)) if clock else _quiet(found, name, what)

    passes = Passes({part: seconds(f"part {part}", "passing") for part in parts})
    return Job(f"{found['title']}, a rank a core of this machine", passes, seconds(whole, "rest"), ready)


def _scaling(found: Found) -> str:
    batch, two = found["batch"], f"two {_usual(found)}"
    ways = {  # by title: name, and samples a step, of all processes together
        "one process, one thread": ("one", batch),
        "one process, two threads": ("threads", batch),
        "two ranks, one thread each": (two, batch),
        "two processes that sum nothing, half a batch each": ("apart", batch // 2 * 2),
        "two ranks, twice the batch": ("twice", 2 * batch),
    }
    alone = [batch / seconds for seconds in _turns(found, "one")]
    quiet_alone = batch / _quiet(found, "one")
    own_alone = statistics.median(_turns(found, "one", "own_step"))
    lines = []
    for title, (name, samples) in ways.items():
        rates = [samples / seconds for seconds in _turns(found, name)]
        ratio = statistics.median(rate / other for rate, other in zip(rates, alone, strict=True))
        own = statistics.median(_turns(found, name, "own_step"))
        quiet = samples / _quiet(found, name)
        words = [title, f"{statistics.median(rates):,.0f}", f"{ratio:.2f}", f"{quiet:,.0f}"]
        words += [f"{quiet / quiet_alone:.2f}", f"{max(t['others'] for t in _quietest(found, name)):.0%}"]
        words.append(f"{1e3 * own:.2f}")
        lines.append([*words, "" if name == "threads" else f"{samples / batch * own_alone / own:.2f}"])
    header = ["", "images/s, median", "ratio", "quiet turns", "ratio", "others at most", "processor ms, each", "ratio"]
    return f"### {found['title']}, training in batches of {batch}\n\n{markdown(header, lines)}"


def _communication(found: Found) -> str:
    lines = []
    for bucket in found["buckets"]:
        name = f"two {bucket}"
        turns = found["turns"][name]
        share = statistics.median(turn["waiting"] / turn["step"] for turn in turns)
        waited, least = statistics.median(_turns(found, name, "waiting")), _quiet(found, name, "waiting")
        lines.append(
            [
                bucket_words(bucket),
                str(turns[0]["calls"]),
                f"{turns[0]['bytes'] / 1e3:,.0f}",
                f"{1e3 * waited:.2f}",
                f"{1e3 * least:.2f}",
                f"{100 * share:.1f} %",
                f"{100 * least / _quiet(found, name):.1f} %",
                f"{found['batch'] / statistics.median(_turns(found, name)):,.0f}",
            ]
        )
    header = [
        "buckets of",
        "sums a step",
        "kB a step",
        "ms waited, median",
        "quiet turns",
        "share, median",
        "quiet turns",
        "images/s",
    ]
    return f"#### Two ranks: waiting for each other's gradients\n\n{markdown(header, lines)}"


def _sums(nets: Sequence[Found]) -> str:
    link, error, best, medians = measured_link(nets)
    lines = []
    for size, seconds in best.items():
        times = (seconds, medians[size], link.latency + size / link.bandwidth)
        lines.append([f"{size:,}", *(f"{1e6 * t:,.1f}" for t in times)])
    return (
        "### Sums over two processes here\n\n"
        f"{markdown(['bytes', 'us, best turn', 'median', 'fitted'], lines)}\n\n"
        f"Fitted: {1e6 * link.latency:.1f} us and {link.bandwidth / 1e9:.2f} GB/s; the largest error is {error:.0%}."
    )


def _cases(found: Found) -> list[tuple[str, str, int, int, int]]:
    """What the model is held against: title, name, ranks, samples of the whole batch, bytes of a bucket."""
    batch = found["batch"]
    return [
        ("one rank", "one", 1, batch, USUAL),
        *((f"two ranks, buckets of {bucket_words(b)}", f"two {b}", 2, batch, b) for b in found["buckets"]),
        ("two ranks, twice the batch", "twice", 2, 2 * batch, _usual(found)),
    ]


def _judged(seconds: float, real: float) -> list[str]:
    off = seconds / real - 1
    return [f"{1e3 * seconds:.2f}", f"{100 * off:+.1f} %", "yes" if abs(off) <= TOLERANCE else "no"]


def _checks(found: Found, link: Link) -> str:
    """The model against what was measured, and whether they agree within TOLERANCE."""
    job, own, half = measured_job(found, ""), measured_job(found), found["batch"] // 2
    hindered = _quiet(found, "apart") / (job.passes(half) + job.update)
    by_clock, by_work = [], []
    for title, name, ranks, samples, bucket in _cases(found):
        real, done = _quiet(found, name), step(job, ranks, samples, link, bucket, beside=False)
        slowed = done.calculating * (hindered if ranks > 1 else 1.0) + done.waiting
        by_clock.append([title, f"{1e3 * real:.2f}", *_judged(done.seconds, real), *_judged(slowed, real)])
        real, done = statistics.median(_turns(found, name, "own_step")), step(own, ranks, samples, link, bucket, False)
        by_work.append([title, f"{1e3 * real:.2f}", *_judged(done.seconds, real)])
    within = f"within {TOLERANCE:.0%}"
    header = ["measured", "model", "off", within]
    return (
        f"#### The model against {found['title']}\n\n"
        f"{markdown(['ms a step, quiet turns', *header, 'model, hindered', 'off', within], by_clock)}\n\n"
        f"Hindered: two processes that sum nothing take {hindered:.3f} times as long as one beside an idle core.\n\n"
        f"{markdown(['ms of the processor a step and rank, medians', *header], by_work)}"
    )


def report(nets: Sequence[Found]) -> str:
    """Tables of what was measured, in Markdown."""
    link, *_ = measured_link(nets)
    parts = [part for found in nets for part in (_scaling(found), _communication(found))]
    return "\n\n".join([*parts, _sums(nets), *(_checks(found, link) for found in nets)]) + "\n"
