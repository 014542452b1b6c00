import json
import signal
import tomllib
from pathlib import Path

import numpy as np
import pytest

from xpcnn.formats import load_arrays
from xpcnn.formats.safetensors import load_safetensors
from xpcnn.training.callbacks import Callback, Checkpoints, MetricsFiles
from xpcnn.training.checkpoint import read_checkpoint

FILES = ["best.ckpt", "config.toml", "curves.png", "last.ckpt", "metrics.csv", "metrics.jsonl", "model.safetensors"]
LONGER = sorted([*FILES, "last.1.ckpt"])  # of a run that has saved more than once
# 60 samples in batches of 25: three steps an epoch.
TINY = ["--dataset", "tiny.npz", "--batch-size", "25"]


@pytest.fixture
def train(run, tiny):
    """train(word, ...) -> result of `xpcnn train` on tiny.npz, which must end with code 0."""

    def invoke(*words, code=0):
        result = run("train", *TINY, *words)
        assert result.exit_code == code, result.output
        return result

    return invoke


def metrics(folder):
    return Path(folder, "metrics.csv").read_bytes()


# --------------------------------------------------------------------------------------------------- a whole run
def test_a_run_leaves_everything_and_says_where(train):
    result = train("--epochs", 3, "--lr", 0.003, "--out", "r")
    assert sorted(file.name for file in Path("r").iterdir()) == LONGER
    lines = result.stdout.splitlines()
    assert lines[0] == f"tiny: 60 training and 20 test pictures from {Path('tiny.npz').absolute()}"
    assert lines[1].startswith("SimpleConvNet: 13,183 parameters, float32, on ")
    assert [line[:9] for line in lines[2:5]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert lines[5].startswith("everything is in r: ")
    assert all(name in lines[5] for name in FILES if name != "metrics.jsonl")
    assert lines[-1] == "test accuracy 100.00% after 3 epochs"  # the stripes are easy
    assert result.stderr == ""

    csv = metrics("r").decode().splitlines()
    assert csv[0] == "epoch,step,lr,train_loss,train_acc,test_loss,test_acc"
    assert [line.split(",")[:3] for line in csv[1:]] == [["1", "3", "0.003"], ["2", "6", "0.003"], ["3", "9", "0.003"]]
    rows = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    assert [float(line.split(",")[-1]) for line in csv[1:]] == [row["test_acc"] for row in rows]
    assert rows[-1]["test_acc"] == 1.0

    arrays, values = read_checkpoint("r/last.ckpt")
    assert (values["epoch"], values["step_count"], values["history"]) == (3, 9, rows)
    parameters, metadata = load_safetensors("r/model.safetensors")
    assert json.loads(metadata["model"])["model"] == "simple"
    for name, a in parameters.items():
        assert a.dtype == np.float32
        assert a.tobytes() == arrays[f"network/{name}"].tobytes()
    best = read_checkpoint("r/best.ckpt")[1]
    assert best["history"][-1]["test_acc"] == max(row["test_acc"] for row in rows)
    assert Path("r/curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_configuration_is_the_resolved_one(train):
    train("--epochs", 1, "--optimizer", "Momentum", "--schedule", "cosine", "--augment", "shift=1", "--out", "r")
    config = tomllib.loads(Path("r/config.toml").read_text())
    assert config["train"]["optimizer"] == "Momentum"
    assert (config["train"]["epochs"], config["train"]["batch_size"], config["train"]["seed"]) == (1, 25, 0)
    assert config["model"]["input_dim"] == [1, 8, 8]
    assert (config["model"]["output_size"], config["model"]["seed"]) == (3, 0)
    assert config["data"] == {
        "name": str(Path("tiny.npz").absolute()),
        "augment": "shift=1",
        "classes": ["0", "1", "2"],
        "source": str(Path("tiny.npz").absolute()),
    }


def test_quiet_says_only_where_things_are(train):
    lines = train("--epochs", 1, "--out", "r", "--quiet").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["everything", "try:", "test"]
    assert train("--epochs", 1, "--out", "r2", "-q").exit_code == 0


def test_mnist_is_the_usual_data_set(run, tiny_mnist):
    result = run("train", "--data-dir", tiny_mnist, "--epochs", 1, "--batch-size", 10, "--out", "r")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"mnist: 30 training and 10 test pictures from {tiny_mnist}\n")
    assert tomllib.loads(Path("r/config.toml").read_text())["data"]["dir"] == str(tiny_mnist)


def test_a_folder_is_named_where_none_is_given(train):
    train("--epochs", 1, "-q")
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("simple-tiny-20")
    assert sorted(file.name for file in folder.iterdir()) == FILES


def test_a_process_of_its_own(start, tiny):
    process = start("train", *TINY, "--epochs", 1, "--out", "r")
    out, err = process.communicate()
    assert process.returncode == 0
    assert err == ""
    assert out.splitlines()[-1].startswith("test accuracy ")


# -------------------------------------------------------------------------------------------------- same settings
SETTINGS = [
    "--epochs",
    "2",
    "--optimizer",
    "momentum",
    "--lr",
    "0.05",
    "--schedule",
    "cosine",
    "--augment",
    "shift=1,flip",
    "--seed",
    "3",
    "--model",
    "simple",
]


def test_a_runs_own_configuration_makes_it_again(train, run, same_parameters):
    train(*SETTINGS, "--out", "a")
    assert run("train", "--config", "a/config.toml", "--out", "b").exit_code == 0
    same_parameters("a/model.safetensors", "b/model.safetensors")
    assert metrics("a") == metrics("b")
    assert Path("a/config.toml").read_bytes() == Path("b/config.toml").read_bytes()


def test_all_of_a_configuration_counts(run, tiny, same_parameters):
    text = """
        [model]
        hidden_size = 7
        conv_param = {filter_num = 2, filter_size = 3}
        weight_init_std = "he"
        seed = 11
        [data]
        name = "tiny.npz"
        [train]
        epochs = 2
        batch_size = 25
        optimizer = "adamw"
        weight_decay = 0.1
        clip_norm = 0.5
        label_smoothing = 0.1
        seed = 3
    """
    Path("c.toml").write_text(text)
    for out, line in (("a", ""), ("b", ""), ("c", "label_smoothing = 0.2"), ("d", "clip_norm = 0.1")):
        name = line.split(" ")[0]
        kept = [old for old in text.splitlines() if not (name and name in old)]
        Path("c.toml").write_text("\n".join([*kept, line]))
        assert run("train", "--config", "c.toml", "--out", out, "-q").exit_code == 0
    arrays = same_parameters("a/model.safetensors", "b/model.safetensors")
    assert arrays["W1"].shape == (2, 1, 3, 3)
    assert arrays["W2"].shape[1] == 7
    for other in ("c", "d"):
        assert metrics("a") != metrics(other)


def test_averages_are_what_a_run_is_judged_by_and_leaves(train, run, same_parameters):
    train(*SETTINGS, "--out", "plain")
    train(*SETTINGS, "--average", 0.8, "--out", "averaged")
    assert tomllib.loads(Path("averaged/config.toml").read_text(encoding="utf-8"))["train"]["average"] == 0.8
    rows = [json.loads(line) for line in Path("averaged/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for source in ("averaged", "averaged/last.ckpt"):
        said = json.loads(run("evaluate", source, "--batch-size", 25, "--json").stdout)
        assert (said["loss"], said["right"] / said["count"]) == (rows[-1]["test_loss"], rows[-1]["test_acc"])
    # Training goes the same way, what is evaluated and kept does not.
    plain, averaged = load_arrays("plain/model.safetensors"), load_arrays("averaged/model.safetensors")
    assert plain["W1"].tobytes() != averaged["W1"].tobytes()
    losses = [[line.split(b",")[3] for line in metrics(folder).splitlines()] for folder in ("plain", "averaged")]
    assert losses[0] == losses[1]


def test_flags_go_over_a_configuration(train, run, same_parameters):
    train(*SETTINGS, "--out", "a")
    assert run("train", "--config", "a/config.toml", "--epochs", 1, "--out", "b").exit_code == 0
    assert len(metrics("b").splitlines()) == 2
    # --seed is of everything, also of the weights whose seed the file holds.
    assert run("train", "--config", "a/config.toml", "--seed", 4, "--out", "c").exit_code == 0
    train(*SETTINGS, "--seed", 4, "--out", "d")
    same_parameters("c/model.safetensors", "d/model.safetensors")
    assert metrics("a") != metrics("c")


def test_same_seed_same_bits_in_another_process(train, start, same_parameters):
    train(*SETTINGS, "--out", "a")
    process = start("train", *TINY, *SETTINGS, "--out", "b", "-q")
    process.communicate()
    assert process.returncode == 0
    same_parameters("a/model.safetensors", "b/model.safetensors")
    assert metrics("a") == metrics("b")


def test_float64(train):
    train("--epochs", 1, "--dtype", "float64", "--out", "r", "-q")
    assert {a.dtype.name for a in load_arrays("r/model.safetensors").values()} == {"float64"}


def test_patience_ends_a_run_that_gets_no_better(train):
    result = train("--epochs", 30, "--lr", 0, "--patience", 2, "--out", "r")
    assert "stopped: test_loss has not improved for 2 epochs\n" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("after 3 epochs")


# ----------------------------------------------------------------------------------------------------- resuming
def interrupt_at(monkeypatch, step, where=MetricsFiles, event="on_step_end"):
    """A real SIGINT after that step, in `where`'s turn among the callbacks; undone once it has come."""
    own = getattr(where, event)

    def act(self, trainer):
        own(self, trainer)
        if trainer.step_count == step:
            monkeypatch.undo()
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(where, event, act)


RESUMABLE = [*SETTINGS, "--epochs", 3, "--dtype", "float64", "--average", 0.8]


@pytest.mark.parametrize(
    ("step", "where", "event"),
    [
        (1, MetricsFiles, "on_step_end"),
        (5, MetricsFiles, "on_step_end"),
        (5, Checkpoints, "on_step_end"),  # after this step's own saving
        (6, MetricsFiles, "on_step_end"),  # an epoch's last step: its figures are made first
        (6, Checkpoints, "on_epoch_end"),
        (0, MetricsFiles, "on_train_begin"),  # before there is anything
    ],
)
def test_interrupted_and_resumed_it_is_the_run_it_would_have_been(train, run, same_parameters, step, where, event):
    before = signal.getsignal(signal.SIGINT)
    train(*RESUMABLE, "--out", "whole")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, step, where, event)
        result = train(*RESUMABLE, "--out", "cut", code=130)
    assert result.stderr == "xpcnn: interrupted; go on with: xpcnn train --resume cut\n"
    assert read_checkpoint("cut/last.ckpt")[1]["step_count"] == step
    assert not Path("cut/model.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is before  # put back
    result = run("train", "--resume", "cut")
    assert result.exit_code == 0
    if step:
        assert f"going on at epoch {step // 3 + 1}, batch {step % 3 + 1} of 3\n" in result.stdout
    same_parameters("whole/model.safetensors", "cut/model.safetensors")
    assert metrics("whole") == metrics("cut")
    assert sorted(file.name for file in Path("cut").iterdir()) == LONGER


def test_sigint_to_a_real_process(train, run, start, same_parameters):
    # The pipe holds one page, fewer lines than there are epochs: the process cannot be done before we have signalled.
    words = ["--epochs", 60, "--out"]
    process = start("train", *TINY, *words, "cut", pipesize=4096, bufsize=0, text=False)
    while not (line := process.stdout.readline()).startswith(b"epoch"):
        assert line, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == b"xpcnn: interrupted; go on with: xpcnn train --resume cut\n"
    assert 1 <= read_checkpoint("cut/last.ckpt")[1]["epoch"] < 60
    assert run("train", "--resume", "cut").exit_code == 0
    train(*words, "whole")
    same_parameters("whole/model.safetensors", "cut/model.safetensors")
    assert metrics("whole") == metrics("cut")


def test_sigterm_does_the_same(train, run):
    with pytest.MonkeyPatch.context() as patch:

        def act(self, trainer):
            if trainer.step_count == 2:
                signal.raise_signal(signal.SIGTERM)

        patch.setattr(MetricsFiles, "on_step_end", act)
        result = train("--epochs", 2, "--out", "r", code=130)
    assert "--resume r" in result.stderr
    assert read_checkpoint("r/last.ckpt")[1]["step_count"] == 2


def test_a_second_sigint_ends_at_once(train):
    with pytest.MonkeyPatch.context() as patch:

        def act(self, trainer, x, t, loss):
            if trainer.step_count == 4:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

        patch.setattr(MetricsFiles, "on_pass_end", act)
        result = train("--epochs", 3, "--out", "r", code=130)
    kept = "r/last.ckpt keeps step 3, from where xpcnn train --resume r goes on"
    assert result.stderr == f"xpcnn: interrupted; {kept}\n"
    assert read_checkpoint("r/last.ckpt")[1]["step_count"] == 3  # of the epoch that was whole


def test_more_epochs_are_remembered(train, run, same_parameters):
    train("--epochs", 4, "--out", "whole")
    train("--epochs", 1, "--out", "r")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 8)
        assert run("train", "--resume", "r", "--epochs", 4).exit_code == 130
    assert run("train", "--resume", "r").exit_code == 0  # the very command that the message names
    same_parameters("whole/model.safetensors", "r/model.safetensors")
    assert metrics("whole") == metrics("r")


def test_resuming_a_finished_run_changes_nothing(train, run):
    train("--epochs", 2, "--out", "r")
    before = {name: Path("r", name).read_bytes() for name in FILES if name != "curves.png"}
    result = run("train", "--resume", "r")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith("after 2 epochs")
    assert {name: Path("r", name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--lr", "0.5"], "lr"),
        (["--batch-size", "5"], "batch_size"),
        (["--optimizer", "sgd"], "optimizer"),
        (["--model", "deep"], "model"),
        (["--dataset", "other.npz"], "name"),
        (["--augment", "flip"], "augment"),
        (["--schedule", "cosine"], "schedule"),
        (["--average", "0.9"], "average"),
        (["--seed", "1"], "seed"),
        (["--dtype", "float64"], "dtype"),
        (["--patience", "3"], "patience"),
        (["--config", "r/config.toml"], "config"),
        (["--out", "s"], "out"),
        (["--lr", "0.5", "--seed", "1"], "seed, lr"),
    ],
)
def test_resume_refuses_other_settings(train, fails, words, named):
    train("--epochs", 1, "--out", "r", "-q")
    assert f"as it was; {named} cannot change" in fails(2, "train", "--resume", "r", *words)


def test_what_resume_does_take(train, run, tiny):
    train("--epochs", 1, "--out", "r", "-q")
    words = ["--epochs", 2, "--device", "cpu", "--save-every", "1", "--data-dir", "."]
    assert run("train", "--resume", "r", *words).exit_code == 0
    config = tomllib.loads(Path("r/config.toml").read_text())
    assert (config["train"]["epochs"], config["train"]["device"], config["data"]["dir"]) == (2, "cpu", str(Path.cwd()))


# ----------------------------------------------------------------------------------------------------- saving
class Saves(Callback):
    """Patched in for the file that is written: which step each writing of last.ckpt was after."""

    def __init__(self, monkeypatch):
        from xpcnn.training.callbacks import checkpoints

        self.steps, self.clock = [], 0.0
        own = checkpoints.save_checkpoint

        def save(path, trainer, config):
            own(path, trainer, config)
            if path.name == ".last.ckpt.new":
                self.steps.append(trainer.step_count)

        monkeypatch.setattr(checkpoints, "save_checkpoint", save)
        monkeypatch.setattr(checkpoints.time, "monotonic", self.tick)

    def tick(self):
        self.clock += 1.0
        return self.clock


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        ([], [3, 6]),
        (["--save-every", "2"], [2, 3, 4, 6]),
        (["--save-every", "1"], [1, 2, 3, 4, 5, 6]),
        (["--save-every", "1s"], [1, 2, 3, 4, 5, 6]),  # on a clock that is a second later each time it is read
        (["--save-every", "1h"], [3, 6]),
    ],
)
def test_save_every(train, monkeypatch, every, steps):
    saves = Saves(monkeypatch)
    train("--epochs", 2, "--out", "r", "-q", *every)
    assert saves.steps == steps


# ------------------------------------------------------------------------------------------------------- failing
def test_a_run_that_becomes_nan(train):
    result = train("--optimizer", "sgd", "--lr", 1e30, "--save-every", 1, "--out", "r", code=1)
    assert len(result.stderr.splitlines()) == 1
    assert "step 2 (epoch 1)" in result.stderr
    assert "layer Affine1 gives NaN or infinity" in result.stderr
    assert not Path("r/model.safetensors").exists()
    arrays, values = read_checkpoint("r/last.ckpt")  # the last good state
    assert values["step_count"] == 1
    assert all(np.isfinite(a).all() for a in arrays.values())


def test_a_nan_run_in_a_process_prints_one_line(start, tiny):
    process = start("train", *TINY, "--optimizer", "sgd", "--lr", "1e30", "--out", "r")
    err = process.communicate()[1]
    assert process.returncode == 1
    assert len(err.splitlines()) == 1
    assert "step 2" in err


def test_out_of_memory(train, monkeypatch):
    def fail(self, trainer):
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr(MetricsFiles, "on_train_begin", fail)
    result = train("--out", "r", code=1)
    assert result.stderr == "xpcnn: out of memory (Unable to allocate 3 TiB); try a smaller --batch-size\n"


def test_an_existing_run_is_not_written_over(train, fails):
    train("--epochs", 1, "--out", "r", "-q")
    before = {file.name: file.read_bytes() for file in Path("r").iterdir()}
    line = fails(2, "train", *TINY, "--epochs", 1, "--out", "r")
    assert "r holds a run already" in line
    assert "--resume r" in line
    assert {file.name: file.read_bytes() for file in Path("r").iterdir()} == before


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--model perceptron", "no model is called 'perceptron'; there are simple, deep, lenet5, alexnet"),
        ("--dataset letters", "'letters' is neither a known data set (mnist, "),
        ("--dataset letters.npz", "letters.npz"),
        ("--dataset damaged.npz", "damaged.npz"),
        ("--dataset cut.npz", "cut.npz"),
        ("--dataset empty", "empty: no subfolders"),
        ("--dataset notes.txt", "notes.txt"),
        ("--optimizer sdg", "no optimizer is called 'sdg'; there are sgd, "),
        ("--schedule cosinus", "no schedule is called 'cosinus'"),
        ("--augment twist=1", "twist"),
        ("--average 1", "average is a decay from 0 to below 1, such as 0.999, got 1.0"),
        ("--device tpu", "no device is called 'tpu'"),
        ("--device cpu --gpu", "--gpu and --device cpu contradict"),
        ("--dtype float16", "float16"),
        ("--threads 0", "--threads is at least 1, got 0"),
        ("--epochs 0", "epochs is a whole number of at least 1, got 0"),
        ("--batch-size 0", "mini_batch_size is a whole number of at least 1, got 0"),
        ("--lr -1", "lr is -1.0"),
        ("--lr nan", "lr is a finite number, got nan"),
        ("--patience 0", "patience is at least 1"),
        ("--keep 0", "keep is a number of checkpoints of at least 1, got 0"),
        ("--save-every often", "--save-every is a number of steps"),
        ("--config nothing.toml", "nothing.toml"),
        ("--resume nothing", "nothing holds no last.ckpt"),
        ("--out tiny.npz", "cannot make the run folder tiny.npz"),
        ("--out tiny.npz/r", "cannot make the run folder tiny.npz/r"),
        ("--model alexnet", "layer"),
    ],
)
def test_bad_input_is_one_line_and_code_2(fails, tiny, words, part):
    content = Path("tiny.npz").read_bytes()
    Path("damaged.npz").write_bytes(content[:200] + bytes(len(content) - 200))
    Path("cut.npz").write_bytes(content[: len(content) // 2])
    Path("notes.txt").write_text("no data")
    Path("empty").mkdir()
    before = sorted(Path().rglob("*"))
    out = [] if "--out" in words or "--resume" in words else ["--out", "r"]
    given = [] if "--dataset" in words or "--resume" in words else ["--dataset", "tiny.npz"]
    assert part in fails(2, "train", *given, *out, *words.split())
    assert sorted(Path().rglob("*")) == before  # nothing is left of a run that was none


def test_gpu_without_cupy(fails, tiny, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    line = fails(2, "train", *TINY, "--gpu", "--out", "r")
    assert "CuPy is not installed" in line
    assert 'pip install "xpcnn[cuda12]"' in line
    assert not Path("r").exists()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[train]\nepochs = "3"', "epochs is a whole number, got '3'"),
        ("[train]\nbatch_size = 2.5", "batch_size is a whole number, got 2.5"),
        ('[train]\nlr = "fast"', "lr is a number, got 'fast'"),
        ('[train]\naverage = "yes"', "average is a number, got 'yes'"),
        ("[train]\nlr = [0.1]", "lr is a number"),
        ("[train]\noptimizer = 1", "optimizer is a text"),
        ("[train]\nsave_every = true", "--save-every"),
        ("[train]\nlabel_smoothing = 1.5", "label_smoothing"),
        ("[train]\nclip_norm = -1", "clip_norm"),
        ("[train]\nrate = 1", "[train] knows epochs, "),
        ("[optimizer]\nlr = 1", "[optimizer] is not one of the tables"),
        ("[train", "cannot read c.toml"),
        ("[data]\naugment = 5", "augment is a text"),
        ("[data]\ndir = 5", "dir is a text"),
        ("[model]\nmodel = 5", "no model is called '5'"),
        ('[model]\nseed = "x"', "a model's seed is a whole number"),
        ("[model]\nlayers = 5", "layers"),
        ('[model]\nhidden_size = "x"', "got 'x'"),
        ("[model]\nhidden_size = 0", "0"),
        ("[model]\noutput_size = 2", "the model tells 2 classes apart, tiny has 3"),
        ("[model]\ninput_dim = [1, 9, 9]", "the model takes pictures of (1, 9, 9), tiny has (1, 8, 8)"),
        ("[model]\nconv_param = {filters = 3}", "conv_param takes filter_num"),
        ('[model]\nweight_init_std = "good"', "good"),
    ],
)
def test_bad_configurations(fails, tiny, text, part):
    Path("c.toml").write_text(text)
    assert part in fails(2, "train", "--config", "c.toml", "--dataset", "tiny.npz", "--out", "r")
    assert not Path("r").exists()


def test_labels_beyond_the_named_classes(fails, tiny):
    np.savez("bad.npz", **{**tiny, "t_test": tiny["t_test"] + 5}, classes=np.array(["a", "b", "c"]))
    assert "label 0 is 5" in fails(2, "train", "--dataset", "bad.npz", "--out", "r")
