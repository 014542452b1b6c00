"""Memory that ends and folders that go away in the middle of a run: one line, code 1, and on to the same bits."""

import shutil
import subprocess

import pytest

from tests.faults.runs import bits_alike, check_whole, command, environment, finish
from tests.faults.test_full_disk import WORDS, folder, invoke, run
from xpcnn.data.loader import Loader
from xpcnn.network import Network
from xpcnn.optimizers.adaptive import Adam
from xpcnn.training import checkpoint
from xpcnn.training.callbacks import MetricsFiles

__all__ = ["folder"]  # the fixture

resource = pytest.importorskip("resource", reason="limits of a process are POSIX's")


@pytest.fixture
def whole(folder):
    assert run("whole").exit_code == 0
    return folder / "whole"


def at_call(patch, where, name, number, act):
    """Has `act` happen after call `number` of `where.name`."""
    own, calls = getattr(where, name), []

    def call(*arguments, **named):
        result = own(*arguments, **named)
        calls.append(name)
        if len(calls) == number:
            act()
        return result

    patch.setattr(where, name, call)


def no_memory():
    raise MemoryError("Unable to allocate 3 TiB")


@pytest.mark.parametrize(
    ("where", "name", "number", "kept"),
    [
        (Network, "train_pass", 1, None),
        (Network, "train_pass", 3, 2),
        (Adam, "update", 2, 1),  # parameters that are beyond the checkpoint
        (Loader, "_make", 3, 2),  # in the thread that makes batches ahead
        (Network, "evaluate_batches", 1, 2),
        (checkpoint, "save_safetensors", 2, 1),
        (checkpoint, "_checksum", 3, 2),
        (MetricsFiles, "on_epoch_end", 1, 2),
        (Network, "save_params", 1, 3),
    ],
)
def test_out_of_memory(folder, whole, where, name, number, kept):
    with pytest.MonkeyPatch.context() as patch:
        at_call(patch, where, name, number, no_memory)
        result = run("r")
    assert result.exit_code == 1
    line = "xpcnn: out of memory (Unable to allocate 3 TiB); try a smaller --batch-size"
    more = f"; r/last.ckpt keeps step {kept}, from where xpcnn train --resume r goes on"
    # Making batches ahead may be a step or two early.
    wanted = [line + (more if kept else "")]
    if where is Loader:
        wanted += [line, line + more.replace("step 2", "step 1")]
    assert result.stderr.removesuffix("\n") in wanted
    check_whole(folder / "r")
    assert invoke("train", "--resume", "r", "-q").exit_code == 0
    bits_alike(whole, folder / "r")


def test_a_folder_that_is_moved_away(folder, whole):
    with pytest.MonkeyPatch.context() as patch:
        at_call(patch, Adam, "update", 3, lambda: (folder / "r").rename("moved"))
        result = run("r")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert f"cannot write 'r/metrics.csv': the folder '{folder / 'r'}' does not exist" in result.stderr
    assert "keeps" not in result.stderr  # it cannot say where
    assert invoke("train", "--resume", "moved", "-q").exit_code == 0
    bits_alike(whole, folder / "moved")


def test_a_folder_that_is_deleted(folder, whole):
    with pytest.MonkeyPatch.context() as patch:
        at_call(patch, Network, "evaluate_batches", 1, lambda: shutil.rmtree("r"))
        result = run("r")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert not (folder / "r").exists()  # nor made again behind the user's back
    assert run("r").exit_code == 0
    bits_alike(whole, folder / "r")


def test_a_limit_on_the_length_of_files(folder, whole):
    """As a quota does it: EFBIG out of the system's own write."""
    limited = subprocess.run(
        command(*WORDS.split(), "--out", "r"),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert limited.returncode == 1
    assert limited.stderr.splitlines() == [
        "xpcnn: cannot write 'r/.last.ckpt.new': the file would be longer than this process or disk may make one"
    ]
    assert sorted(path.name for path in (folder / "r").iterdir()) == ["config.toml"]
    assert finish(folder, "train", "--resume", "r", "-q").returncode == 0
    bits_alike(whole, folder / "r")
