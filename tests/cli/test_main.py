import os

import pytest

from xpcnn import __version__

COMMANDS = ("train", "evaluate", "predict", "plot", "bench", "info")


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"xpcnn {__version__}\n"
    assert result.stderr == ""


def test_python_m_is_the_command(start):
    process = start("--version")
    assert process.communicate() == (f"xpcnn {__version__}\n", "")
    assert process.returncode == 0


def test_without_arguments_it_shows_help(run):
    bare, asked = run(), run("--help")
    assert asked.exit_code == 0
    assert bare.exit_code == 2  # nothing was asked for, so nothing was done
    for text in (bare.output, asked.stdout):
        assert "Usage" in text
        for command in COMMANDS:
            assert command in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"{command} [OPTIONS]" in result.stdout


FLAGS = [
    "--model",
    "--dataset",
    "--data-dir",
    "--device",
    "--gpu",
    "--epochs",
    "--batch-size",
    "--optimizer",
    "--lr",
    "--schedule",
    "--seed",
    "--dtype",
    "--threads",
    "--out",
    "--resume",
    "--save-every",
    "--config",
    "--quiet",
]


def test_train_has_the_flags_that_were_promised(run):
    shown = run("train", "--help").stdout
    assert [flag for flag in FLAGS if flag not in shown] == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["tarin"], "tarin"),
        (["train", "--epoch-count", "3"], "--epoch-count"),
        (["train", "--epochs", "three"], "--epochs"),
        (["train", "--lr", "fast"], "--lr"),
        (["train", "stray"], "stray"),
        (["evaluate"], "source"),
        (["--verbose"], "--verbose"),
    ],
)
def test_a_command_line_that_cannot_be_read(run, words, named):
    result = run(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert named in result.stderr.lower()
    assert "Traceback" not in result.stderr


def test_a_reader_that_has_gone_is_no_accident(start):
    reading, writing = os.pipe()
    os.close(reading)  # before the command starts: its first line already finds nobody
    process = start("info", stdout=writing)
    os.close(writing)
    assert process.communicate()[1] == ""
    assert process.returncode == 1
