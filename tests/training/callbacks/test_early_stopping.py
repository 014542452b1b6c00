from types import SimpleNamespace

import numpy as np
import pytest

from xpcnn import Sequential, Trainer
from xpcnn.errors import ConfigError
from xpcnn.layers import affine
from xpcnn.training.callbacks import EarlyStopping


def run(stopping, values, column="test_loss"):
    """Feeds it an epoch's figure after the other; the number of epochs after which it stops, or None."""
    trainer = SimpleNamespace(history=[], stop_reason=None)
    for epoch, value in enumerate(values, start=1):
        trainer.history.append({"epoch": epoch, column: value})
        stopping.on_epoch_end(trainer)
        if trainer.stop_reason is not None:
            return epoch
    return None


@pytest.mark.parametrize(
    ("patience", "losses", "stops"),
    [
        (1, [3.0, 2.0, 1.0], None),
        (1, [1.0, 1.0], 2),  # as good is not better
        (1, [1.0, 2.0], 2),
        (2, [1.0, 2.0, 0.9, 2.0, 2.0], 5),  # a better one starts the waiting afresh
        (2, [1.0, 2.0, 1.5], 3),  # better than the last is not better than the best
        (3, [1.0, 2.0, 2.0], None),
        (2, [1.0, float("nan"), float("nan")], 3),
    ],
)
def test_patience(patience, losses, stops):
    assert run(EarlyStopping(patience), losses) == stops


def test_accuracies_are_to_rise():
    assert run(EarlyStopping(1, "test_acc"), [0.1, 0.2, 0.3], "test_acc") is None
    assert run(EarlyStopping(1, "test_acc"), [0.1, 0.2, 0.2], "test_acc") == 3
    assert run(EarlyStopping(1, "train_acc"), [0.3, 0.2], "train_acc") == 2


@pytest.mark.parametrize(
    ("column", "values"), [("test_loss", [1.0, 0.96, 0.92, 0.88]), ("test_acc", [0.0, 0.04, 0.08, 0.12])]
)
def test_min_delta(column, values):
    # Steps of 0.04 against the best: the third beats it by more than 0.05.
    assert run(EarlyStopping(1, column, min_delta=0.05), values, column) == 2
    assert run(EarlyStopping(2, column, min_delta=0.05), values, column) is None


def test_restored_it_goes_on_waiting():
    first = EarlyStopping(3)
    assert run(first, [1.0, 2.0]) is None
    second = EarlyStopping(3)
    second.load_state(first.state())
    assert run(second, [2.0, 2.0]) == 2
    fresh = EarlyStopping(3)
    fresh.load_state({})
    assert (fresh.best, fresh.waited) == (None, 0)


@pytest.mark.parametrize("patience", [0, -1])
def test_patience_of_nothing_is_refused(patience):
    with pytest.raises(ConfigError, match=f"patience.*{patience}"):
        EarlyStopping(patience)


def test_a_column_that_is_not_there():
    with pytest.raises(ConfigError, match="'test_loss'.*epoch, train_acc"):
        run(EarlyStopping(), [1.0], "train_acc")


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2


def make(epochs, lr=0.0):
    x, t = data()
    return Trainer(
        Sequential([affine(2)], (3,), seed=0),
        x,
        t,
        x,
        t,
        epochs=epochs,
        mini_batch_size=6,
        optimizer_param={"lr": lr},
        verbose=False,
        callbacks=[EarlyStopping(patience=3)],
    )


def test_stops_a_real_run():
    trainer = make(epochs=10)  # at a rate of 0 nothing can get better
    assert len(trainer.train()) == 4
    assert trainer.stop_reason == "test_loss has not improved for 3 epochs"
    # Plain gradient descent on a convex loss by small steps gets better every time.
    assert len(make(epochs=10, lr=0.01).train()) == 10


def test_a_resumed_run_stops_where_the_whole_one_does():
    begun = make(epochs=2)
    begun.train()
    resumed = make(epochs=10)
    resumed.load_state(*begun.state())
    assert len(resumed.train()) == 4


def test_resumed_after_it_stopped_it_stays_stopped():
    done = make(epochs=10)
    done.train()
    resumed = make(epochs=10)
    resumed.load_state(*done.state())
    assert len(resumed.train()) == 4
    assert resumed.stop_reason == done.stop_reason
    # Called again, as a person would to go on in spite of it, it waits for the next epoch's figure.
    assert len(resumed.train()) == 5
