import csv
import json

import numpy as np
import pytest

from xpcnn import Sequential, Trainer
from xpcnn.errors import TrainingError
from xpcnn.layers import affine
from xpcnn.training.callbacks import Callback, MetricsFiles


def make(folder, epochs=3, test=True, callbacks=()):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2
    return Trainer(
        Sequential([affine(2)], (3,), seed=0),
        x,
        t,
        *((x[:5], t[:5]) if test else ()),
        epochs=epochs,
        mini_batch_size=5,
        schedule="cosine",
        verbose=False,
        callbacks=[MetricsFiles(folder), *callbacks],
    )


def test_csv_to_the_letter(tmp_path):
    trainer = make(tmp_path)
    trainer.train()
    want = "epoch,step,lr,train_loss,train_acc,test_loss,test_acc\n"
    for row in trainer.history.rows:
        # repr gives the shortest digits that read back as the same number.
        want += ",".join(repr(row[c]) for c in want.splitlines()[0].split(",")) + "\n"
    assert (tmp_path / "metrics.csv").read_bytes() == want.encode()
    assert want.count("\n") == 4
    with open(tmp_path / "metrics.csv", newline="") as file:
        for line, row in zip(csv.DictReader(file), trainer.history.rows, strict=True):
            assert {k: float(v) for k, v in line.items()} == {k: float(row[k]) for k in line}


def test_jsonl_holds_the_whole_rows(tmp_path):
    trainer = make(tmp_path)
    trainer.train()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == trainer.history.rows
    assert lines[0].startswith('{"epoch": 1, ')
    assert {"seconds", "images_per_second"} <= json.loads(lines[0]).keys()


def test_without_test_data_the_columns_stay_and_are_empty(tmp_path):
    trainer = make(tmp_path, epochs=1, test=False)
    trainer.train()
    head, line = (tmp_path / "metrics.csv").read_text().splitlines()
    assert head == "epoch,step,lr,train_loss,train_acc,test_loss,test_acc"
    assert line == ",".join([*(repr(trainer.history[0][c]) for c in head.split(",")[:5]), "", ""])


def test_written_after_every_epoch(tmp_path):
    counts = []

    class Count(Callback):
        def on_epoch_end(self, trainer):
            names = ("metrics.csv", "metrics.jsonl")
            counts.append([len((tmp_path / name).read_text().splitlines()) for name in names])
            assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)  # nothing half-written

    make(tmp_path, callbacks=[Count()]).train()
    assert counts == [[2, 1], [3, 2], [4, 3]]


class Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step_count == self.step:
            trainer.stop_reason = "enough"


@pytest.mark.parametrize("step", [3, 4, 6, 7])
def test_after_a_resume_the_file_is_that_of_an_uninterrupted_run(tmp_path, step):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    make(tmp_path / "whole").train()
    first = make(tmp_path / "cut", callbacks=[Stop(step)])
    first.train()
    state = first.state()
    first.train()  # as if the run had gone further than its last checkpoint: those lines are to be made anew
    second = make(tmp_path / "cut")
    second.load_state(*state)
    second.train()
    assert (tmp_path / "cut/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("cut", "whole")]
    for cut, whole in zip(*lines, strict=True):
        assert json.loads(cut)["test_loss"] == json.loads(whole)["test_loss"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(TrainingError, match="does not exist"):
        make(tmp_path / "missing").train()


@pytest.mark.parametrize("names", [("metrics.csv",), ("metrics.jsonl",), ("metrics.csv", "metrics.jsonl")])
def test_rows_beyond_the_checkpoint_are_dropped_before_the_first_step(tmp_path, names):
    """Also half a line, as a program that appends might have left; and where the checkpoint has no epoch yet."""
    first = make(tmp_path, epochs=2)
    first.train()
    state = first.state()
    want = {name: (tmp_path / name).read_bytes() for name in ("metrics.csv", "metrics.jsonl")}
    for held, trainer in ((2, make(tmp_path)), (0, make(tmp_path))):
        for name in names:
            with open(tmp_path / name, "ab") as file:
                file.write(b'3,9,0.1,"half')
        if held:
            trainer.load_state(*state)
        trainer.callbacks.append(Look(tmp_path))
        trainer.train()
        seen = trainer.callbacks[-1].seen
        if held:
            assert seen == want
        else:
            assert seen["metrics.csv"] == want["metrics.csv"].splitlines(keepends=True)[0]
            assert seen["metrics.jsonl"] == b""


class Look(Callback):
    """The files as they are when the first step begins."""

    def __init__(self, folder):
        self.folder, self.seen = folder, None

    def on_pass_end(self, trainer, x, t, loss):
        if self.seen is None:
            self.seen = {path.name: path.read_bytes() for path in self.folder.iterdir()}


def test_a_new_run_has_no_files_before_its_first_epoch(tmp_path):
    look = Look(tmp_path)
    make(tmp_path, epochs=1, callbacks=[look]).train()
    assert look.seen == {}
