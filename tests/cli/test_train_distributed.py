"""`xpcnn train --distributed` under mpiexec: whole runs, runs that break, and what goes on from them."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.communication.processes import mpiexec, needs_mpi
from tests.faults.runs import check_whole, command, environment, make_data
from xpcnn.formats.safetensors import load_safetensors
from xpcnn.training.checkpoint import read_checkpoint

needs_mpi()
pytestmark = pytest.mark.mpi

# 23 does not divide 120: batches of 23, 23, 23, 23, 23 and 5. Four epochs of 6 steps.
RUN = "train --dataset tiny.npz --batch-size 23 --epochs 4 --threads 1 --optimizer momentum --lr 0.01 --seed 3"
RUN += " --augment shift=1,flip --patience 9 --save-every 2"
OURS = ["best.ckpt", "config.toml", "curves.png", "last.1.ckpt", "last.ckpt", "metrics.csv", "metrics.jsonl"]

# float32: sums over ranks are rounded in another order, in each of 24 steps; measured are 1e-7 of the largest.
CLOSE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_data(folder)
    return folder


@pytest.fixture(scope="module")
def single(folder):
    """The run of one process, which nothing interrupted."""
    run = subprocess.run(command(*RUN.split(), "--out", "single"), cwd=folder, env=environment(), capture_output=True)
    assert run.returncode == 0, run.stderr
    return folder / "single"


def start(folder, size, words, out, **more):
    arguments = ["-m", "xpcnn", *words.split(), "--distributed", *out]
    return mpiexec(size, *arguments, folder=folder, **more)


def broken(folder, size, end, out, flags=("-disable-auto-cleanup",)):
    """A new run one of whose ranks ends as told; mpiexec leaves it to us to end the others."""
    shutil.rmtree(folder / out, ignore_errors=True)
    script = Path(__file__).with_name("dying_rank.py")
    arguments = [script, *end.split(), *RUN.split(), "--distributed", "--out", out]
    return mpiexec(size, *arguments, folder=folder, flags=flags)


def check_close(run, other):
    a, b = (load_safetensors(folder / "model.safetensors")[0] for folder in (run, other))
    assert a.keys() == b.keys()
    for name, value in a.items():
        gap = np.abs(value - b[name]).max() / np.abs(value).max()
        assert gap < CLOSE, f"{name} differs by {gap}"
    rows, others = ([json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (run, other))
    assert len(rows) == len(others) == 4
    for row, theirs in zip(rows, others, strict=True):
        assert row.keys() == theirs.keys()
        for name in row.keys() - {"seconds", "images_per_second"}:
            assert row[name] == pytest.approx(theirs[name], rel=CLOSE), name


def test_three_ranks_make_one_run_of_one_voice(folder, single):
    run = start(folder, 3, RUN, ["--out", "three"])
    assert run.returncode == 0, run.stderr
    check_close(single, folder / "three")
    lines = run.stdout.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 4
    assert "3 processes, each with its part of every batch of 23" in lines
    assert sorted(p.name for p in (folder / "three").iterdir()) == sorted([*OURS, "model.safetensors"])
    assert read_checkpoint(folder / "three" / "last.ckpt")[1]["versions"]["ranks"] == "3"


@pytest.mark.parametrize(
    ("out", "size", "end", "text", "then"),
    [
        ("killed", 3, "2 15 kill", "xpcnn: rank 2 has died; all end here", 2),
        ("first", 2, "0 15 kill", "xpcnn: rank 0 has died; all end here", 3),
        ("raised", 2, "1 15 raise", "xpcnn: rank 1 failed: something nobody foresaw; all end here", 1),
    ],
)
def test_a_rank_that_ends_ends_all_and_others_go_on(folder, single, out, size, end, text, then):
    run = broken(folder, size, end, out)
    assert run.returncode != 0
    assert text in run.stderr.splitlines()
    gone = next(line for line in run.stderr.splitlines() if line.startswith("gone at "))
    assert time.time() - float(gone.split()[-1]) < 10.0
    check_whole(folder / out)
    kept = read_checkpoint(folder / out / "last.ckpt")[1]["step_count"]
    assert kept in (12, 14)  # rank 0 may have died while it wrote
    words = f"train --resume {out}"
    if then == 1:
        run = subprocess.run(command(*words.split()), cwd=folder, env=environment(), capture_output=True, text=True)
    else:
        run = start(folder, then, words, [])
    assert run.returncode == 0, run.stderr
    assert f"ranks {size} (now {then if then > 1 else 'none'})" in run.stderr
    check_close(single, folder / out)


def test_a_rank_that_dies_before_training(folder):
    run = broken(folder, 2, "1 start kill", "early")
    assert run.returncode != 0
    assert "xpcnn: rank 1 has died; all end here" in run.stderr.splitlines()
    assert not (folder / "early").exists()


def test_mpiexec_ends_the_others_as_well(folder):
    run = broken(folder, 2, "1 13 kill", "usual", flags=())
    gone = next(line for line in run.stderr.splitlines() if line.startswith("gone at "))
    assert time.time() - float(gone.split()[-1]) < 10.0
    assert run.returncode != 0
    check_whole(folder / "usual")


def test_a_signal_to_one_rank_stops_all_after_the_same_step(folder, single):
    run = broken(folder, 2, "1 9 interrupt", "signal")
    assert run.returncode == 130
    assert "xpcnn: interrupted; go on with: xpcnn train --resume signal" in run.stderr.splitlines()
    assert read_checkpoint(folder / "signal" / "last.ckpt")[1]["step_count"] == 10
    run = start(folder, 2, "train --resume signal", [])
    assert run.returncode == 0, run.stderr
    check_close(single, folder / "signal")


def test_ranks_that_differ_do_not_start(folder):
    arguments = ["-m", "xpcnn", *RUN.split(), "--distributed", "--out", "differs"]
    run = mpiexec(2, *arguments, folder=folder, others=(*arguments, "--lr", "0.02"))
    assert "differs from rank 0 on " in run.stderr
    assert "in its configuration: [train] lr is 0.02 there and 0.01 on rank 0" in run.stderr
    assert run.stderr.count("xpcnn: ") == 1
    assert run.returncode != 0

    with np.load(folder / "tiny.npz") as found:
        arrays = dict(found)
    arrays["x_train"][7, 0, 0] ^= 1
    (folder / "other").mkdir()
    np.savez(folder / "other" / "tiny.npz", **arrays)
    others = ["-c", "import os, sys; os.chdir('other'); from xpcnn.cli.main import main; main()", *arguments[2:]]
    run = mpiexec(2, *arguments, folder=folder, others=tuple(others))
    assert run.returncode != 0
    assert "rank 1 on " in run.stderr
    assert run.stderr.count("xpcnn: ") == 1
    assert not (folder / "differs").exists()


def test_a_mistake_is_told_once(folder):
    run = start(folder, 2, RUN + " --model nonesuch", ["--out", "mistake"])
    assert run.stderr.count("nonesuch") == 1
    assert run.returncode == 2
    assert not (folder / "mistake").exists()
