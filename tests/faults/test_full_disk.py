"""A disk that takes no more, at every single call: the run says so in one line, and goes on to the same bits."""

import os
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from tests.faults.full_disk import FullDisk
from tests.faults.runs import bits_alike, check_whole, command, environment, make_data
from xpcnn import plots
from xpcnn.cli.main import app

# 60 samples: three steps, each saved, so that the third pushes the first to last.2.ckpt.
WORDS = "train --dataset tiny.npz --batch-size 20 --epochs 1 --save-every 1 --keep 3 --average 0.5 --augment flip -q"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with tiny.npz, current; curves and syncing, which every run would pay for, cost nothing."""
    make_data(tmp_path, train=60, test=20)
    monkeypatch.chdir(tmp_path)
    figure = plots.plot_curves([])
    monkeypatch.setattr(figure, "savefig", lambda file, **options: file.write(b"a picture"))
    monkeypatch.setattr(plots, "plot_curves", lambda rows: figure)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return tmp_path


def invoke(*arguments):
    result = CliRunner().invoke(app, [*arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run(out):
    return invoke(*WORDS.split(), "--out", out)


def broken(folder, out, disk):
    """The run in `out`, on that disk; what is left then must be whole and go on."""
    with pytest.MonkeyPatch.context() as patch:
        disk.patch(patch)
        result = run(out)
    assert len(result.stderr.splitlines()) == (result.exit_code != 0), result.stderr
    if result.exit_code:
        assert "No space left" in result.stderr or "the disk is full" in result.stderr
    check_whole(folder / out)
    again = invoke("train", "--resume", out, "-q") if (folder / out / "config.toml").exists() else run(out)
    assert again.exit_code == 0, again.stderr
    assert not list((folder / out).glob(".*"))
    bits_alike(folder / "whole", folder / out)
    return result.exit_code


def test_every_call_in_turn(folder):
    assert run("whole").exit_code == 0
    disk = FullDisk(folder / "count")
    with pytest.MonkeyPatch.context() as patch:
        disk.patch(patch)
        assert run("count").exit_code == 0
    bits_alike(folder / "whole", folder / "count")
    # config, three times last.ckpt, best.ckpt, two files of metrics, parameters, curves.
    assert disk.calls.count("write") == 9
    assert disk.calls.count("replace") == 9 + 3 + 1  # each .new to last.ckpt, and last.1.ckpt to last.2.ckpt

    for number, name in enumerate(disk.calls, start=1):
        out = f"once{number}"
        code = broken(folder, out, FullDisk(folder / out, number))
        if name in ("write", "replace"):
            assert code
        # Else no harm may be done: a folder that cannot be synced, a link, the lock file's removal.
        if name == "write":
            out = f"full{number}"
            assert broken(folder, out, FullDisk(folder / out, number, for_good=True))


# -- a real one ------------------------------------------------------------------------------------------------------

# $1: where to mount, $2: where to leave the finished run; the rest: the command that trains, without its --out.
SCRIPT = """
set -u
mount -t tmpfs -o size=1m none "$1" || exit 77
place=$1; left=$2; shift 2
head -c 500000 /dev/zero > "$place/filler"
"$@" --out "$place/r"; echo "full: $?"
ls -A "$place/r"
mount -o remount,ro "$place"
"$1" "$2" "$3" train --resume "$place/r" -q; echo "read-only: $?"
mount -o remount,rw "$place"
rm "$place/filler"
"$1" "$2" "$3" train --resume "$place/r" -q; echo "again: $?"
cp -r "$place/r" "$left"
"""


def test_a_small_file_system(folder):
    (folder / "mounted").mkdir()
    arguments = ["sh", "-c", SCRIPT, "sh", "mounted", "left", *command(*WORDS.split())]
    done = _in_a_namespace(arguments, folder)
    assert [line for line in done.stdout.splitlines() if ": " in line and "everything" not in line][:1] == ["full: 1"]
    assert "read-only: 2\n" in done.stdout
    assert "again: 0\n" in done.stdout
    first, second = done.stderr.splitlines()
    assert "the disk is full; free some space" in first
    assert "keeps step 2, from where xpcnn train --resume mounted/r goes on" in first
    assert "cannot write to the run folder mounted/r: Read-only file system" in second
    assert run("whole").exit_code == 0
    bits_alike(folder / "whole", folder / "left")


def _in_a_namespace(arguments, folder):
    if shutil.which("unshare") is None:
        pytest.skip("a small file system needs Linux's unshare")
    done = subprocess.run(["unshare", "-rm", *arguments], cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("a small file system may not be mounted here")
    return done
