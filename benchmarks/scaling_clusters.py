"""What the model of cluster.py says of larger clusters: tables, what to choose, and a figure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cluster import LINKS, Job, Link, Passes, best_bucket, efficiency, ready_by_work, smallest_part
from gpu_nets import NETS as GPU_NETS
from gpu_nets import ours as gpu_net
from report import markdown
from roofline import CARDS, count_step, least_seconds
from scaling_report import USUAL, Found, bucket_words, measured_job

from xpcnn.plots.style import BLUE, GREY, ORANGE, new_figure, save_figure

__all__ = ["clusters", "given_job", "plot"]

RANKS = (2, 8, 32, 128, 1024)
CHOSEN = (16, 1024)  # ranks for which a bucket and a batch are chosen
WANTED = 0.8  # efficiency
STRONG = 1024  # samples of the whole batch, however many ranks
GPU_BATCH = 128
HOSTS = LINKS[:3]  # between processes on hosts' cores
CARDS_LINKS = tuple(replace(link, adding=1e12) for link in LINKS[1:])  # between GPUs, which add up themselves
_SIZES = tuple(1 << k for k in range(14, 31))  # buckets that are tried
_COLOURS = dict(zip((link.name for link in LINKS), (ORANGE, "#E69F00", BLUE, "#009E73"), strict=True))


def given_job() -> Job:
    """ResNet-18 on a GPU a rank, by the time that roofline.py allows it, the update included."""
    (title, card), *_ = CARDS.items()
    net = gpu_net("resnet18", "cpu")
    seconds = {part: max(least_seconds(count_step(net, part), card).values()) for part in (1, 4, 16, 64, GPU_BATCH)}
    return Job(f"{GPU_NETS['resnet18'].title}, a rank a GPU ({title})", Passes(seconds), 0.0, tuple(ready_by_work(net)))


def _tables(job: Job, reference: int, links: Sequence[Link]) -> str:
    """Efficiency by link and ranks, and what to choose."""
    weak, strong, choice = [], [], []
    for link in links:
        for lines, of in ((weak, lambda ranks: reference * ranks), (strong, lambda _: STRONG)):
            cells = [
                " / ".join(
                    f"{efficiency(job, ranks, of(ranks), link, USUAL, beside, reference):.2f}"
                    for beside in (True, False)
                )
                for ranks in RANKS
            ]
            lines.append([link.name, *cells])
        for ranks in CHOSEN:
            size = best_bucket(job, ranks, reference * ranks, link, _SIZES, True)
            reached = [efficiency(job, ranks, reference * ranks, link, b, True, reference) for b in (size, USUAL)]
            parts = [smallest_part(job, ranks, link, size, beside, WANTED, reference) for beside in (True, False)]
            choice.append(
                [f"{link.name}, {ranks:,} ranks", bucket_words(size), *(f"{share:.2f}" for share in reached)]
                + ["none" if part is None else f"{part:,}" for part in parts]
            )
    ranks = [f"{n:,} ranks" for n in RANKS]
    header = ["", "best bucket", "efficiency", f"with {bucket_words(USUAL)}", "samples a rank", "sums after the pass"]
    return (
        f"### {job.name}\n\n{job.bytes / 1e6:.2f} MB of gradients, "
        f"{1e3 * (job.passes(reference) + job.update):.1f} ms a step of {reference}.\n\n"
        f"Efficiency with {reference} samples a rank, sums beside the pass / after it, in buckets of "
        f"{bucket_words(USUAL)}:\n\n"
        f"{markdown(['', *ranks], weak)}\n\n"
        f"The same with {STRONG:,} samples in all:\n\n{markdown(['', *ranks], strong)}\n\n"
        f"The best bucket for {reference} samples a rank, and with it the fewest samples a rank for {WANTED}:\n\n"
        f"{markdown(header, choice)}"
    )


def clusters(nets: Sequence[Found]) -> str:
    """Tables of the measured networks and of one whose times are given, in Markdown."""
    parts = [_tables(measured_job(found), found["batch"], HOSTS) for found in nets]
    return "\n\n".join([*parts, _tables(given_job(), GPU_BATCH, CARDS_LINKS)]) + "\n"


def plot(nets: Sequence[Found], path: Path) -> None:
    """Efficiency to 1,024 ranks of the first net that was measured, and of the one whose times are given."""
    ranks = [2**k for k in range(11)]
    figure = new_figure(11, 8)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    jobs = ((measured_job(nets[0]), nets[0]["batch"], HOSTS), (given_job(), GPU_BATCH, CARDS_LINKS))
    for row, (job, reference, links) in zip(panels, jobs, strict=True):
        ways = ((f"{reference} samples a rank", reference, 1), (f"{STRONG:,} samples in all", STRONG, 0))
        for axes, (title, batch, grows) in zip(row, ways, strict=True):
            for link in links:
                for beside, dash in ((True, "-"), (False, ":")):
                    values = [
                        efficiency(job, p, batch * (p if grows else 1), link, USUAL, beside, reference) for p in ranks
                    ]
                    axes.plot(ranks, values, dash, color=_COLOURS[link.name], linewidth=1.8)
            axes.set_title(f"{job.name}\n{title}", fontsize=10)
            axes.grid(True, color="#E4E4E4", linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("efficiency")
    turns = nets[0]["turns"]
    one, twice = (statistics.median(turn["own_step"] for turn in turns[name]) for name in ("one", "twice"))
    label = "measured here, one host, by processor time"
    panels[0][0].plot([1, 2], [1.0, one / twice], "o", color="black", markersize=6, label=label)
    for axes in panels[1]:
        axes.set_xlabel("ranks")
    first = panels[0][0]
    first.set_xscale("log", base=2)
    first.set_xticks(ranks[::2], [f"{p:,}" for p in ranks[::2]])
    first.set_ylim(0.0, 1.1)
    for name, colour in _COLOURS.items():
        first.plot([], [], "-", color=colour, label=name)
    first.plot([], [], "-", color=GREY, label="sums beside the pass")
    first.plot([], [], ":", color=GREY, label="sums after it")
    first.legend(frameon=False, fontsize=9, loc="lower left")
    save_figure(figure, path)
