"""Averages of parameters: the formula, their place in the network, checkpoints, resuming."""

import numpy as np
import pytest

from xpcnn import Sequential, Trainer
from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.formats import load_arrays
from xpcnn.layers import affine
from xpcnn.models import SimpleConvNet
from xpcnn.models.files import load_model
from xpcnn.training.averaging import Averaging
from xpcnn.training.callbacks import Callback, Checkpoints
from xpcnn.training.checkpoint import load_checkpoint, read_checkpoint


def make(average=0.7, epochs=3, callbacks=(), **more):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(22, 3)).astype(np.float32), np.arange(22) % 2
    network = Sequential([affine(4), "batch_norm", "relu", affine(2)], (3,), seed=1)
    options = {"mini_batch_size": 5, "optimizer": "adam", "optimizer_param": {"lr": 0.05}, "verbose": False, **more}
    return Trainer(network, x, t, x[:9], t[:9], epochs=epochs, callbacks=callbacks, average=average, **options)


def copied(network):
    return {name: a.copy() for name, a in network.arrays().items()}


def same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


class Values(Callback):
    """The network's arrays after every step, and as they are in every other event."""

    def __init__(self):
        self.after_step, self.at_epoch_end, self.at_train_end = [], [], None

    def on_step_end(self, trainer):
        self.after_step.append(copied(trainer.network))

    def on_epoch_end(self, trainer):
        self.at_epoch_end.append(copied(trainer.network))

    def on_train_end(self, trainer):
        self.at_train_end = copied(trainer.network)


def averages_of(start, values, decay):
    """The formula of the docstring in float64."""
    average = {name: a.astype(np.float64) for name, a in start.items()}
    found = []
    for step, now in enumerate(values, start=1):
        d = min(decay, step / (step + 10))
        average = {name: d * a + (1 - d) * now[name] for name, a in average.items()}
        found.append(average)
    return found


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.95])
def test_formula(decay):
    values = Values()
    trainer = make(decay, callbacks=[values])
    start = copied(trainer.network)
    trainer.train()
    expected = averages_of(start, values.after_step, decay)
    assert any(name.endswith("running_var") for name in start)  # running statistics are among them
    for epoch in range(3):
        for name, a in values.at_epoch_end[epoch].items():
            # Fifteen steps, each rounding in float32 numbers of about 1.
            np.testing.assert_allclose(a, expected[5 * epoch + 4][name], rtol=0, atol=1e-5)
    same_bits(values.at_train_end, values.at_epoch_end[-1])
    same_bits(copied(trainer.network), values.at_epoch_end[-1])  # the network keeps the averages after training


def test_training_itself_is_untouched():
    plain, averaged = Values(), Values()
    without = make(None, callbacks=[plain])
    with_it = make(0.9, callbacks=[averaged])
    without.train(), with_it.train()
    assert without.averaging is None
    assert without.train_loss_list == with_it.train_loss_list
    for a, b in zip(plain.after_step, averaged.after_step, strict=True):
        same_bits(a, b)
    assert plain.at_epoch_end[0]["affine1.W"].tobytes() != averaged.at_epoch_end[0]["affine1.W"].tobytes()


@pytest.mark.parametrize("figures", ["evaluated", "running"])
def test_figures_are_those_of_the_averages(figures):
    values = Values()
    trainer = make(0.9, callbacks=[values], train_accuracy=figures)
    trainer.train()
    x, t = trainer._test_eval.x, trainer._test_eval.t
    for row, arrays in zip(trainer.history.rows, values.at_epoch_end, strict=True):
        trainer.network.load_arrays(arrays)
        loss, accuracy = trainer.network.evaluate(x, t, batch_size=5)
        assert (row["test_loss"], row["test_acc"]) == (loss, accuracy)
        if figures == "evaluated":
            assert row["train_acc"] == trainer.network.accuracy(trainer.loader.x, trainer.loader.t, batch_size=5)


def test_training_again_goes_on_from_the_parameters():
    whole = make(epochs=3)
    whole.train()
    parts = make(epochs=3)
    parts.epochs = 1
    parts.train()
    parts.epochs = 3
    parts.train()
    assert parts.train_loss_list == whole.train_loss_list
    same_bits(copied(parts.network), copied(whole.network))


def test_a_single_step_goes_on_from_the_parameters():
    one, two = make(), make()
    x, t = one.loader.x[:5], one.loader.t[:5]
    one.step(x, t)
    two.step(x, t)
    two.averaging.show()
    one.step(x, t)
    two.step(x, t)  # hides them by itself
    assert not two.averaging.shown
    same_bits(copied(one.network), copied(two.network))


class Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step_count == self.step:
            trainer.stop_reason = "enough"


@pytest.mark.parametrize("step", [1, 5, 8])
def test_resumed_to_the_same_bits(tmp_path, step):
    whole = make()
    whole.train()
    make(callbacks=[Stop(step), Checkpoints(tmp_path)]).train()
    resumed = make()
    load_checkpoint(tmp_path / "last.ckpt", resumed)
    resumed.train()
    assert resumed.train_loss_list == whole.train_loss_list
    for a, b in zip(resumed.history.rows, whole.history.rows, strict=True):
        assert (a["test_loss"], a["test_acc"]) == (b["test_loss"], b["test_acc"])
    same_bits(copied(resumed.network), copied(whole.network))


@pytest.mark.parametrize("shown", [False, True])
def test_state_is_the_same_whichever_the_network_holds(shown):
    trainer = make()
    trainer.train()
    arrays, _ = trainer.state()
    averages, network = copied(trainer.network), trainer.averaging
    (network.show if shown else network.hide)()
    again, _ = trainer.state()
    same_bits(arrays, again)
    for name, a in averages.items():
        assert arrays[f"average/{name}"].tobytes() == a.tobytes()
        assert name.endswith("b") or arrays[f"network/{name}"].tobytes() != a.tobytes()
    again["network/affine1.W"][...] = 7  # copies
    assert not (trainer.network.params["affine1.W"] == 7).any()


def test_a_loaded_state_shows_the_parameters():
    saved = make(epochs=1)
    saved.train()
    arrays, values = saved.state()
    other = make()
    other.train()  # it holds averages now
    other.load_state(arrays, values)
    for name, a in other.network.arrays().items():
        assert a.tobytes() == arrays[f"network/{name}"].tobytes()


@pytest.mark.parametrize(
    ("saved", "resumed", "message"), [(None, 0.9, "holds no averages"), (0.9, None, "holds averages of the parameters")]
)
def test_with_and_without_do_not_mix(tmp_path, saved, resumed, message):
    make(saved, epochs=1, callbacks=[Checkpoints(tmp_path)]).train()
    with pytest.raises(CheckpointError, match=rf"last\.ckpt {message}"):
        load_checkpoint(tmp_path / "last.ckpt", make(resumed))


def test_averages_of_another_network_are_refused():
    arrays, values = make(epochs=1).state()
    arrays["average/affine1.W"] = arrays["average/affine1.W"][:1]
    with pytest.raises(CheckpointError, match="affine1.W: the network has"):
        make().load_state(arrays, values)


def test_a_checkpoints_model_is_the_averaged_one(tmp_path):
    rng = np.random.default_rng(2)
    x, t = rng.random((20, 1, 8, 8), dtype=np.float32), np.arange(20) % 4
    network = SimpleConvNet((1, 8, 8), {"filter_num": 2, "filter_size": 3}, 5, 4, seed=0)
    trainer = Trainer(network, x, t, x, t, 2, 5, callbacks=[Checkpoints(tmp_path)], average=0.9, verbose=False)
    trainer.train()
    network.save_params(tmp_path / "model.safetensors")
    for name in ("last.ckpt", "model.safetensors"):
        same_bits(copied(load_model(tmp_path / name)), copied(network))
    assert load_arrays(tmp_path / "model.safetensors").keys() == network.arrays().keys()
    best = read_checkpoint(tmp_path / "best.ckpt")
    assert load_model(tmp_path / "best.ckpt").evaluate(x, t, 5)[1] == best[1]["history"][-1]["test_acc"]


def test_a_layer_at_two_nodes_is_exchanged_once():
    shared = Sequential([affine(3)], (3,), seed=0).layers["affine1"]
    network = Sequential([("one", shared), ("relu", "relu"), ("two", shared)], (3,), seed=0)
    averaging = Averaging(network, 0.5)
    before = copied(network)
    shared.params["W"] += 1.0
    after = copied(network)
    averaging.show()
    same_bits(copied(network), before)
    averaging.show()  # nothing more happens
    averaging.hide()
    same_bits(copied(network), after)


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan"), True, "0.9"])
def test_decays_that_are_none(decay):
    with pytest.raises(ConfigError, match="average is a decay from 0 to below 1"):
        make(decay)
