"""The scaling benchmark: its worker, tables of what the model itself has "measured", and a very short real run."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import scaling
import scaling_report
import scaling_worker
from cluster import Job, Link, Passes, Ready, step
from scaling_clusters import clusters, plot
from workloads import NETS

from xpcnn.communication import Alone
from xpcnn.executors import exchange

HERE = Link("here", 5e-6, 2e9)
JOB = Job("made up", Passes({1: 1e-3, 100: 50e-3, 200: 100e-3}), 1e-3, (Ready(2e5, 0.6), Ready(3e5, 0.0)))


def found() -> dict[str, Any]:
    """What scaling.measure gives where everything takes as long as the model says, in two turns alike."""
    turns: dict[str, list[dict[str, Any]]] = {}

    def say(name: str, seconds: float, **more: Any) -> None:
        times = {"step": seconds, "others": 0.25, **more}
        turns[name] = [{**times, **{f"own_{key}": value for key, value in times.items()}}] * 2

    alone, half = (JOB.passes(samples) + JOB.update for samples in (100, 50))
    say("one", alone)
    say("threads", 0.6 * alone)
    say("apart", half)
    for name, batch, bucket in (*((f"two {b}", 100, b) for b in scaling.BUCKETS), ("twice", 200, 1 << 20)):
        done = step(JOB, 2, batch, HERE, bucket, beside=False)
        say(name, done.seconds, waiting=done.waiting, calls=1, bytes=JOB.bytes)
    for part in scaling.PARTS:
        ready = [[layer.bytes, layer.left] for layer in JOB.ready]
        say(f"part {part}", 0.0, passing=JOB.passes(part), rest=JOB.update, ready=ready)
    for size in scaling.SIZES:
        say(f"sum {size}", HERE.latency + size / HERE.bandwidth)
    made = {"net": "deep", "title": "DeepConvNet", "batch": 100, "buckets": list(scaling.BUCKETS), "turns": turns}
    return json.loads(json.dumps(made))


def test_the_job_and_the_link_are_found_again() -> None:
    job = scaling_report.measured_job(found())
    assert (job.update, job.ready) == (JOB.update, JOB.ready)
    assert [job.passes(n) for n in (1, 50, 100)] == pytest.approx([JOB.passes(n) for n in (1, 50, 100)])
    link, error, best, medians = scaling_report.measured_link([found()])
    assert (link.latency, link.bandwidth) == (pytest.approx(5e-6), pytest.approx(2e9))
    assert error < 1e-6
    assert best == medians
    assert list(best) == list(scaling.SIZES)


def test_the_report_says_whether_the_model_agrees() -> None:
    text = scaling_report.report([found()])
    assert "| two ranks, one thread each " in text
    check = text[text.index("#### The model against DeepConvNet") :]
    assert check.count(" yes |") == 3 * (2 + len(scaling.BUCKETS))
    off = found()
    off["turns"]["one"] = [{**turn, "step": 1.12 * turn["step"]} for turn in off["turns"]["one"]]
    line, own = [line for line in scaling_report.report([off]).splitlines() if line.startswith("| one rank ")]
    assert own.count(" yes |") == 1  # other programs have kept it waiting
    assert line.count(" no |") == 2
    assert line.count("-10.7 %") == 2


def test_larger_clusters_are_told_of() -> None:
    text = clusters([found()])
    measured, given = text.split("### ")[1:]
    assert measured.startswith(
        "DeepConvNet, a rank a core of this machine\n\n0.50 MB of gradients, 51.0 ms a step of 100"
    )
    assert given.startswith("ResNet-18, 32x32, a rank a GPU (H100, assumed)\n\n44.70 MB of gradients")
    assert measured.count("| 1 GbE") == 4
    assert "NVLink" not in measured
    assert given.count("| NVLink-like") == 4


def test_ratios_are_of_turns_of_the_same_round_and_of_quiet_turns() -> None:
    restless, two = found(), f"two {1 << 20}"
    for name, factors in (("one", (3.0, 1.0, 5.0, 5.0)), (two, (3.0, 5.0, 5.0, 1.0))):  # other programs worked then
        turn = restless["turns"][name][0]
        restless["turns"][name] = [{**turn, "step": f * turn["step"], "others": 0.1 * f} for f in factors]
    for name in ("threads", "apart", "twice"):
        restless["turns"][name] *= 2
    (line,) = [line for line in scaling_report.report([restless]).splitlines() if line.startswith("| two ranks, one")]
    _, median, by_rounds, quiet, by_quiet, others, _, by_own = (word.strip() for word in line.split("|")[1:-1])
    alone, seconds = JOB.passes(100) + JOB.update, step(JOB, 2, 100, HERE, 1 << 20, beside=False).seconds
    assert quiet == f"{100 / seconds:,.0f}" != median
    assert by_quiet == by_own == f"{alone / seconds:.2f}"
    assert by_rounds == f"{alone / seconds:.2f}"  # of 1, 1/5, 1 and 5
    assert others == "10%"


def test_the_figure(tmp_path: Path) -> None:
    plot([found()], tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_tables_anew_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    about = {"date": "today", "processor": "P", "cores": 2, "threads": 2, "load": 0.5, "system": "S", "python": "3"}
    (tmp_path / "then.json").write_text(json.dumps({**about, "versions": {"mpich": "5"}, "nets": [found()]}))
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--from", str(tmp_path / "then.json")])
    scaling.main()
    out = capsys.readouterr().out
    assert out.startswith(scaling_report.report([found()]))
    assert clusters([found()]) in out
    assert "mpich 5" in out


def test_a_worker_alone() -> None:
    usual = exchange.BUCKET
    worker = scaling_worker.Worker(NETS["simple"], 1, Alone())
    assert scaling_worker.answer(worker, '{"task": "apart", "count": 2, "batch": 4}')["step"] > 0.0
    for bucket, calls in ((1 << 16, 2), (1 << 30, 1)):
        done = scaling_worker.answer(worker, json.dumps({"task": "train", "count": 2, "batch": 4, "bucket": bucket}))
        assert (done["calls"], done["bytes"]) == (calls, 4 * (433_890 + 3))  # parameters, and three figures
        assert done["step"] >= done["passing"] > 0.0
        assert done["own_step"] >= done["own_passing"] > 0.0
        sizes, lefts = zip(*done["ready"], strict=True)
        assert sizes == (4 * 1010, 4 * 432_100, 4 * 780)
        assert 1.0 > lefts[0] >= lefts[1] > lefts[2] >= 0.0
    assert usual == exchange.BUCKET
    assert scaling_worker.answer(worker, '{"task": "sum", "count": 3, "bytes": 64}')["step"] > 0.0


@pytest.mark.mpi
def test_a_short_run_over_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    monkeypatch.setattr(scaling, "PARTS", (1, 2))
    monkeypatch.setattr(scaling, "SIZES", (16, 1 << 16))
    measured = scaling.measure("simple", 4, 0.001, 1, [mpiexec], buckets=(1 << 16, 1 << 20))
    assert all(len(turns) == 1 and turns[0]["step"] > 0.0 for turns in measured["turns"].values())
    assert all(0.0 <= turns[0]["others"] <= 1.0 for turns in measured["turns"].values())
    assert measured["turns"]["two 65536"][0]["calls"] == 2
    assert "#### The model against SimpleConvNet" in scaling_report.report([measured])
