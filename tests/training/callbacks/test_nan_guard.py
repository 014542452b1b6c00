import numpy as np
import pytest

from xpcnn import Sequential, Trainer
from xpcnn.errors import TrainingError
from xpcnn.layers import Affine, affine, dropout
from xpcnn.training.callbacks import Callback, Checkpoints, MetricsFiles, NanGuard
from xpcnn.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning")  # these runs overflow on purpose


class SpoilBefore(Callback):
    """Does something to the network after the step before `step`."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, trainer):
        if trainer.step_count == self.step - 1:
            self.act(trainer.network)


class LastGood(Callback):
    """The parameters as they were after the last step that was made."""

    def __init__(self):
        self.params, self.steps, self.ended = {}, 0, False

    def on_step_end(self, trainer):
        self.params = {name: a.copy() for name, a in trainer.network.params.items()}
        self.steps += 1

    def on_train_end(self, trainer):
        self.ended = True


def data(n=20):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 4)).astype(np.float32), np.arange(n) % 3


def make(callbacks, network=None, x=None, **more):
    own, t = data()
    network = network or Sequential([("first", affine(5)), "relu", ("last", affine(3))], (4,), seed=0)
    options = {"epochs": 3, "mini_batch_size": 8, "verbose": False, **more}
    return Trainer(network, own if x is None else x, t, callbacks=callbacks, **options)


def fail(trainer):
    with pytest.raises(TrainingError) as caught:
        trainer.train()
    return str(caught.value)


def test_every_trainer_has_one():
    assert [type(c) for c in make([]).callbacks] == [NanGuard]


@pytest.mark.parametrize("step", [2, 3, 4, 8])
def test_names_step_and_epoch_and_keeps_the_last_good_parameters(step):
    good = LastGood()

    def spoil(network):
        network.params["last.W"][...] = 3e38  # finite, but the scores made with them are not

    trainer = make([SpoilBefore(step, spoil), good])
    message = fail(trainer)
    assert f"step {step} (epoch {(step - 1) // 3 + 1})" in message
    assert "layer last gives NaN or infinity" in message
    assert "smaller learning rate" in message
    assert good.steps == trainer.step_count == len(trainer.train_loss_list) == step - 1
    assert good.ended
    for name, a in trainer.network.params.items():
        assert np.isfinite(a).all()
        assert a.tobytes() == good.params[name].tobytes()


def test_names_the_first_of_several_layers():
    network = Sequential([("one", affine(5)), ("two", affine(5)), ("three", affine(3))], (4,), seed=0)

    def spoil(network):
        network.params["two.W"][...] = 3e38
        network.params["three.W"][...] = 3e38

    assert "layer two gives" in fail(make([SpoilBefore(2, spoil)], network))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_names_the_parameter(value):
    def spoil(network):
        network.params["last.b"][1] = value

    assert "parameter last.b holds NaN or infinity" in fail(make([SpoilBefore(3, spoil)]))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_names_the_batch(value):
    def augment(x, rng):
        x[0, 2] = value  # given such samples, a Trainer is not even made
        return x

    message = fail(make([], augment=augment))
    assert "step 1 (epoch 1)" in message
    assert "the batch itself holds NaN or infinity" in message
    assert "look at the data" in message


def test_a_layer_behind_dropout_is_found_too():
    network = Sequential([("one", affine(50)), dropout(0.5), ("two", affine(3))], (4,), seed=0)

    def spoil(network):
        network.params["two.W"][...] = 3e38

    assert "layer two gives" in fail(make([SpoilBefore(2, spoil)], network))


def test_infinite_loss_of_finite_scores():
    # Scores of 3e38 and -3e38 are float32 numbers, their difference is not.
    W = np.zeros((4, 3), np.float32)
    network = Sequential([Affine(W, np.array([3e38, -3e38, -3e38], np.float32))], (4,))
    message = fail(make([], network, x=np.zeros((20, 4), np.float32)))
    assert "step 1 (epoch 1) is inf: the scores are finite, their loss is not" in message


def test_a_huge_rate_is_the_usual_cause():
    good = LastGood()
    trainer = make([good], optimizer="sgd", optimizer_param={"lr": 1e30})
    message = fail(trainer)
    assert "step 2" in message
    assert "layer" in message
    for name, a in trainer.network.params.items():
        assert a.tobytes() == good.params[name].tobytes()


def test_looks_only_every_so_many_steps_where_asked():
    def spoil(network):
        network.params["last.W"][...] = np.nan

    trainer = make([SpoilBefore(3, spoil)], mini_batch_size=2)  # ten steps an epoch
    trainer.callbacks[0] = NanGuard(every=4)  # it looks at steps 1, 5, 9, ...
    assert "step 5" in fail(trainer)


def test_a_good_run_is_left_alone():
    trainer = make([])
    assert len(trainer.train()) == 3


def test_guards_single_steps_too():
    x, t = data()
    trainer = make([])
    trainer.network.params["first.W"][0, 0] = np.nan
    with pytest.raises(TrainingError, match=r"step 1.*parameter first\.W"):
        trainer.step(x, t)
    assert trainer.step_count == 0


class SpoilAfter(Callback):
    """Does something to the trainer after step `step`, before anything else looks at it."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, trainer):
        if trainer.step_count == self.step:
            self.act(trainer)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_epochs_last_step_is_seen_before_its_figures_are_told(value, tmp_path):
    """No further step comes whose loss would show it."""

    def spoil(trainer):
        trainer.network.params["last.W"][0, 1] = value

    trainer = make([SpoilAfter(9, spoil), MetricsFiles(tmp_path), Checkpoints(tmp_path)])
    message = fail(trainer)
    assert "parameter last.W holds NaN or infinity after step 9" in message
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 2
    assert read_checkpoint(tmp_path / "last.ckpt")[1]["step_count"] == 6


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adagrad"])
def test_an_optimizer_whose_squares_overflow(optimizer):
    """g**2 leaves float32 from g = 2e19 on: the parameter is finite, and will never change again."""

    trainer = make([], optimizer=optimizer, optimizer_param={"lr": 0.01})
    own = trainer.optimizer.update

    def update(params, grads):
        if trainer.step_count == 1:
            grads["last.b"][...] = 1e30
        own(params, grads)

    trainer.optimizer.update = update
    message = fail(trainer)
    assert all(np.isfinite(a).all() for a in trainer.network.params.values())
    assert "the optimizer's " in message
    assert "last.b holds NaN or infinity after step 3" in message


def test_a_state_that_is_not_finite_is_not_saved_in_mid_epoch(tmp_path):
    def spoil(trainer):
        trainer.network.params["first.b"][0] = np.nan

    trainer = make([SpoilAfter(2, spoil), Checkpoints(tmp_path, every_steps=1)])
    assert "parameter first.b holds NaN or infinity after step 2" in fail(trainer)
    arrays, values = read_checkpoint(tmp_path / "last.ckpt")
    assert values["step_count"] == 1
    assert np.isfinite(arrays["network/first.b"]).all()
