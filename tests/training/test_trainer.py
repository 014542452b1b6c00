import copy
import json
import math

import numpy as np
import pytest

from xpcnn import Sequential, Trainer
from xpcnn.data.augment import parse_augment
from xpcnn.data.dataset import as_float
from xpcnn.data.loader import Loader
from xpcnn.errors import CheckpointError, ConfigError, DataError, ShapeError, XpcnnError
from xpcnn.layers import affine, conv, dropout, max_pool
from xpcnn.optimizers import OPTIMIZERS, SGD
from xpcnn.training.callbacks import Callback

TIMES = ("seconds", "images_per_second")  # the only figures that differ from one making of a run to the next


def blobs(n, seed=1, dim=4):
    """n points about three corners of a cube, and which corner: separable by a straight line."""
    rng = np.random.default_rng(seed)
    t = rng.permutation(np.arange(n) % 3)
    x = rng.normal(0.0, 0.1, (n, dim)).astype(np.float32)
    x[np.arange(n), t] += 1.0
    return x, t


def small_net(seed=0, dtype="float32", dim=4):
    return Sequential([affine(8), "relu", affine(3)], (dim,), seed=seed, dtype=dtype)


def make(n=60, network=None, callbacks=(), **more):
    x, t = blobs(n)
    x_test, t_test = blobs(20, seed=2)
    options = {"epochs": 2, "mini_batch_size": 25, "verbose": False, "optimizer_param": {"lr": 0.1}, **more}
    network = small_net() if network is None else network
    return Trainer(network, x, t, x_test, t_test, callbacks=callbacks, **options)


def copied(network):
    return {name: a.copy() for name, a in network.arrays().items()}


def same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert a[name].tobytes() == b[name].tobytes(), name


def timeless(rows):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


class Recorder(Callback):
    """Everything that is told, in order, and the batches and the network as they are before each update."""

    def __init__(self):
        self.events, self.batches, self.before, self.lrs = [], [], [], []

    def on_train_begin(self, trainer):
        self.events.append("train begin")

    def on_epoch_begin(self, trainer):
        self.events.append("epoch begin")

    def on_pass_end(self, trainer, x, t, loss):
        self.events.append("pass end")
        self.batches.append((x.copy(), t.copy()))
        self.before.append(copied(trainer.network))

    def on_step_end(self, trainer):
        self.events.append("step end")
        self.lrs.append(trainer.optimizer.lr)

    def on_epoch_end(self, trainer):
        self.events.append("epoch end")

    def on_train_end(self, trainer):
        self.events.append("train end")


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step_count == self.step:
            trainer.stop_reason = "enough"


# ------------------------------------------------------------------------------------------------- whole passes
@pytest.mark.parametrize(
    ("n", "batch", "sizes"), [(60, 25, [25, 25, 10]), (60, 30, [30, 30]), (5, 100, [5]), (3, 1, [1, 1, 1])]
)
def test_epochs_are_whole_passes(n, batch, sizes):
    recorder = Recorder()
    trainer = make(n, callbacks=[recorder], epochs=2, mini_batch_size=batch)
    trainer.train()
    assert [len(x) for x, _ in recorder.batches] == sizes * 2
    assert trainer.step_count == 2 * len(sizes) == len(trainer.train_loss_list)
    x, t = blobs(n)
    orders = []
    for epoch in range(2):
        batches = recorder.batches[epoch * len(sizes) : (epoch + 1) * len(sizes)]
        seen = np.concatenate([x for x, _ in batches])
        order = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in seen]
        assert sorted(order) == list(range(n))  # each sample once
        np.testing.assert_array_equal(np.concatenate([t for _, t in batches]), t[order])
        orders.append(order)
    if n == 60:
        assert orders[0] != orders[1] != list(range(n))  # another order each epoch


def test_order_of_events():
    recorder = Recorder()
    make(callbacks=[recorder]).train()
    epoch = ["epoch begin", *["pass end", "step end"] * 3, "epoch end"]
    assert recorder.events == ["train begin", *epoch, *epoch, "train end"]


def test_callbacks_are_told_in_their_order_and_also_after_an_error():
    told = []

    class Named(Callback):
        def __init__(self, name):
            self.name = name

        def on_epoch_end(self, trainer):
            told.append((self.name, len(trainer.history)))  # the figures are there already

        def on_train_end(self, trainer):
            told.append((self.name, "end"))

    class Fails(Callback):
        def on_epoch_end(self, trainer):
            raise ZeroDivisionError

    trainer = make(callbacks=[Named("a"), Named("b"), Fails()])
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert told == [("a", 1), ("b", 1), ("a", "end"), ("b", "end")]


# ------------------------------------------------------------------------------------------- figures, recomputed
def cross_entropies(scores, t):
    """Of every row, in float64 and in the plainest words."""
    scores = scores.astype(np.float64)
    return [math.log(sum(math.exp(v - row[label]) for v in row)) for row, label in zip(scores, t, strict=True)]


class AfterEpochs(Callback):
    """Copies of the network after each epoch."""

    def __init__(self):
        self.networks = []

    def on_epoch_end(self, trainer):
        self.networks.append(trainer.network.copy())


@pytest.mark.parametrize("only", [None, 7, 1000])
def test_lists_and_history_against_independent_recomputation(only):
    recorder, after = Recorder(), AfterEpochs()
    trainer = make(callbacks=[recorder, after], epochs=3, evaluate_sample_num_per_epoch=only)
    history = trainer.train()
    assert history is trainer.history
    assert len(trainer.train_acc_list) == len(trainer.test_acc_list) == len(history) == 3
    assert len(trainer.train_loss_list) == 9

    want = []
    for arrays, (x, t) in zip(recorder.before, recorder.batches, strict=True):
        network = small_net()
        network.load_arrays(arrays)
        want.append(float(np.mean(cross_entropies(network.predict(x), t))))
    # Losses are float32 means of 25 terms of about 1: 25 * 6e-8 * 1, and the scores' own rounding below that.
    np.testing.assert_allclose(trainer.train_loss_list, want, rtol=0.0, atol=3e-6)

    (x, t), (x_test, t_test) = blobs(60), blobs(20, seed=2)
    for epoch, network in enumerate(after.networks):
        row = history[epoch]
        assert (row["epoch"], row["step"], row["lr"]) == (epoch + 1, 3 * epoch + 3, 0.1)
        right = network.predict(x[:only]).argmax(axis=1) == t[:only]
        assert row["train_acc"] == trainer.train_acc_list[epoch] == right.sum() / len(right)
        scores = network.predict(x_test[:only])
        right = scores.argmax(axis=1) == t_test[:only]
        assert row["test_acc"] == trainer.test_acc_list[epoch] == right.sum() / len(right)
        assert row["test_loss"] == pytest.approx(np.mean(cross_entropies(scores, t_test[:only])), abs=3e-6)
        # A mean over samples, not over batches: the last batch of 10 weighs less than the ones of 25.
        assert row["train_loss"] == pytest.approx(
            np.average(want[3 * epoch : 3 * epoch + 3], weights=[25, 25, 10]), 1e-5
        )
        assert row["seconds"] > 0.0
        assert row["images_per_second"] == pytest.approx(60 / row["seconds"])
    assert history.column("step") == [3, 6, 9]


def test_running_train_accuracy_is_over_the_epochs_own_batches():
    recorder = Recorder()
    running = make(callbacks=[recorder], train_accuracy="running")
    running.train()
    right = []
    for arrays, (x, t) in zip(recorder.before, recorder.batches, strict=True):
        network = small_net()
        network.load_arrays(arrays)
        right.append(int((network.predict(x).argmax(axis=1) == t).sum()))
    assert running.train_acc_list == [sum(right[:3]) / 60, sum(right[3:]) / 60]
    evaluated = make()
    evaluated.train()
    assert running.train_acc_list != evaluated.train_acc_list  # the case tells the two apart
    assert running.train_loss_list == evaluated.train_loss_list  # and both train alike
    same_bits(running.network.arrays(), evaluated.network.arrays())


def test_running_is_readable_in_mid_epoch():
    seen = []

    class Look(Callback):
        def on_step_end(self, trainer):
            seen.append((*trainer.running(), trainer.train_loss_list[-1]))

    trainer = make(callbacks=[Look()], epochs=1)
    assert trainer.running() == (0.0, 0.0)
    trainer.train()
    losses = [loss for _, _, loss in seen]
    assert seen[0][0] == losses[0]
    assert seen[1][0] == pytest.approx((losses[0] + losses[1]) / 2, rel=1e-12)
    assert trainer.running() == (0.0, 0.0)  # the next epoch starts afresh


def test_without_test_data_there_are_no_test_figures():
    x, t = blobs(30)
    trainer = Trainer(small_net(), x, t, epochs=2, mini_batch_size=10, verbose=False)
    trainer.train()
    assert trainer.test_acc_list == []
    assert len(trainer.train_acc_list) == 2
    assert "test_loss" not in trainer.history[0]
    assert trainer.history.column("test_loss") == []


# --------------------------------------------------------------------------------------------- learning, dtypes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_learns_a_separable_problem_and_keeps_its_dtype(dtype):
    trainer = make(network=small_net(dtype=dtype), epochs=40, optimizer="adam", optimizer_param={"lr": 0.02})
    trainer.train()
    assert trainer.test_acc_list[-1] == trainer.train_acc_list[-1] == 1.0
    assert trainer.train_loss_list[-1] < 0.1 < 0.7 < trainer.train_loss_list[0]
    assert {a.dtype.name for a in trainer.network.params.values()} == {dtype}
    assert {a.dtype.name for a in trainer.network.grads.values()} == {dtype}
    state = trainer.optimizer.state_dict()
    assert {a.dtype.name for name, a in state.items() if name != "t"} == {dtype}
    x, t = blobs(10)
    assert trainer.step(x, t).dtype == dtype


def test_losses_of_a_float32_network_are_float32_numbers():
    trainer = make()
    trainer.train()
    assert all(type(v) is float for v in trainer.train_loss_list)
    assert [float(np.float32(v)) for v in trainer.train_loss_list] == trainer.train_loss_list


@pytest.mark.parametrize("name", [*OPTIMIZERS, *(kind.__name__ for kind in OPTIMIZERS.values()), "ADAM", "Sgd"])
def test_every_optimizer_in_any_case(name):
    trainer = make(optimizer=name, optimizer_param={"lr": 0.01})
    assert type(trainer.optimizer) is OPTIMIZERS[name.lower()]
    before = copied(trainer.network)
    trainer.train()
    for key, a in trainer.network.params.items():
        assert np.isfinite(a).all()
        assert (a != before[key]).any()
    assert int(trainer.optimizer.state_dict()["t"]) == 6


def test_optimizer_object_and_defaults():
    optimizer = SGD(lr=0.25)
    assert make(optimizer=optimizer).optimizer is optimizer
    x, t = blobs(6)
    usual = Trainer(small_net(), x, t, verbose=False)
    assert (type(usual.optimizer), usual.optimizer.lr, usual.epochs, usual.mini_batch_size) == (SGD, 0.01, 20, 100)


# ------------------------------------------------------------------------------------------------- determinism
def everything(**more):
    """A run with all that draws random numbers; (arrays, losses, history)."""
    x, t = pictures()
    trainer = Trainer(picture_net(more.pop("net_seed", 5)), x, t, x[:11], t[:11], **{**HARD, **more})
    trainer.train()
    return copied(trainer.network), trainer.train_loss_list, timeless(trainer.history.rows)


def pictures():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (25, 1, 8, 8), dtype=np.uint8), np.arange(25) % 3


def picture_net(seed=5):
    layers = [conv(4, 3), "batch_norm", "relu", max_pool(2), affine(12), "relu", dropout(0.5), affine(3)]
    return Sequential(layers, (1, 8, 8), seed=seed)


HARD = {
    "epochs": 3,
    "mini_batch_size": 10,
    "optimizer": "adam",
    "optimizer_param": {"lr": 0.01},
    "schedule": "cosine",
    "augment": parse_augment("shift=1,rotate=10,flip"),
    "scale": 1.0 / 255.0,
    "train_accuracy": "running",
    "verbose": False,
    "seed": 4,
}


def test_same_seed_same_bits():
    first, second = everything(), everything()
    same_bits(first[0], second[0])
    assert first[1:] == second[1:]


def test_prefetch_changes_nothing():
    first, second = everything(prefetch=0), everything(prefetch=5)
    same_bits(first[0], second[0])
    assert first[1:] == second[1:]


@pytest.mark.parametrize("other", [{"seed": 5}, {"net_seed": 6}, {"augment": None}, {"schedule": "constant"}])
def test_another_seed_or_setting_is_another_run(other):
    assert everything()[1] != everything(**other)[1]


def test_uint8_with_scale_is_the_float_data_bit_for_bit():
    x, t = pictures()
    runs = []
    for data, scale in ((x, 1.0 / 255.0), (as_float(x), None)):
        trainer = Trainer(
            picture_net(), data, t, data[:9], t[:9], **{**HARD, "scale": scale, "train_accuracy": "evaluated"}
        )
        trainer.train()
        runs.append((copied(trainer.network), trainer.train_loss_list, timeless(trainer.history.rows)))
    same_bits(runs[0][0], runs[1][0])
    assert runs[0][1:] == runs[1][1:]


def test_one_hot_labels_are_the_integer_labels():
    (x, t), (x_test, t_test) = blobs(60), blobs(20, seed=2)
    runs = []
    for of in (lambda t: t, lambda t: np.eye(3, dtype=np.float32)[t], lambda t: np.eye(3, dtype=np.int64)[t]):
        trainer = Trainer(small_net(), x, of(t), x_test, of(t_test), epochs=2, mini_batch_size=25, verbose=False)
        trainer.train()
        runs.append((copied(trainer.network), trainer.train_loss_list, trainer.history.rows))
    for run in runs[1:]:
        # The loss picks with the one-hot rows by a product and a sum of zeros, which is exact.
        same_bits(runs[0][0], run[0])
        assert runs[0][1] == run[1]
        assert timeless(runs[0][2]) == timeless(run[2])


# --------------------------------------------------------------------------------------------- schedules, steps
def test_schedule_sets_the_rate_of_every_step():
    recorder = Recorder()
    trainer = make(callbacks=[recorder], schedule="cosine", epochs=2)
    trainer.train()
    # Six steps down half a cosine, each rate for the update after `step` others.
    want = [0.1 * (1.0 + math.cos(math.pi * step / 6)) / 2.0 for step in range(6)]
    assert recorder.lrs == pytest.approx(want, rel=1e-12)
    assert trainer.history.column("lr") == [recorder.lrs[2], recorder.lrs[5]]


def test_schedule_counts_the_partial_batch_in_its_epochs():
    recorder = Recorder()
    make(callbacks=[recorder], schedule="step:epochs=1,factor=0.5", epochs=3).train()
    assert recorder.lrs == [0.1] * 3 + [0.05] * 3 + [0.025] * 3


def test_rate_reaches_the_parameters():
    recorder = Recorder()
    trainer = make(callbacks=[recorder], schedule="step:steps=2,factor=0.5", epochs=1)
    trainer.train()
    for step, lr in enumerate([0.1, 0.1, 0.05]):
        network = small_net()
        network.load_arrays(recorder.before[step])
        grads = network.gradient(*recorder.batches[step])
        after = recorder.before[step + 1] if step < 2 else trainer.network.params
        for name, g in grads.items():
            np.testing.assert_array_equal(after[name], recorder.before[step][name] - g * np.float32(lr))


def test_step_on_its_own():
    x, t = blobs(10)
    trainer = make(schedule="cosine")
    network = small_net()
    grads = network.gradient(x, t)
    loss = trainer.step(x, t)
    assert loss.shape == ()
    assert loss.dtype == np.float32
    assert float(loss) == trainer.train_loss_list[0] == float(small_net().loss(x, t))
    for name, a in trainer.network.params.items():
        np.testing.assert_array_equal(a, network.params[name] - grads[name] * np.float32(0.1))
    assert (trainer.step_count, trainer.epoch, trainer.batch) == (1, 0, 0)
    for _ in range(30):
        trainer.step(x, t)
    assert len(trainer.train_loss_list) == 31
    assert trainer.train_loss_list[-1] < trainer.train_loss_list[0]
    assert trainer.optimizer.lr == 0.0  # beyond the six steps of the schedule


# ------------------------------------------------------------------------------------------------ bad arguments
BAD = [
    ({"epochs": 0}, ConfigError, "epochs"),
    ({"epochs": -1}, ConfigError, "epochs"),
    ({"epochs": 2.0}, ConfigError, "epochs"),
    ({"epochs": True}, ConfigError, "epochs"),
    ({"epochs": "2"}, ConfigError, "epochs"),
    ({"mini_batch_size": 0}, ConfigError, "mini_batch_size"),
    ({"mini_batch_size": 2.5}, ConfigError, "mini_batch_size"),
    ({"evaluate_sample_num_per_epoch": 0}, ConfigError, "evaluate_sample_num_per_epoch"),
    ({"optimizer": "sdg"}, ConfigError, "sdg.*sgd, momentum"),
    ({"optimizer_param": {"rate": 0.1}}, ConfigError, "rate"),
    ({"optimizer_param": {"lr": -1.0}}, ConfigError, "lr"),
    ({"schedule": "cosinus"}, ConfigError, "cosinus"),
    ({"train_accuracy": "never"}, ConfigError, "never"),
    ({"device": "tpu"}, ConfigError, "tpu"),
    ({"prefetch": -1}, ConfigError, "prefetch"),
    ({"x_test": None}, DataError, "x_test and t_test go together"),
    ({"t_test": None}, DataError, "x_test and t_test go together"),
    ({"x_train": np.zeros((5, 4), np.float32)}, DataError, "5 and 6"),
    ({"t_train": np.zeros(7, int)}, DataError, "6 and 7"),
    ({"x_test": np.zeros((5, 4), np.float32)}, DataError, "x_test.*5 and 6"),
    ({"x_train": np.zeros((0, 4), np.float32), "t_train": np.zeros(0, int)}, DataError, "0 and 0"),
    ({"x_test": np.zeros((0, 4), np.float32), "t_test": np.zeros(0, int)}, DataError, "0 and 0"),
    ({"x_train": [[1.0] * 4] * 6}, DataError, "list"),
]


@pytest.mark.parametrize(("bad", "kind", "message"), BAD)
def test_bad_arguments_are_refused_before_training(bad, kind, message):
    x, t = blobs(6)
    network = small_net()
    before = copied(network)
    good = {"x_train": x, "t_train": t, "x_test": x, "t_test": t, "epochs": 1, "verbose": False}
    with pytest.raises(kind, match=message) as caught:
        Trainer(network, **{**good, **bad})
    assert isinstance(caught.value, XpcnnError)
    same_bits(copied(network), before)


def test_numpy_whole_numbers_are_whole_numbers():
    trainer = make(epochs=np.int64(1), mini_batch_size=np.int32(25))
    trainer.train()
    json.dumps(trainer.state()[1])  # a checkpoint can hold what comes of them
    assert len(trainer.history) == 1


def test_pictures_of_another_shape_name_the_layer():
    x, t = blobs(6, dim=5)
    with pytest.raises(ShapeError, match="x_train: layer 'affine1'"):
        Trainer(small_net(), x, t, epochs=1, verbose=False)


# ------------------------------------------------------------------------------------------- stopping, going on
@pytest.mark.parametrize("step", range(1, 7))
def test_stop_reason_stops_after_the_step_and_train_goes_on(step):
    whole = make()
    whole.train()
    trainer = make(callbacks=[StopAt(step)])
    history = trainer.train()
    assert trainer.step_count == step
    assert trainer.stop_reason == "enough"
    assert len(history) == step // 3  # a finished epoch has its figures
    trainer.train()
    assert trainer.stop_reason is None or step == 6
    assert trainer.train_loss_list == whole.train_loss_list
    assert timeless(trainer.history.rows) == timeless(whole.history.rows)
    same_bits(copied(trainer.network), copied(whole.network))


def test_train_after_the_end_does_nothing_and_more_epochs_go_on():
    trainer = make()
    trainer.train()
    arrays = copied(trainer.network)
    assert len(trainer.train()) == 2
    same_bits(copied(trainer.network), arrays)
    trainer.epochs = 4
    assert len(trainer.train()) == 4
    whole = make(epochs=4)
    whole.train()
    same_bits(copied(trainer.network), copied(whole.network))


def test_stopping_leaves_no_thread_behind():
    import threading

    make(callbacks=[StopAt(2)], prefetch=3).train()
    assert not [thread for thread in threading.enumerate() if thread.name == "xpcnn-loader"]


# ----------------------------------------------------------------------------------------------------- resuming
class Snapshots(Callback):
    """The state after every step, as it would be in a file, and how many epochs' rows it holds."""

    def __init__(self):
        self.taken = []

    def on_step_end(self, trainer):
        arrays, values = trainer.state()
        self.taken.append((arrays, json.loads(json.dumps(values))))

    def on_epoch_end(self, trainer):
        self.on_step_end(trainer)


@pytest.fixture(scope="module")
def whole_run():
    x, t = pictures()
    snapshots = Snapshots()
    trainer = Trainer(picture_net(), x, t, x[:11], t[:11], callbacks=[snapshots], **HARD)
    trainer.train()
    return snapshots.taken, copied(trainer.network), trainer.train_loss_list, timeless(trainer.history.rows)


def test_the_run_to_resume_has_a_step_of_every_kind(whole_run):
    # Batch 3 is the state between an epoch's last step and its figures, batch 0 the one after them.
    want = [(e, b) if b else (e + 1, 0) for e in range(3) for b in (1, 2, 3, 0)]
    assert [(v["epoch"], v["batch"]) for _, v in whole_run[0]] == want


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("k", range(12))
def test_resumed_from_any_step_to_the_same_bits(whole_run, k, prefetch):
    taken, arrays, losses, rows = whole_run
    x, t = pictures()
    # Another seed of the network: its weights and dropout masks must come from the state.
    trainer = Trainer(picture_net(77), x, t, x[:11], t[:11], **HARD, prefetch=prefetch)
    trainer.load_state(*taken[k])
    assert trainer.step_count == len(trainer.train_loss_list) == taken[k][1]["step_count"]
    trainer.train()
    same_bits(copied(trainer.network), arrays)
    assert trainer.train_loss_list == losses
    assert timeless(trainer.history.rows) == rows


def test_loaders_batches_are_those_of_the_run():
    recorder = Recorder()
    trainer = make(callbacks=[recorder], seed=9)
    trainer.train()
    x, t = blobs(60)
    loader = Loader(x, t, 25, seed=9)
    for i, (x_seen, t_seen) in enumerate(recorder.batches):
        x_want, t_want = loader.batch(i // 3, i % 3)
        np.testing.assert_array_equal(x_seen, x_want)
        np.testing.assert_array_equal(t_seen, t_want)


def test_a_state_is_a_copy():
    trainer = make(epochs=1)
    state = trainer.state()
    kept = copy.deepcopy(state)
    trainer.train()
    same_bits(state[0], kept[0])
    assert state[1] == kept[1]
    other = make(epochs=1)
    other.load_state(*state)
    other.train()
    same_bits(copied(other.network), copied(trainer.network))
    same_bits(state[0], kept[0])  # nor does a trainer that took it change it
    assert state[1] == kept[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("used", [False, True])
def test_a_state_from_before_the_first_step(name, used):
    whole, resumed = make(optimizer=name), make(optimizer=name)
    state = make(optimizer=name).state()
    if used:
        resumed.train()  # whatever it did before is forgotten
    resumed.load_state(*state)
    resumed.train()
    whole.train()
    same_bits(copied(resumed.network), copied(whole.network))
    assert resumed.train_loss_list == whole.train_loss_list


def test_two_callbacks_of_one_kind_keep_their_own_state():
    class Counts(Callback):
        def __init__(self, by):
            self.by, self.count = by, 0

        def on_step_end(self, trainer):
            self.count += self.by

        def state(self):
            return {"count": self.count}

        def load_state(self, values):
            self.count = values["count"]

    trainer = make(callbacks=[Counts(1), Counts(10)])
    trainer.train()
    other = make(callbacks=[Counts(1), Counts(10)])
    other.load_state(*trainer.state())
    assert [c.count for c in other.callbacks if isinstance(c, Counts)] == [6, 60]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("network/affine1.W"), "affine1.W: missing"),
        (lambda a: a.update({"network/affine1.W": np.zeros((4, 9), np.float32)}), "affine1.W"),
        (lambda a: a.update({"network/extra": np.zeros(1, np.float32)}), "extra"),
        (lambda a: a.pop("optimizer/t"), '"t"'),
        (lambda a: a.update({"optimizer/m.affine1.W": np.zeros((4, 8), np.float32)}), "m.affine1.W"),
    ],
)
def test_state_of_another_run_is_refused(change, message):
    arrays, values = make().state()
    change(arrays)
    with pytest.raises(CheckpointError, match=message):
        make().load_state(arrays, values)
