"""The driver with real worker processes, on the smallest workload, and the figures made of what they say."""

from __future__ import annotations

import io
import json
import sys

import cold_start
import guard
import harness
import peers
import pytest
import report
import worker
from harness import Result, Worker, WorkerError, compare
from workloads import NETS, Workload

WORKLOAD = Workload("inference", NETS["simple"], 2)


def test_a_worker_answers():
    one = Worker("ours-numpy", WORKLOAD, 1)
    try:
        assert one.versions.keys() == {"xpcnn", "numpy"}  # no llvmlite: its environment says so
        times = one.run(4)
        assert len(times) == 4
        assert all(0.0 < t < 60.0 for t in times)
        assert 10e6 < one.peak_bytes() < 1e9
        assert one.start_seconds > 0.0
    finally:
        one.close()
    assert one._process.returncode == 0


def test_compare_takes_turns_and_leaves_out_what_is_not_there(monkeypatch):
    absent = peers.Peer("absent", "A library", "absent_module")
    monkeypatch.setitem(peers.PEERS, "absent", absent)
    told = []
    real = harness.Worker

    def start(peer, *rest):
        if peer == "absent":
            raise WorkerError("absent_module is not installed")
        return real(peer, *rest)

    monkeypatch.setattr(harness, "Worker", start)
    results = compare(
        WORKLOAD, ["ours-numpy", "absent", "sgemm"], 1, seconds=0.02, rounds=2, starts=1, tell=told.append
    )
    assert told == ["A library is left out: absent_module is not installed"]
    assert [result.peer for result in results] == ["ours-numpy", "sgemm"]
    for result in results:
        assert len(result.turns) == 2
        assert result.minimum <= result.best_turn
        assert result.peak_bytes > 0


def test_a_library_without_the_task_is_not_started():
    assert compare(Workload("train", NETS["simple"], 2), ["onnxruntime"], 1) == []


def test_a_worker_that_dies_says_so():
    with pytest.raises(WorkerError, match="its process ended with code 1"):
        Worker("ours-numpy", Workload("no such task", NETS["simple"], 2), 1)


def test_compiled_kernels_that_are_not_there(monkeypatch):
    monkeypatch.setitem(
        harness.PEERS, "ours", peers.Peer("ours", "", "ours", {"compiled": True}, {"XPCNN_COMPILED": "0"})
    )
    with pytest.raises(WorkerError, match="no compiled kernels: switched off"):
        Worker("ours", WORKLOAD, 1)


def test_serve_times_calls():
    calls, answers = [], []
    worker.serve(lambda: calls.append(1), io.StringIO("run 3\nmemory\n"), answers.append)
    assert len(calls) == 4  # the first is not timed
    assert len(answers[0]["seconds"]) == 3
    assert answers[1]["peak_bytes"] > 10e6
    with pytest.raises(ValueError, match="dance"):
        worker.serve(len, io.StringIO("dance\n"), answers.append)


def test_every_blas_is_told_the_threads(monkeypatch):
    monkeypatch.setenv("XPCNN_COMPILED", "0")
    ours = harness.environment("ours", 3)
    assert ours["OPENBLAS_NUM_THREADS"] == ours["OMP_NUM_THREADS"] == "3"
    assert "XPCNN_COMPILED" not in ours  # else nothing compiled would be measured
    assert harness.environment("ours-numpy", 3)["XPCNN_COMPILED"] == "0"


RESULTS = [
    Result("ours", [[0.004, 0.006], [0.005]], 80_000_000),
    Result("torch", [[0.010, 0.010], [0.010]], 300_000_000),
    Result("torch-cl", [[0.008], [0.012, 0.012]], 310_000_000),
]


def test_ratios_are_to_pytorchs_better_format_and_to_its_fastest_turn():
    ours, torch, last = report.rows(WORKLOAD, RESULTS, rate=1e9)
    assert ours["median_ms"] == pytest.approx(5.0)
    assert ours["min_ms"] == pytest.approx(4.0)
    assert ours["ratio"] == pytest.approx(0.5)  # 5 / 10: the contiguous one has the better median
    assert ours["ratio_to_fastest"] == pytest.approx(0.625)  # 5 / 8: the other had one faster turn
    assert (torch["ratio"], last["ratio"]) == (pytest.approx(1.0), pytest.approx(1.2))
    assert ours["gflops"] == pytest.approx(WORKLOAD.flops * 1e-9 / 0.005)
    assert ours["times_floor"] == pytest.approx(0.005 / (WORKLOAD.flops / 1e9))
    assert (ours["peak_mb"], ours["iterations"]) == (80.0, 3)


def test_without_pytorch_there_are_no_ratios():
    (row,) = report.rows(WORKLOAD, RESULTS[:1], rate=None)
    assert row["ratio"] is row["ratio_to_fastest"] is row["times_floor"] is None
    shown = report.table(WORKLOAD, [row], None)
    assert "floor " not in shown.splitlines()[1]
    assert "| xpcnn, extra fast |" in shown


def test_the_table_is_markdown_in_line():
    lines = report.markdown(["", "ms"], [["a library", "1.5"], ["b", "10.25"]]).splitlines()
    assert lines == ["|           |    ms |", "|-----------|------:|", "| a library |   1.5 |", "| b         | 10.25 |"]


def test_libraries_by_name():
    assert "sgemm" not in report.chosen_libraries(None)
    assert report.chosen_libraries("torch,ours") == ["torch", "ours"]
    with pytest.raises(SystemExit, match="no library is called tensorflow; there are ours"):
        report.chosen_libraries("tensorflow")


def test_a_whole_script(monkeypatch, capsys, tmp_path):
    import cpu_inference

    words = ["--models", "simple", "--batch", "2", "--libraries", "ours-numpy,book", "--threads", "1"]
    words += ["--seconds", "0.02", "--rounds", "2", "--json"]
    monkeypatch.setattr(sys, "argv", ["cpu_inference.py", *words, str(tmp_path / "out.json")])
    cpu_inference.main()
    shown = capsys.readouterr().out
    assert shown.startswith("### SimpleConvNet, inference, batch 2\n0.003 GFLOP; floor ")
    assert "| xpcnn, NumPy alone |" in shown
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["threads"] == 1
    assert written["versions"].keys() == {"numpy", "xpcnn"}
    (workload,) = written["workloads"]
    assert [row["library"] for row in workload["rows"]] == ["ours-numpy", "book"]


@pytest.mark.parametrize(
    ("deep", "word", "well"), [(12.5, "reached", True), (6.0, "missed", True), (5.9, "COLLAPSED", False)]
)
def test_the_guard_fails_below_half_a_goal_only(deep, word, well):
    lines, all_well = guard.verdict({"simple": {"ours": 14.0}, "deep": {"ours-numpy": 30.0, "ours": deep}})
    assert all_well is well
    assert lines[0] == "SimpleConvNet, xpcnn, extra fast: 14.0 times the book's style; goal 14 reached"
    assert lines[2] == f"DeepConvNet, xpcnn, extra fast: {deep} times the book's style; goal 12 {word}"


def test_the_guard_fails_where_nothing_was_measured():
    lines, well = guard.verdict({"simple": {"ours": 20.0}})
    assert not well
    assert lines[-1] == "DeepConvNet: nothing was measured"


def test_cold_start_summary():
    runs = {
        "ours": [{"seconds": s, "accuracy": 0.98, "peak_bytes": 9e7} for s in (4.0, 5.0, 3.0)],
        "torch": [{"seconds": s, "accuracy": 0.97, "peak_bytes": 5e8} for s in (10.0, 8.0, 12.0)],
        "torch-cl": [{"seconds": s, "accuracy": 0.97, "peak_bytes": 5e8} for s in (11.0, 7.0, 16.0)],
    }
    ours, *_ = cold_start.summary(runs)
    assert (ours["median_s"], ours["min_s"]) == (4.0, 3.0)
    assert ours["ratio"] == pytest.approx(0.4)
    assert ours["ratio_to_fastest"] == pytest.approx(4.0 / 7.0)
    assert ours["peak_mb"] == 90.0


def test_cold_start_without_mnist(monkeypatch):
    monkeypatch.setattr("xpcnn.data.find_datasets", lambda folder: [])
    with pytest.raises(SystemExit, match="--data-dir"):
        cold_start.mnist_folder(None)
