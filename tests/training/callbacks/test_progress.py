import io
import re

import numpy as np
import pytest
from rich.console import Console

from xpcnn import Sequential, Trainer
from xpcnn.layers import affine
from xpcnn.training.callbacks import Callback, Progress


def make(callbacks=(), epochs=3, test=True, verbose=False):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2
    return Trainer(
        Sequential([affine(2)], (3,), seed=0),
        x,
        t,
        *((x[:5], t[:5]) if test else ()),
        epochs=epochs,
        mini_batch_size=5,
        verbose=verbose,
        callbacks=callbacks,
    )


def check_lines(lines, trainer):
    assert len(lines) == len(trainer.history)
    for line, row in zip(lines, trainer.history.rows, strict=True):
        want = f"epoch {row['epoch']}/{trainer.epochs}  loss {row['train_loss']:.4f}  train {row['train_acc']:7.2%}"
        if "test_acc" in row:
            want += f"  test {row['test_acc']:7.2%} (loss {row['test_loss']:.4f})"
        assert re.fullmatch(re.escape(want) + r"  +\d+\.\d s  [\d,]+ images/s", line), line


@pytest.mark.parametrize("test", [True, False])
def test_elsewhere_than_on_a_terminal_one_line_an_epoch(test):
    # A narrow console: a line that a program reads must not be broken.
    out = io.StringIO()
    trainer = make([Progress(Console(file=out, width=20))], test=test)
    trainer.train()
    assert "\x1b" not in out.getvalue()
    check_lines(out.getvalue().splitlines(), trainer)
    assert ("test" in out.getvalue()) == test


def test_epochs_are_aligned():
    out = io.StringIO()
    make([Progress(Console(file=out))], epochs=10).train()
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("epoch  1/10  ")
    assert lines[9].startswith("epoch 10/10  ")


def test_verbose_prints_to_standard_output(capsys):
    trainer = make(verbose=True)
    trainer.train()
    printed = capsys.readouterr()
    check_lines(printed.out.splitlines(), trainer)
    assert printed.err == ""


def test_not_verbose_prints_nothing(capsys):
    make().train()
    assert capsys.readouterr() == ("", "")


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None, legacy_windows=False)


def test_on_a_terminal_it_shows_the_figures_and_leaves_the_lines():
    console = terminal()
    trainer = make([Progress(console)])
    trainer.train()
    shown = console.file.getvalue()
    # The first step is shown at once: its loss and accuracy, the rate, and the time left.
    assert re.search(r"epoch 1/3 .*1/9.*loss \d\.\d{4}  accuracy +\d+\.\d\d%  [\d,]+ images/s left", shown)
    assert f"loss {trainer.train_loss_list[0]:.4f}  accuracy" in shown
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).strip() for line in re.split(r"[\r\n]+", shown)]
    check_lines([line for line in plain if re.match(r"epoch \d/3  loss", line)], trainer)
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back


def test_the_bar_is_put_away_after_an_error():
    class Fails(Callback):
        def on_step_end(self, trainer):
            raise ZeroDivisionError

    console = terminal()
    progress = Progress(console)
    with pytest.raises(ZeroDivisionError):
        make([Fails(), progress]).train()
    shown = console.file.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    make([progress]).train()  # and it can be used again
    assert "epoch 3/3" in console.file.getvalue()


class Stop(Callback):
    def on_step_end(self, trainer):
        if trainer.step_count == 4:
            trainer.stop_reason = "enough"


def test_a_run_that_goes_on_shows_where_it_is():
    first = make([Stop()])
    first.train()
    console = terminal()
    second = make([Progress(console)])
    second.load_state(*first.state())
    second.train()
    shown = console.file.getvalue()
    assert re.search(r"epoch 2/3 .*5/9", shown)
    assert not re.search(r"epoch 1/3", shown)
