"""Going on with a run: damaged and missing checkpoints, changed data and configurations, a folder that is taken."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from xpcnn.cli import resume
from xpcnn.cli.lock import run_lock
from xpcnn.formats.safetensors import load_safetensors, save_safetensors
from xpcnn.training import checkpoint
from xpcnn.training.checkpoint import read_checkpoint

TINY = ["--dataset", "tiny.npz", "--batch-size", "25", "--seed", "3", "--augment", "shift=1", "--quiet"]


@pytest.fixture
def train(run, tiny):
    def invoke(*words, code=0):
        result = run("train", *words)
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def whole(train):
    """The run "whole" of three epochs, which nothing has happened to."""
    train(*TINY, "--epochs", 3, "--out", "whole")
    return Path("whole")


def begun(train, epochs=3, *words):
    """r/, saved after epochs 1 and 2 of the three that it is to have."""
    train(*TINY, "--epochs", 2, *words, "--out", "r")
    text = Path("r/config.toml").read_text().replace("epochs = 2", f"epochs = {epochs}")
    Path("r/config.toml").write_text(text)
    Path("r/model.safetensors").unlink()
    return Path("r")


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewrite(path, change):
    """A checkpoint with other values under a checksum that is right."""
    arrays, metadata = load_safetensors(path)
    values = json.loads(metadata["values"])
    change(values)
    text = json.dumps(values)
    save_safetensors(path, arrays, {**metadata, "values": text, "sha256": checkpoint._checksum(arrays, text)})


# -- which checkpoint ------------------------------------------------------------------------------------------------


def test_a_damaged_newest_is_told_and_the_one_before_it_used(train, whole, same_parameters):
    folder = begun(train)
    bad = (damage(folder / "last.ckpt"), (folder / "last.ckpt").read_bytes())[1]
    lines = train("--resume", "r", "-q").stderr.splitlines()
    assert lines == [
        "xpcnn: r/last.ckpt is damaged: its checksum does not fit its contents; use an older checkpoint",
        "xpcnn: going on from r/last.1.ckpt, after step 3",
        "xpcnn: r/last.ckpt is now damaged-last.ckpt",
    ]
    same_parameters("whole/model.safetensors", "r/model.safetensors")
    assert (folder / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert (folder / "damaged-last.ckpt").read_bytes() == bad
    assert [read_checkpoint(folder / name)[1]["epoch"] for name in ("last.ckpt", "last.1.ckpt")] == [3, 2]


def test_two_damaged_ones_then_the_best(train, whole, same_parameters):
    folder = begun(train)
    for name in ("last.ckpt", "last.1.ckpt"):
        damage(folder / name)
    assert "going on from r/best.ckpt, after step " in train("--resume", "r", "-q").stderr
    same_parameters("whole/model.safetensors", "r/model.safetensors")


def test_a_missing_newest(train, whole, same_parameters):
    begun(train)
    Path("r/last.ckpt").unlink()
    assert train("--resume", "r", "-q").stderr == "xpcnn: going on from r/last.1.ckpt, after step 3\n"
    same_parameters("whole/model.safetensors", "r/model.safetensors")


def test_none_that_can_be_read(train, fails):
    folder = begun(train)
    for path in folder.glob("*.ckpt"):
        damage(path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    line = fails(2, "train", "--resume", "r")
    assert line.count("is damaged") == 3
    assert "no checkpoint in r can be read" in line
    assert "without these files --resume begins the run again" in line
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_that_never_came_to_save(train, whole, same_parameters):
    folder = begun(train)
    for path in folder.glob("*.ckpt"):
        path.unlink()
    # metrics.csv and metrics.jsonl are those of two epochs that are to be made again.
    assert train("--resume", "r", "-q").stderr == "xpcnn: r holds no last.ckpt yet; beginning its run again\n"
    same_parameters("whole/model.safetensors", "r/model.safetensors")
    assert (folder / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_without_a_run(fails, made, tmp_path):
    if made:
        Path("nothing").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert "nothing holds no last.ckpt to resume from; start afresh with --out nothing" in fails(
        2, "train", "--resume", "nothing"
    )
    assert sorted(tmp_path.rglob("*")) == before


# -- keeping some ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "epochs"), [(None, [5, 4]), (1, [5]), (3, [5, 4, 3]), (9, [5, 4, 3, 2, 1])])
def test_the_last_are_kept(train, keep, epochs):
    train(*TINY, "--epochs", 5, "--out", "r", *(["--keep", keep] if keep else []))
    names = ["last.ckpt", *(f"last.{number}.ckpt" for number in range(1, len(epochs)))]
    assert {path.name for path in Path("r").glob("last*")} == set(names)
    assert [read_checkpoint(Path("r", name))[1]["epoch"] for name in names] == epochs
    assert tomllib.loads(Path("r/config.toml").read_text())["train"]["keep"] == keep or keep is None


def test_fewer_may_be_kept_from_now_on(train):
    train(*TINY, "--epochs", 4, "--out", "r", "--keep", 4)
    train("--resume", "r", "--keep", 2, "--epochs", 5, "-q")
    assert {path.name for path in Path("r").glob("last*")} == {"last.ckpt", "last.1.ckpt"}


# -- what a run is of ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("what", ["a pixel", "a label", "one less"])
def test_changed_data_is_refused(train, fails, tiny, part, what):
    begun(train)
    before = {path.name: path.read_bytes() for path in Path("r").iterdir()}
    x, t = tiny[f"x_{part}"], tiny[f"t_{part}"]
    if what == "a pixel":
        x[3, 4, 5] ^= 1
    elif what == "a label":
        t[3] = (t[3] + 1) % 3
    else:
        x, t = x[:-1], t[:-1]
    np.savez("tiny.npz", **{**tiny, f"x_{part}": x, f"t_{part}": t})
    line = fails(2, "train", "--resume", "r")
    assert f"the {'training' if part == 'train' else 'test'} data is not what this run began with" in line
    assert "bring the old data back, or start a new run" in line
    assert {path.name: path.read_bytes() for path in Path("r").iterdir()} == before


def test_the_same_data_may_lie_elsewhere(train, whole, same_parameters):
    folder = begun(train)
    Path("moved").mkdir()
    Path("tiny.npz").rename("moved/again.npz")
    text = (folder / "config.toml").read_text().replace(str(Path("tiny.npz").absolute()), "moved/again.npz")
    (folder / "config.toml").write_text(text)
    train("--resume", "r", "-q")
    same_parameters("whole/model.safetensors", "r/model.safetensors")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch_size = 25", "batch_size = 20", "[train] batch_size was 25 and is 20"),
        ('optimizer = "adam"', 'optimizer = "sgd"', '[train] optimizer was "adam" and is "sgd"'),
        ('augment = "shift=1"\n', "", '[data] augment was "shift=1" and is left out'),
        ("seed = 3\n", "seed = 4\n", "seed was 3 and is 4"),
        ("hidden_size = 100", "hidden_size = 99", "[model] hidden_size was 100 and is 99"),
        ("[train]\n", "[train]\nlr = 0.5\n", "[train] lr was left out and is 0.5"),
    ],
)
def test_a_changed_configuration_is_refused(train, fails, old, new, said):
    path = begun(train) / "config.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    line = fails(2, "train", "--resume", "r")
    assert line.startswith("xpcnn: r/config.toml was changed: [")
    assert said in line
    assert "put it back, or start a new run" in line


@pytest.mark.parametrize("content", [None, b"", b"[train", b"\xff\xfe"])
def test_the_configuration_is_in_the_checkpoint_too(train, content, same_parameters):
    folder = begun(train)
    if content is None:
        (folder / "config.toml").unlink()
    else:
        (folder / "config.toml").write_bytes(content)
    if content == b"":  # a configuration of nothing but defaults is another one
        assert "was changed" in train("--resume", "r", code=2).stderr
        return
    result = train("--resume", "r", "--epochs", 3, "-q")
    assert "taking the configuration out of the checkpoint" in result.stderr
    config = tomllib.loads((folder / "config.toml").read_text())
    assert (config["train"]["epochs"], config["data"]["augment"]) == (3, "shift=1")
    assert read_checkpoint(folder / "last.ckpt")[1]["epoch"] == 3


def test_other_versions_are_told(train, monkeypatch):
    begun(train)
    versions = read_checkpoint("r/last.ckpt")[1]["versions"]
    assert versions["NumPy"] == np.__version__
    monkeypatch.setattr(resume, "versions", lambda network: {**versions, "NumPy": "9.9"})
    assert train("--resume", "r", "-q").stderr == (
        f"xpcnn: the run was saved with NumPy {np.__version__} (now 9.9); it may go on to other bits\n"
    )


def test_another_number_of_threads_is_told(train):
    begun(train, 3, "--threads", 1)
    assert train("--resume", "r", "--threads", 2, "-q").stderr == (
        "xpcnn: the run was saved with threads 1 (now 2); it may go on to other bits\n"
    )


def test_a_checkpoint_from_before_all_that(train, whole, same_parameters):
    folder = begun(train)
    for path in folder.glob("*.ckpt"):
        rewrite(path, lambda values: [values.pop(name) for name in ("config", "data", "versions")])
    assert train("--resume", "r", "-q").stderr == ""
    same_parameters("whole/model.safetensors", "r/model.safetensors")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"config": {"train": 5}}, "[train] is not one of the tables"),
        ({"config": {"train": {"rate": 5}}}, "[train] knows epochs"),
        ({"config": 5}, "its config is no table"),
        ({"versions": []}, "its versions is no table"),
        ({"data": {"training": 5}}, "the training data is not what this run began with: it was 5"),
        ({"data": "x"}, "its data is no table"),
    ],
)
def test_tables_made_on_purpose(train, fails, values, said):
    begun(train)
    rewrite(Path("r/last.ckpt"), lambda table: table.update(values))
    assert said in fails(2, "train", "--resume", "r")


# -- a stopped run ---------------------------------------------------------------------------------------------------


def test_a_run_that_stopped_early_does_not_go_on(train):
    words = ["--dataset", "tiny.npz", "--lr", 0, "--patience", 2, "--epochs", 30, "--out", "r"]
    assert "after 3 epochs" in train(*words).stdout
    Path("r/model.safetensors").unlink()  # as if killed before it was written
    result = train("--resume", "r")
    assert "stopped: test_loss has not improved for 2 epochs" in result.stdout
    assert "after 3 epochs" in result.stdout
    assert Path("r/model.safetensors").exists()


# -- one process a folder --------------------------------------------------------------------------------------------


def test_a_folder_that_another_process_has(train, fails, tiny):
    begun(train)
    for folder, words in (("r", ["--resume", "r"]), ("new", [*TINY, "--out", "new"])):
        Path(folder).mkdir(exist_ok=True)
        before = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        with run_lock(Path(folder)):
            line = fails(2, "train", *words)
        assert f"another process is training in {folder}; wait for its end, or train elsewhere (--out)" in line
        assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == before


def test_a_run_locks_its_folder_and_lets_go_of_it(train, fails, monkeypatch):
    seen = []
    own = resume.Checkpoints.on_epoch_end

    def act(self, trainer):
        own(self, trainer)
        seen.append(sorted(path.name for path in Path("r").glob(".*")))

    monkeypatch.setattr(resume.Checkpoints, "on_epoch_end", act)
    train(*TINY, "--epochs", 1, "--out", "r")
    assert seen == [[".lock"]]
    assert not list(Path("r").glob(".*"))


def test_what_the_killed_left_is_removed(train):
    folder = begun(train)
    (folder / ".last.ckpt.new").write_bytes(b"whole, but not renamed")
    for name in ("..last.ckpt.new", ".metrics.csv", ".best.ckpt"):
        (folder / f"{name}.{'0123456789abcdef'}.tmp").write_bytes(b"half")
    (folder / ".lock").write_bytes(b"")
    (folder / ".notes.0123456789abcdef.tmp").write_bytes(b"not ours")
    train("--resume", "r", "-q")
    assert [path.name for path in folder.glob(".*")] == [".notes.0123456789abcdef.tmp"]
