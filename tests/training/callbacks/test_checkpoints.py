import numpy as np
import pytest

from xpcnn import Sequential, Trainer
from xpcnn.errors import ConfigError, TrainingError
from xpcnn.layers import affine
from xpcnn.training.callbacks import Callback, Checkpoints
from xpcnn.training.callbacks import checkpoints as module
from xpcnn.training.checkpoint import load_checkpoint, read_checkpoint


def make(*callbacks, epochs=3, test=True, lr=0.05):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2
    return Trainer(
        Sequential([affine(2)], (3,), seed=0),
        x,
        t,
        *((x[:5], t[:5]) if test else ()),
        epochs=epochs,
        mini_batch_size=3,
        optimizer="adam",
        optimizer_param={"lr": lr},
        verbose=False,
        callbacks=callbacks,
    )


class Watch(Callback):
    """The step that last.ckpt holds, after each step and epoch (None: there is none)."""

    def __init__(self, folder, name="last.ckpt"):
        self.path, self.seen = folder / name, []

    def on_step_end(self, trainer):
        self.seen.append(read_checkpoint(self.path)[1]["step_count"] if self.path.exists() else None)

    def on_epoch_end(self, trainer):
        self.on_step_end(trainer)


class Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step_count == self.step:
            trainer.stop_reason = "enough"


def test_last_is_written_after_every_epoch(tmp_path):
    watch = Watch(tmp_path)
    make(Checkpoints(tmp_path), watch, epochs=2).train()
    assert watch.seen == [None, None, None, None, 4, 4, 4, 4, 4, 8]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.ckpt", "last.1.ckpt", "last.ckpt"]
    values = read_checkpoint(tmp_path / "last.ckpt")[1]
    assert (values["epoch"], values["batch"], len(values["history"])) == (2, 0, 2)


def test_every_so_many_steps(tmp_path):
    watch = Watch(tmp_path)
    make(Checkpoints(tmp_path, every_steps=3), watch, epochs=2).train()
    # Steps 3 and 6, and the epochs' ends at 4 and 8, with their figures.
    assert watch.seen == [None, None, 3, 3, 4, 4, 6, 6, 6, 8]


def test_every_so_many_seconds(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    class Tick(Callback):
        def on_pass_end(self, trainer, x, t, loss):
            clock[0] += 1.0  # each step takes a second

    watch = Watch(tmp_path)
    make(Tick(), Checkpoints(tmp_path, every_seconds=3.0), watch, epochs=3).train()
    # Every save, an epoch's too, starts the three seconds afresh.
    assert watch.seen == [None, None, 3, 3, 4, 4, 4, 7, 7, 8, 8, 8, 11, 11, 12]


@pytest.mark.parametrize("step", [1, 5, 7])
def test_stopped_in_mid_epoch_it_saves_that_very_step(tmp_path, step):
    whole = make()
    whole.train()
    make(Stop(step), Checkpoints(tmp_path)).train()
    values = read_checkpoint(tmp_path / "last.ckpt")[1]
    assert (values["step_count"], values["epoch"], values["batch"]) == (step, step // 4, step % 4)
    resumed = make(Checkpoints(tmp_path))
    load_checkpoint(tmp_path / "last.ckpt", resumed)
    resumed.train()
    assert resumed.train_loss_list == whole.train_loss_list
    for name, a in whole.network.params.items():
        assert a.tobytes() == resumed.network.params[name].tobytes()


class Pretend(Callback):
    """Puts figures of our choice into the history, before the checkpoints look at it."""

    def __init__(self, column, figures):
        self.column, self.figures = column, figures

    def on_epoch_end(self, trainer):
        trainer.history[-1][self.column] = self.figures[len(trainer.history) - 1]


@pytest.mark.parametrize(
    ("figures", "best"),
    [([0.1, 0.2, 0.3], 3), ([0.3, 0.2, 0.1], 1), ([0.1, 0.3, 0.2], 2), ([0.1, 0.3, 0.3], 2), ([0.0, 0.0, 0.0], 1)],
)
@pytest.mark.parametrize("column", ["test_acc", "train_acc"])
def test_best_is_the_first_of_the_highest(tmp_path, figures, best, column):
    make(Pretend(column, figures), Checkpoints(tmp_path), test=column == "test_acc").train()
    values = read_checkpoint(tmp_path / "best.ckpt")[1]
    assert values["epoch"] == best
    assert values["history"][-1][column] == max(figures)
    last = read_checkpoint(tmp_path / "last.ckpt")[1]
    assert last["epoch"] == 3
    assert last["callbacks"] == {"Checkpoints": {"best": max(figures)}}


def test_test_accuracy_counts_before_training_accuracy(tmp_path):
    make(Pretend("train_acc", [0.9, 0.1, 0.1]), Pretend("test_acc", [0.1, 0.1, 0.9]), Checkpoints(tmp_path)).train()
    assert read_checkpoint(tmp_path / "best.ckpt")[1]["epoch"] == 3


def test_the_best_is_remembered_over_a_resume(tmp_path):
    pretend = Pretend("test_acc", [0.5, 0.9, 0.7])
    make(pretend, Stop(10), Checkpoints(tmp_path)).train()
    resumed = make(pretend, Checkpoints(tmp_path))
    load_checkpoint(tmp_path / "last.ckpt", resumed)
    resumed.train()
    assert read_checkpoint(tmp_path / "best.ckpt")[1]["epoch"] == 2


def test_best_holds_the_parameters_of_its_epoch(tmp_path):
    make(Pretend("test_acc", [0.5, 0.9, 0.7]), Checkpoints(tmp_path)).train()
    two = make(epochs=2)
    two.train()
    arrays = read_checkpoint(tmp_path / "best.ckpt")[0]
    for name, a in two.network.params.items():
        assert a.tobytes() == arrays[f"network/{name}"].tobytes()


def test_the_last_ones_are_kept_in_their_order(tmp_path):
    make(Checkpoints(tmp_path, keep=3), epochs=5).train()
    epochs = {path.name: read_checkpoint(path)[1]["epoch"] for path in tmp_path.glob("last*")}
    assert epochs == {"last.ckpt": 5, "last.1.ckpt": 4, "last.2.ckpt": 3}


@pytest.mark.parametrize("keep", [0, -1])
def test_none_kept_is_refused(tmp_path, keep):
    with pytest.raises(ConfigError, match=f"at least 1, got {keep}"):
        Checkpoints(tmp_path, keep=keep)


def test_a_state_is_written_once(tmp_path):
    keeper = Checkpoints(tmp_path, every_steps=2)
    trainer = make(Stop(6), keeper)
    trainer.train()
    before = (tmp_path / "last.ckpt").stat().st_ino
    keeper.save(trainer)
    assert (tmp_path / "last.ckpt").stat().st_ino == before
    assert keeper.saved_step == 6
    assert read_checkpoint(tmp_path / "last.1.ckpt")[1]["step_count"] == 4


@pytest.mark.parametrize("after", ["best.ckpt", ".last.ckpt.new"])
def test_killed_between_the_two_it_comes_to_the_same_best(tmp_path, monkeypatch, after):
    """Whichever of them was written last, the run goes on to a best.ckpt of the right epoch."""
    figures = [0.5, 0.9, 0.7]
    own = module.save_checkpoint

    class Killed(BaseException):
        pass

    def save(path, trainer, config):
        own(path, trainer, config)
        if path.name == after and trainer.epoch == 2:
            raise Killed

    monkeypatch.setattr(module, "save_checkpoint", save)
    with pytest.raises(Killed):
        make(Pretend("test_acc", figures), Checkpoints(tmp_path)).train()
    monkeypatch.undo()
    resumed = make(Pretend("test_acc", figures), Checkpoints(tmp_path))
    load_checkpoint(tmp_path / "last.ckpt", resumed)
    assert resumed.epoch == 1
    resumed.train()
    assert read_checkpoint(tmp_path / "best.ckpt")[1]["epoch"] == 2


def test_the_configuration_is_kept(tmp_path):
    config = {"train": {"epochs": 2, "lr": None}, "data": {"name": "tiny"}}
    make(Checkpoints(tmp_path, config=config), epochs=1).train()
    for name in ("last.ckpt", "best.ckpt"):
        assert read_checkpoint(tmp_path / name)[1]["config"] == {"train": {"epochs": 2}, "data": {"name": "tiny"}}


def test_a_folder_that_vanishes_ends_the_run(tmp_path):
    class Vanish(Callback):
        def on_step_end(self, trainer):
            if trainer.step_count == 6:
                (tmp_path / "r").rename(tmp_path / "elsewhere")

    (tmp_path / "r").mkdir()
    trainer = make(Vanish(), Checkpoints(tmp_path / "r"))
    with pytest.raises(TrainingError, match="best.ckpt|last.ckpt.*does not exist"):
        trainer.train()
    resumed, whole = make(Checkpoints(tmp_path / "elsewhere")), make()
    load_checkpoint(tmp_path / "elsewhere/last.ckpt", resumed)
    resumed.train()
    whole.train()
    assert resumed.train_loss_list == whole.train_loss_list
