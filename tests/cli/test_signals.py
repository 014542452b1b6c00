import signal
from types import SimpleNamespace

import pytest
import typer

from xpcnn.cli import train as module
from xpcnn.cli.signals import INTERRUPTED, StopOnSignals
from xpcnn.network import Network
from xpcnn.training.callbacks import MetricsFiles

TINY = ["train", "--dataset", "tiny.npz", "--batch-size", "25", "--epochs", "2", "--out", "r", "-q"]
both = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def trainer():
    return SimpleNamespace(stop_reason=None)


@both
def test_in_training_the_first_asks_and_the_second_ends(trainer, number):
    with pytest.raises(KeyboardInterrupt), StopOnSignals() as signals:  # noqa: PT012 (what raises is the point)
        signals.on_train_begin(trainer)
        signal.raise_signal(number)
        assert trainer.stop_reason == INTERRUPTED
        assert not signals.raised
        trainer.stop_reason = None  # whatever becomes of it
        signal.raise_signal(number)
    assert trainer.stop_reason is None


@both
def test_before_training_there_is_nothing_to_finish(number):
    with pytest.raises(KeyboardInterrupt), StopOnSignals():
        signal.raise_signal(number)


@both
def test_after_training_the_first_is_let_pass(trainer, number):
    with StopOnSignals() as signals:
        signals.on_train_begin(trainer)
        signals.on_train_end(trainer)
        signal.raise_signal(number)
        assert trainer.stop_reason is None
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_an_error_that_a_library_makes_of_it_is_an_interruption_still():
    """C modules that are being imported do so: 'ImportError: initialization failed'."""

    def fail(error, signalled=True):
        with StopOnSignals():
            try:
                if signalled:
                    signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise error from None
            raise error

    with pytest.raises(KeyboardInterrupt) as caught:
        fail(ImportError("initialization failed"))
    assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(typer.Exit):
        fail(typer.Exit(130))
    with pytest.raises(ImportError):
        fail(ImportError("without a signal"), signalled=False)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopOnSignals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# -- the command -----------------------------------------------------------------------------------------------------


@both
def test_while_data_is_loaded(fails, tiny, monkeypatch, number, tmp_path):
    monkeypatch.setattr(module, "load_run_data", lambda settings: signal.raise_signal(number))
    before = sorted(tmp_path.rglob("*"))
    assert fails(130, *TINY) == "xpcnn: interrupted"
    assert sorted(tmp_path.rglob("*")) == before


def test_while_results_are_written(run, tiny, monkeypatch):
    own = Network.save_params

    def save(self, path):
        signal.raise_signal(signal.SIGINT)
        own(self, path)

    monkeypatch.setattr(Network, "save_params", save)
    assert run(*TINY).exit_code == 0


def test_a_second_one_that_a_library_turns_into_an_error(fails, tiny, monkeypatch):
    def act(self, trainer):
        if trainer.step_count == 5:
            signal.raise_signal(signal.SIGINT)
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("initialization failed") from None

    monkeypatch.setattr(MetricsFiles, "on_step_end", act)
    line = fails(130, *TINY)
    assert line == "xpcnn: interrupted; r/last.ckpt keeps step 3, from where xpcnn train --resume r goes on"
